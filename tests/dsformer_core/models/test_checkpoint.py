import os
import pickle
import resource
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.torch_version import TorchVersion
from torchvision.models import mobilenet_v2

from dsformer_core.errors import DsformerError
from dsformer_core.models import create_model, load_checkpoint, save_checkpoint, weights_digest
from dsformer_core.models.checkpoint import fitting_models, is_described, read_state_dict
from tests.warm_python import WarmCode


@pytest.fixture(scope="module")
def torchvision_state():
    torch.manual_seed(0)
    return mobilenet_v2(weights=None).state_dict()


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of ours and the digest of its weights."""
    model = create_model("gem_mobilenet_v2")
    save_checkpoint(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", weights_digest(model)


def load(state, path: Path):
    torch.save(state, path)
    return create_model("gem_mobilenet_v2", weights=path)


@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_and_prefixed_files_give_the_same_model(torchvision_state, wrapper, prefix, tmp_path):
    state = {prefix + name: tensor for name, tensor in torchvision_state.items()}
    model = load({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "file.pth")
    plain = load(torchvision_state, tmp_path / "plain.pth")
    assert weights_digest(model) == weights_digest(plain)
    assert torch.equal(model.features[0][0].weight, torchvision_state["features.0.0.weight"])


def test_missing_extra_and_misshapen_tensors_are_listed_in_one_line(torchvision_state, tmp_path):
    state = dict(torchvision_state)
    del state["features.3.conv.1.0.weight"]
    state["surplus"] = torch.zeros(1)
    state["features.0.0.weight"] = torch.zeros(32, 4, 3, 3)
    with pytest.raises(DsformerError) as caught:
        load(state, tmp_path / "file.pth")
    assert str(caught.value).endswith(
        "file.pth: does not fit gem_mobilenet_v2: 1 missing (features.3.conv.1.0.weight); 1 too many (surplus); "
        "1 of another shape (features.0.0.weight (32, 4, 3, 3) instead of (32, 3, 3, 3))"
    )


def test_a_long_list_is_cut_and_counted(torchvision_state, tmp_path):
    state = {name: tensor for name, tensor in torchvision_state.items() if "bias" not in name}
    with pytest.raises(DsformerError, match=r"53 missing \((\S+, ){4}\S+ and 48 more\)$"):
        load(state, tmp_path / "file.pth")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Bomb()}, "bomb.pth")
    Path("bare.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "bare.pth"):
        with pytest.raises(DsformerError, match=rf"{name}: not a checkpoint"):
            create_model("gem_mobilenet_v2", weights=name)
    assert not Path("exploded").exists()


def test_a_torch_that_may_run_code_from_a_file_does_not_get_it(torchvision_state, saved, tmp_path, monkeypatch):
    torch.save(torchvision_state, tmp_path / "file.pth")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.5.1+cu124"))
    with pytest.raises(DsformerError, match=r"file\.pth: torch 2\.5\.1.*`dsformer weights convert`$"):
        create_model("gem_mobilenet_v2", weights=tmp_path / "file.pth")
    assert weights_digest(create_model("gem_mobilenet_v2", weights=saved[0])) == saved[1]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"\x80\x02", b"PK\x03\x04" + bytes(50)])
def test_files_that_are_no_checkpoints_are_one_line(content, suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(DsformerError, match=rf"file{suffix}: not a checkpoint") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {}, torch.zeros(3)])
def test_harmless_content_of_another_kind_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(DsformerError, match="expected a dictionary of named tensors"):
        read_state_dict(tmp_path / "file.pth")


@pytest.mark.parametrize("cut", [10, 0.5, -1])
def test_truncated_files_are_refused(saved, torchvision_state, cut, tmp_path):
    torch.save(torchvision_state, tmp_path / "file.pth")
    for path in (saved[0], tmp_path / "file.pth"):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * cut) if isinstance(cut, float) else cut])
        with pytest.raises(DsformerError, match="not a checkpoint, or a damaged one"):
            create_model("gem_mobilenet_v2", weights=path)


def test_our_checkpoint_says_what_it_is(saved):
    path, digest = saved
    description = yaml.safe_load(path.with_suffix(".yaml").read_text())
    assert description["model"] == "gem_mobilenet_v2"
    assert description["preprocessing"]["size"] == [224, 224]
    assert description["weights_sha256"] == digest
    assert weights_digest(load_checkpoint(path)) == digest


def test_half_the_size_is_nearly_the_same_model(saved, tmp_path):
    model = load_checkpoint(saved[0])
    before = weights_digest(model)
    save_checkpoint(model, tmp_path / "half.safetensors", half=True)
    assert weights_digest(model) == before
    assert (tmp_path / "half.safetensors").stat().st_size < 0.52 * saved[0].stat().st_size
    half = load_checkpoint(tmp_path / "half.safetensors")
    assert weights_digest(half) == yaml.safe_load((tmp_path / "half.yaml").read_text())["weights_sha256"] != before
    for name, tensor in model.state_dict().items():
        stored = half.state_dict()[name]
        assert stored.dtype == tensor.dtype
        torch.testing.assert_close(stored, tensor, rtol=1e-3 if tensor.dim() > 1 else 0, atol=1e-7)


def test_others_may_read_it(saved):
    umask = os.umask(0o022)
    os.umask(umask)
    assert saved[0].stat().st_mode & 0o777 == 0o666 & ~umask


def older(path: Path) -> Path:
    """The checkpoint as it was before: what it is, it says beside it only."""
    save_file(load_file(path), path)
    return path


def test_a_checkpoint_needs_no_other_file(saved):
    path, digest = saved
    path.with_suffix(".yaml").unlink()
    assert is_described(path) and weights_digest(load_checkpoint(path)) == digest


def test_older_checkpoints_still_load(saved):
    path, digest = saved
    assert weights_digest(load_checkpoint(older(path))) == digest


SAVE_AND_BE_KILLED = """
import os, signal, sys
from pathlib import Path
from dsformer_core.models import create_model, save_checkpoint
steps = iter(["os.rename"] if sys.argv[2] == "before" else ["os.rename", "open"])
step = next(steps)
def audit(event, arguments):
    global step
    if event == step and (step := next(steps, None)) is None:
        os.kill(os.getpid(), signal.SIGKILL)
model = create_model("gem_mobilenet_v2")
sys.addaudithook(audit)
save_checkpoint(model, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_before_or_after_the_rename_it_leaves_a_checkpoint_that_loads(saved, moment):
    path, digest = saved
    assert WarmCode(SAVE_AND_BE_KILLED, path, moment).wait() == -signal.SIGKILL
    assert yaml.safe_load(path.with_suffix(".yaml").read_text())["weights_sha256"] == digest
    assert (weights_digest(load_checkpoint(path)) == digest) == (moment == "before")


def test_an_altered_tensor_is_noticed(saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DsformerError, match="its tensors are not those that it was saved with"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: 1", "format: 2"),
        ("model: gem_mobilenet_v2", "model: no_such_model"),
        ("preprocessing:", "processing:"),
        ("- 224", "- high"),
        ("options: {}", "options: {layers: 3}"),
        ("format: 1", "{"),
    ],
)
def test_a_damaged_description_is_one_line(saved, old, new):
    path, _ = saved
    description = older(path).with_suffix(".yaml")
    description.write_text(description.read_text().replace(old, new))
    with pytest.raises(DsformerError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_tensors_without_their_description_are_refused(saved):
    path, _ = saved
    older(path).with_suffix(".yaml").unlink()
    with pytest.raises(DsformerError, match=r"does not say what its tensors are, nor does model\.yaml lie beside it"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_old_checkpoint(saved):
    path, digest = saved
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(DsformerError, match="could not be written"):
            save_checkpoint(create_model("gem_mobilenet_v2"), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.safetensors", "model.yaml"]
    assert weights_digest(load_checkpoint(path)) == digest


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(DsformerError, match="could not be written"):
        save_checkpoint(create_model("gem_mobilenet_v2"), tmp_path / "absent" / "model.safetensors")


def test_models_that_fit_a_file_are_found_by_its_tensors(torchvision_state):
    assert fitting_models(torchvision_state) == ["dsformer_tiny", "gem_mobilenet_v2"]
    assert fitting_models({"weight": torch.zeros(3)}) == []
