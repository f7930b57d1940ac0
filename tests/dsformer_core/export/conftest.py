"""Networks exported once for all tests here; gem_mobilenet_v2 is the quickest to trace."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsformer_core.export import export_onnx
from dsformer_core.export.onnx_file import write_onnx
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel, create_model, weights_digest
from dsformer_core.models.dsformer_tiny import FINE
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.runtimes import Exported
from dsformer_core.sources import open_source
from tests.made_once import made_once
from tests.synthetic import write_picture

MODEL = "gem_mobilenet_v2"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "gem.onnx", lambda path: export_onnx(MODEL, "auto", path))


@pytest.fixture(scope="session")
def exact() -> Extractor:
    return Extractor(MODEL, device="cpu")


@pytest.fixture(scope="session")
def tiny_with_codes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported, DescriptorModel]:
    """A dual-scale former with a hash branch: attention, relative positions, two outputs.

    `gem_mobilenet_v2` is exported whole already, so three of its seventeen blocks will do before the former.
    """
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    torch.manual_seed(0)
    network = create_model("dsformer_tiny", variant="rerank")
    for parameter in network.former.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    whole = list(network.features)
    patches = torch.nn.Conv2d(3, 96, 16, stride=16)
    left_out = [torch.nn.Identity() for _ in whole[2:FINE]]
    network.features = torch.nn.Sequential(patches, *left_out, whole[FINE - 1], whole[FINE], *whole[-2:])
    network.eval().requires_grad_(False)
    about = {"model": network.name, "weights": "made here", "weights_sha256": weights_digest(network)}
    exported = write_onnx(copy.deepcopy(network), path, opset=18, precision="float32", about=about)
    return path, exported, network


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive along a painted wall: neighbours see most of what each other sees."""
    folder = tmp_path_factory.mktemp("drive")
    paint = np.random.default_rng(0).integers(0, 256, (12, 140, 3), np.uint8)
    wall = Image.fromarray(paint).resize((2600, 224), Image.Resampling.BICUBIC)
    for number in range(60):
        path = write_picture(folder / f"{number:03d}.jpg", latitude=55.7 + number * 5 / 111_320)
        exif = Image.open(path).getexif()
        wall.crop((40 * number, 0, 40 * number + 224, 224)).save(path, exif=exif, quality=90)
    return folder


@pytest.fixture(scope="session")
def place_map(tmp_path_factory: pytest.TempPathFactory, drive: Path, exact: Extractor) -> PlaceMap:
    return build_place_map(open_source(drive), exact, tmp_path_factory.mktemp("maps") / "wall.map", thumbnails=False)
