"""What docs/reproducing.md says of Table II: a descriptor's latency is measured on the device that is named."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import descriptor_and_search

MODEL = "gem_mobilenet_v2"


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs the benchmark, briefly, and returns what it measured."""
    monkeypatch.setattr(descriptor_and_search, "THREADS", (1,))
    monkeypatch.setattr(descriptor_and_search, "BATCHES", (1,))

    def run(*arguments: str) -> list[dict[str, object]]:
        output = tmp_path / "speed.json"
        brief = ["--models", MODEL, "--repeats", "1", "--references", "50", "--json", str(output)]
        monkeypatch.setattr(sys, "argv", ["descriptor_and_search.py", *brief, *arguments])
        descriptor_and_search.main()
        return list(json.loads(output.read_text())["descriptor"])

    return run


def test_on_the_cpu(measured) -> None:  # type: ignore[no-untyped-def]
    (row,) = measured()
    assert (row["model"], row["device"], row["precision"], row["batch"]) == (MODEL, "cpu", "float32", 1)
    assert row["ms"] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_on_a_gpu(measured) -> None:  # type: ignore[no-untyped-def]
    (row,) = measured("--device", "cuda", "--precision", "float32")
    assert (row["device"], row["precision"]) == ("cuda", "float32")
    assert row["ms"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_without_a_gpu_it_says_so_in_one_line(measured, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit, match="2"):
        measured("--device", "cuda")
    assert capsys.readouterr().err.endswith("device cuda: PyTorch finds no CUDA GPU here; choose cpu or auto\n")
