"""Maps and runtimes: what made a map is kept in it, and what may search it follows from that."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import yaml
from onnxruntime import quantization

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError
from dsformer_core.export import calibration_pictures, int8
from dsformer_core.export.int8 import PARTS, export_int8
from dsformer_core.export.int8_judge import slips_through
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.place_map.building.build import add_to_place_map
from dsformer_core.place_map.format import MapError, description_text
from dsformer_core.sources import open_source
from tests.dsformer_core.export.conftest import MODEL
from tests.synthetic import ArraySource, write_pictures

TORCH = Arithmetic()
ONNX = Arithmetic("onnx", "float32", 3e-7)
WRONG = Arithmetic("tensorrt", "float32", 4e-3)
HALF = Arithmetic("onnx", "float16", 2e-3)
INT8 = Arithmetic("onnx", "int8", 0.04, "abc", "town", "the town's")


@pytest.mark.parametrize(
    ("asks", "made", "fault"),
    [
        (TORCH, ONNX, None),
        (ONNX, TORCH, None),
        (TORCH, Arithmetic(precision="unknown"), None),
        (Arithmetic(precision="bfloat16"), ONNX, None),
        (WRONG, TORCH, "differs from PyTorch by 4.0e-03"),
        (TORCH, WRONG, "search it with the very file that made it, or build it again"),
        (INT8, TORCH, None),
        (replace(INT8, measured_sha256="another town's"), TORCH, "was measured on a map 'town' with other descriptors"),
        (replace(INT8, measured_on="", measured_sha256=""), TORCH, "was measured nowhere"),
        (TORCH, Arithmetic("onnx", "int8", 0.04, "abc"), "computed in int8 by onnx"),
        (INT8, Arithmetic("onnx", "int8", 0.04, "abc"), None),
        (INT8, Arithmetic("onnx", "int8", 0.04, "another"), "computed in int8 by onnx"),
        (replace(INT8, runtime="tensorrt"), Arithmetic("onnx", "int8", 0.04, "abc"), "agree with int8 by tensorrt"),
    ],
)
def test_who_may_search_what(asks: Arithmetic, made: Arithmetic, fault: str | None) -> None:
    found = asks.fault(made, "the town's")
    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


@pytest.mark.parametrize("parts", [(TORCH, HALF), (HALF, TORCH), (ONNX, HALF), (TORCH, HALF, ONNX)])
def test_a_map_that_half_precision_added_to_is_still_searched_by_all(parts: tuple[Arithmetic, ...]) -> None:
    whole = parts[0]
    for part in parts[1:]:
        assert part.fault(whole, "the map's") is None
        whole = Arithmetic.together([whole, part])
    kept = Arithmetic.from_dict({"precision": whole.precision, **whole.to_dict()})
    for asks in (TORCH, ONNX, HALF, Arithmetic(precision="bfloat16")):
        assert asks.fault(kept, "the map's") is None
    assert kept.precision == ", ".join(dict.fromkeys(part.precision for part in parts))


def test_two_int8_files_are_two() -> None:
    assert INT8.identity != replace(INT8, graph_sha256="another").identity
    assert TORCH.identity == "float32" and HALF.identity == "float16 by onnx"


def test_a_map_keeps_what_made_it_and_others_that_agree_search_it(
    onnx_file: Path,
    exact: Extractor,
    drive: Path,
    place_map: PlaceMap,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_onnx = Extractor(MODEL, onnx_file)
    other = build_place_map(open_source(drive), by_onnx, tmp_path / "onnx.map", thumbnails=False)
    model = yaml.safe_load((tmp_path / "onnx.map/map.yaml").read_text())["model"]
    assert model["runtime"] == "onnx" and model["precision"] == "float32" and 0 <= model["agreement"] <= 1e-4
    assert main(["map", "info", str(other.directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"] == model["agreement"]
    for map_, extractor in ((other, exact), (place_map, by_onnx)):
        map_.check_model(extractor.model_name, extractor.weights_sha256, extractor.arithmetic)
        rows = map_.search(extractor.extract_files(map_.images), k=1).indices[:, 0]
        assert (rows == np.arange(map_.count)).all()


def test_maps_from_before_there_were_runtimes_stay_readable(place_map: PlaceMap, tmp_path: Path) -> None:
    import shutil

    old = Path(shutil.copytree(place_map.directory, tmp_path / "old.map"))
    description = yaml.safe_load((old / "map.yaml").read_text())
    del description["checksum"], description["model"]["runtime"], description["model"]["precision"]
    (old / "map.yaml").write_text(description_text(description))
    assert PlaceMap.open(old).arithmetic == Arithmetic("torch", "unknown")
    description["model"]["agreement"] = "much"
    (old / "map.yaml").write_text(description_text(description))
    with pytest.raises(MapError, match=r"map\.yaml does not describe a map \(model.agreement is 'much'\)"):
        PlaceMap.open(old)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a drive of sixty pictures has."""
    monkeypatch.setattr(calibration_pictures, "CALIBRATION", 6)
    monkeypatch.setattr(calibration_pictures, "FEWEST", 30)
    monkeypatch.setattr(calibration_pictures, "HELD_OUT", 30)


def test_int8_that_finds_as_much_is_written(
    few: None,
    onnx_file: Path,
    exact: Extractor,
    drive: Path,
    place_map: PlaceMap,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "int8.onnx"
    read_by_the_quantiser = []
    quantize = quantization.quantize_static

    def noting(source: str, *arguments: object, **options: object) -> None:
        read_by_the_quantiser.append(Path(source).parent)
        quantize(source, *arguments, **options)

    monkeypatch.setattr(quantization, "quantize_static", noting)
    remarks: list[str] = []
    exported = export_int8(place_map, output, source=onnx_file, on_remark=remarks.append)
    ranges, evidence = remarks
    assert "ranges were taken from 6 pictures instead of 100" in ranges
    assert "with 30 references asked, a true loss of 3% is accepted 40% of the time" in evidence
    assert exported.int8 is not None and exported.int8.references == 30 and exported.int8.calibration == 6
    assert exported.int8.recall_float32 > 0.8
    assert exported.int8.recall_float32 - exported.int8.recall_int8 <= 0.01 + 1e-9
    assert exported.int8.part in PARTS
    assert exported.int8.map_sha256 == place_map.descriptors_sha256
    assert read_by_the_quantiser and onnx_file.parent not in read_by_the_quantiser, "it writes beside what it reads"
    extractor = Extractor(MODEL, output)
    assert extractor.precision == "int8" and extractor.weights_sha256 == exact.weights_sha256
    cosines = (extractor.extract_files(place_map.images) * exact.extract_files(place_map.images)).sum(axis=1)
    assert cosines.min() > 0.8 and cosines.max() < 1 - 1e-6, "it computes nearly the same, but not in float32"

    place_map.check_model(MODEL, extractor.weights_sha256, extractor.arithmetic)
    with pytest.raises(MapError, match="what int8 by onnx loses was measured nowhere"):
        add_to_place_map(place_map, open_source(drive), extractor)
    other = build_place_map(open_source(drive), extractor, tmp_path / "int8.map", thumbnails=False)
    other.check_model(MODEL, extractor.weights_sha256, extractor.arithmetic)
    with pytest.raises(MapError, match="computed in int8 by onnx, which does not agree with float32"):
        other.check_model(MODEL, exact.weights_sha256, exact.arithmetic)


def test_int8_that_loses_places_is_refused_with_the_numbers(
    few: None, onnx_file: Path, place_map: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges of one black picture cut off whatever is brighter."""
    weighed = int8._inputs

    def of_darkness(*arguments: object) -> object:
        return ({"images": 1e-3 * one["images"]} for one in weighed(*arguments))  # type: ignore[arg-type]

    monkeypatch.setattr(int8, "_inputs", of_darkness)
    with pytest.raises(
        DsformerError, match=r"was not written: of 30 held-out references .* float32 finds .*INT8 of"
    ) as e:
        export_int8(place_map, tmp_path / "int8.onnx", source=onnx_file)
    assert "\n" not in str(e.value) and not list(tmp_path.iterdir())


def test_a_file_that_is_less_than_it_could_be_says_why() -> None:
    judge = SimpleNamespace(references=300, recall=0.913)
    assert not list(int8._remarks(judge, 100, PARTS[0], []))
    (said,) = int8._remarks(judge, 100, PARTS[1], [f"{PARTS[0]} 88.1%"])
    assert said.startswith(
        "only linear layers in INT8: of 300 references float32 finds 91.3%, INT8 of linear layers and"
    )
    assert "half of the convolutions 88.1%, and it may lose 1%" in said


def test_what_a_hundred_and_three_hundred_references_show() -> None:
    """As docs/export.md has it: one time in five, one in fifty."""
    assert slips_through(100) == pytest.approx(1 / 5, abs=0.01)
    assert slips_through(300) == pytest.approx(1 / 50, abs=0.001)


def test_int8_says_what_it_lacks(onnx_file: Path, place_map: PlaceMap, tmp_path: Path) -> None:
    with pytest.raises(DsformerError, match="fewer than 100 cannot show a loss of one in a hundred: take a larger map"):
        export_int8(place_map, tmp_path / "int8.onnx", source=onnx_file)


def test_int8_is_not_judged_by_references_whose_place_no_other_saw(
    few: None, exact: Extractor, onnx_file: Path, tmp_path: Path
) -> None:
    """Places 35 m apart: without a reference itself, its place is out of the map."""
    utm = np.array([350_000.0, 6_180_000.0]) + np.stack([np.zeros(60), 35.0 * np.arange(60)], axis=1)
    sparse = ArraySource(utm, np.zeros(60))
    place_map = build_place_map(sparse, exact, tmp_path / "sparse.map", thumbnails=False)
    with pytest.raises(DsformerError, match=r"of 30 references that could be asked, 0 have another of their place"):
        export_int8(place_map, tmp_path / "int8.onnx", source=onnx_file)
    assert not (tmp_path / "int8.onnx").exists()


def test_pictures_that_were_moved_are_asked_for(
    few: None, onnx_file: Path, place_map: PlaceMap, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "other", 1)
    with pytest.raises(DsformerError, match=r"(29|30) of 30 pictures are not in .*: --images PATH says where"):
        export_int8(place_map, tmp_path / "int8.onnx", source=onnx_file, images=tmp_path / "other")


def test_int8_for_tensorrt_has_no_zero_but_zero(
    onnx_file: Path, exact: Extractor, place_map: PlaceMap, tmp_path: Path
) -> None:
    """It takes neither unsigned numbers, nor INT8 weights without a pair of their own, nor INT32 biases."""
    output = tmp_path / "int8.onnx"
    loaders = [exact.loader(path) for path in list(place_map.images)[:2]]
    inputs = int8._inputs(exact, loaders, "weighing", lambda step, done, total: None)
    int8._quantise(onnx_file, output, inputs, int8._chosen(onnx_file, PARTS[0]), "tensorrt")
    graph = onnx.load(output).graph
    numbers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [numbers[node.input[2]] for node in pairs]
    assert len(zeros) > 50 and all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert not any(node.input[0] in numbers for node in pairs if node.op_type == "DequantizeLinear")
