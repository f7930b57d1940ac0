"""`dsformer export`, as it is typed."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsformer_core.cli.export import _named, _one_after_the_other
from dsformer_core.cli.main import main
from dsformer_core.errors import UsageError
from dsformer_core.export import calibration_pictures
from dsformer_core.export.int8 import _SHORT, PARTS
from dsformer_core.export.tensorrt_engine import build_engine, progress_monitor
from dsformer_core.place_map import PlaceMap
from tests.synthetic import write_pictures


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["export", *arguments]) != 0
    printed = capsys.readouterr()
    assert not printed.out
    assert len(printed.err.splitlines()) == 1
    return printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--output m.onnx", "say which network to export: --model NAME"),
        ("--output m.onnx --int8", "INT8 is judged by the map that it is to search: --map MAP"),
        ("--output m.engine --tensorrt", "say of which ONNX file: --from FILE.onnx"),
        ("--output m.onnx --model dsformer_tiny --map town.map", "--map is for --int8 or --tensorrt"),
        ("--output m.onnx --model dsformer_tiny --from n.onnx", "--from is for --int8 or --tensorrt"),
        ("--output m.engine --tensorrt --from m.onnx --model dsformer_tiny", "--model is for --int8"),
        ("--output m.onnx --int8 --map town.map --precision float16", "--precision is for an ONNX file in floating"),
        ("--output m.onnx --int8 --map town.map", "no such place map"),
        ("--output m.engine --tensorrt --from m.onnx --max-batch 0", "--max-batch 0: it must be 1 or more"),
        ("--output m.engine --tensorrt --from m.onnx", "m.onnx: no such file"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments.split())
    assert not list(tmp_path.iterdir())


def test_a_bar_ends_when_the_next_begins() -> None:
    shown: list[tuple[str, int, int | None]] = []
    with _one_after_the_other(lambda *step: shown.append(step)) as show:
        show("tracing", 0, 3)
        show("writing", 1, 3)
        show("writing", 2, 3)
    assert shown == [("tracing", 0, 3), ("tracing", 3, 3), ("writing", 1, 3), ("writing", 2, 3), ("writing", 3, 3)]


def test_a_log_tells_of_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[tuple[str, int, int | None]] = []
    show = _named(lambda *step: shown.append(step))
    for done in (0, 1, 2):
        show("asking in float32", done, 2)
    assert capsys.readouterr().err == "asking in float32\n" and len(shown) == 3


def test_no_step_leaves_a_terminal_without_room_for_its_bar() -> None:
    assert all(len(f"weighing {short}") <= 32 for short in _SHORT.values()) and set(_SHORT) == set(PARTS)


def test_what_weakens_an_int8_file_is_told(
    place_map: PlaceMap,
    onnx_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(calibration_pictures, "CALIBRATION", 6)
    monkeypatch.setattr(calibration_pictures, "FEWEST", 30)
    output = tmp_path / "int8.onnx"
    asked = ["export", "--int8", "--map", str(place_map.directory), "--from", str(onnx_file), "--output", str(output)]
    assert main([*asked, "--json"]) == 0
    printed = capsys.readouterr()
    assert any(remark.startswith("weak evidence: ") for remark in json.loads(printed.out)["remarks"])
    assert "asking in float32" in printed.err and "weighing linear + convolutions" in printed.err


def test_a_map_is_built_with_the_network_of_the_file(onnx_file: Path, tmp_path: Path) -> None:
    drive = write_pictures(tmp_path / "drive", 2)
    given = ["--images", str(drive), "--weights", str(onnx_file), "--output", str(tmp_path / "a.map")]
    assert main(["map", "build", *given]) == 0
    assert PlaceMap.open(tmp_path / "a.map").model_name == "gem_mobilenet_v2"


def test_a_benchmark_takes_the_network_of_the_file(onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--weights", str(onnx_file), "--repeats", "3", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["model"], row["weights"], row["runtime"]) == ("gem_mobilenet_v2", onnx_file.name, "onnx")
    assert main(["benchmark", "--weights", str(onnx_file), "--model", "dsformer_tiny"]) == 2
    assert "holds a gem_mobilenet_v2, not a dsformer_tiny" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "dsformer export --int8 --map town.map" in capsys.readouterr().out


def test_an_engine_needs_a_gpu(onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    output = tmp_path / "m.engine"
    message = refused(capsys, "--tensorrt", "--from", str(onnx_file), "--output", str(output))
    assert "TensorRT needs a CUDA GPU" in message and not output.exists()
    with pytest.raises(UsageError, match=r"must end in \.engine"):
        build_engine(onnx_file, tmp_path / "m.onnx")


def test_building_tells_of_phases_and_their_parts() -> None:
    told: list[tuple[str, int, int | None]] = []
    base = type("IProgressMonitor", (), {})
    monitor = progress_monitor(SimpleNamespace(IProgressMonitor=base), lambda *step: told.append(step))
    monitor.phase_start("Building", None, 2)
    monitor.phase_start("Tactics", "Building", 10)
    monitor.phase_start("One layer", "Tactics", 100)
    assert monitor.step_complete("One layer", 0) and monitor.step_complete("Tactics", 4)
    monitor.phase_finish("One layer")
    monitor.phase_finish("Building")
    assert told == [("Building", 0, 2), ("Tactics", 0, 10), ("Tactics", 5, 10), ("Building", 2, 2)]
