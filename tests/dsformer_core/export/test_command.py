"""`dsformer export`, as it is typed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dsformer_core.cli.main import main
from dsformer_core.errors import UsageError
from dsformer_core.export.tensorrt_engine import build_engine, progress_monitor


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
