"""INT8 engines are judged by what they find themselves. ONNX Runtime computes here in TensorRT's place."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.export import calibration_pictures, int8, tensorrt_engine
from dsformer_core.export.int8 import PARTS
from dsformer_core.export.tensorrt_engine import build_engine
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.place_map.format import MapError
from dsformer_core.runtimes.engine_file import EngineFile, EngineKey
from dsformer_core.runtimes.exported import TOLERANCE, Int8Recall, probe_input
from dsformer_core.runtimes.network import check_probe
from dsformer_core.runtimes.onnx_runtime import OnnxNetwork
from dsformer_core.sources import open_source
from tests.dsformer_core.export.conftest import MODEL

KEY = EngineKey("Orin (nvgpu)", 8, "8.7", "10.3.0", "0" * 64, "int8")


class Engine(OnnxNetwork):
    """The ONNX file within an engine's."""

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        plain = path.with_suffix(".onnx-within")
        plain.write_bytes(EngineFile.read(path).engine)
        super().__init__(plain, device="cpu")
        plain.unlink()
        self.about = EngineFile.read(path).about


class Forgetful(Engine):
    """Knows the known picture alone."""

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        descriptors, signs = super().__call__(images)
        known = torch.from_numpy(probe_input(self.about.preprocessing))
        noise = torch.randn(descriptors.shape, generator=torch.Generator().manual_seed(len(images)))
        return (descriptors if torch.equal(images, known) else noise), signs


class Rounding(Engine):
    """Describes the known picture as no other kernels do, each time alike."""

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        descriptors, signs = super().__call__(images)
        known = torch.from_numpy(probe_input(self.about.preprocessing))
        return (descriptors.roll(1, dims=-1) if torch.equal(images, known) else descriptors), signs


@pytest.fixture(scope="module")
def quantised(onnx_file: Path, exact: Extractor, place_map: PlaceMap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An INT8 file for TensorRT that boasts of what nobody measured."""
    folder = tmp_path_factory.mktemp("int8")
    loaders = [exact.loader(path) for path in list(place_map.images)[:4]]
    inputs = int8._inputs(exact, loaders, "weighing", lambda step, done, total: None)
    int8._quantise(onnx_file, folder / "plain.onnx", inputs, int8._chosen(onnx_file, PARTS[0]), "tensorrt")
    boast = Int8Recall(place_map.name, place_map.descriptors_sha256, 300, 0.5, 0.5, 4, PARTS[0], "tensorrt")
    about = int8._describe_itself(folder / "plain.onnx", exact, onnx_file, boast)
    int8._write(folder / "int8.onnx", folder / "plain.onnx", about)
    return folder / "int8.onnx"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU on which an engine is built in no time, and a map's sixty pictures are enough."""
    monkeypatch.setattr(calibration_pictures, "CALIBRATION", 6)
    monkeypatch.setattr(calibration_pictures, "FEWEST", 30)
    monkeypatch.setattr(calibration_pictures, "HELD_OUT", 30)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(tensorrt_engine, "cuda_device", lambda device: torch.device("cpu"))
    monkeypatch.setattr(tensorrt_engine, "tensorrt", SimpleNamespace)
    monkeypatch.setattr(tensorrt_engine, "key_here", lambda *key: KEY)
    monkeypatch.setattr(tensorrt_engine, "_build", lambda trt, source, *others: source.read_bytes())
    monkeypatch.setattr(tensorrt_engine, "TensorRTNetwork", Engine)


def test_an_engine_says_what_it_found_itself(
    quantised: Path, place_map: PlaceMap, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "int8.engine"
    arguments = ["--from", str(quantised), "--map", str(place_map.directory), "--images", str(drive), "--json"]
    assert main(["export", "--tensorrt", *arguments, "--output", str(output)]) == 0
    report = json.loads(capsys.readouterr().out)
    found = EngineFile.read(output).about
    assert found.int8 is not None and [path.name for path in tmp_path.iterdir()] == ["int8.engine"]
    assert found.int8.references == 30 and found.int8.map_sha256 == place_map.descriptors_sha256
    assert found.int8.recall_float32 > 0.8, "measured, not believed"
    assert found.int8.recall_float32 - found.int8.recall_int8 <= 0.01 + 1e-9
    assert 1e-3 < found.difference == report["largest_difference_to_the_map"]
    assert report["recall_int8"] == found.int8.recall_int8


def test_an_engine_that_loses_places_is_refused_with_the_numbers(
    quantised: Path, place_map: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it passes the known picture."""
    monkeypatch.setattr(tensorrt_engine, "TensorRTNetwork", Forgetful)
    with pytest.raises(DsformerError, match=r"int8\.engine was not written: of 30 .* float finds \d+.*, the engine \d"):
        build_engine(quantised, tmp_path / "int8.engine", place_map=place_map)
    assert not list(tmp_path.iterdir())


def test_a_known_picture_is_known_by_the_engines_own_numbers(
    quantised: Path, place_map: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ONNX Runtime made of it is no measure of other kernels; recall is."""
    monkeypatch.setattr(tensorrt_engine, "TensorRTNetwork", Rounding)
    built = build_engine(quantised, tmp_path / "int8.engine", place_map=place_map)
    opened = Rounding(tmp_path / "int8.engine")
    by_onnx = OnnxNetwork(quantised, device="cpu").about.probe
    np.testing.assert_array_equal(opened.about.probe, np.roll(by_onnx, 1))
    assert np.abs(opened.about.probe - by_onnx).max() > TOLERANCE["int8"]
    assert check_probe(opened) == built.difference
    with pytest.raises(DsformerError, match="describes a known picture otherwise than when it was exported"):
        check_probe(Engine(tmp_path / "int8.engine"))


def test_engines_of_one_file_do_not_stand_for_each_other(
    quantised: Path, place_map: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of two boards, or of two builds, round each in its own way."""
    first = build_engine(quantised, tmp_path / "orin.engine", place_map=place_map).about
    changed = onnx.ModelProto(doc_string="other kernels").SerializeToString()
    monkeypatch.setattr(tensorrt_engine, "_build", lambda trt, source, *others: source.read_bytes() + changed)
    second = build_engine(quantised, tmp_path / "rtx.engine", place_map=place_map).about
    asks, other = (about.arithmetic("tensorrt", about.difference) for about in (first, second))
    assert asks.fault(asks, "of a map that it described") is None
    assert "search it with the very file that made it" in str(asks.fault(other, "of a map that the other described"))
    for about in (first, second):
        assert about.arithmetic("tensorrt", 0.0).fault(place_map.arithmetic, place_map.descriptors_sha256) is None


def test_int8_and_a_map_go_together(
    quantised: Path, onnx_file: Path, place_map: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "_build", lambda *arguments: pytest.fail("it took minutes"))
    with pytest.raises(UsageError, match=r"is INT8: its engine is judged by the map .* --map MAP"):
        build_engine(quantised, tmp_path / "m.engine")
    with pytest.raises(UsageError, match="is float32: --map and --images are for INT8"):
        build_engine(onnx_file, tmp_path / "m.engine", place_map=place_map)
    with pytest.raises(UsageError, match="gone: no such folder or file"):
        build_engine(quantised, tmp_path / "m.engine", place_map=place_map, images=tmp_path / "gone")


def test_it_is_asked_of_the_map_that_it_was_made_for(
    quantised: Path, exact: Extractor, drive: Path, tmp_path: Path
) -> None:
    """Of another, references may be asked whose pictures gave the ranges."""
    (tmp_path / "half").mkdir()
    for path in sorted(drive.iterdir())[::2]:
        (tmp_path / "half" / path.name).symlink_to(path)
    source = open_source(tmp_path / "half")
    other = build_place_map(source, exact, tmp_path / "other.map", thumbnails=False)
    with pytest.raises(MapError, match=r"measured on a map 'wall.* with other descriptors, not on this map as it is"):
        build_engine(quantised, tmp_path / "m.engine", place_map=other)
    by_itself = build_place_map(source, Extractor(MODEL, quantised), tmp_path / "int8.map", thumbnails=False)
    with pytest.raises(MapError, match="computed in int8 by onnx, which does not agree with float32"):
        build_engine(quantised, tmp_path / "m.engine", place_map=by_itself)
