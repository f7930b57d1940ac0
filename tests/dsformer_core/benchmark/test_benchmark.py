"""`dsformer benchmark`: real networks in processes of their own."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dsformer_core.benchmark import Configuration, Limits, Measured, measure, measuring
from dsformer_core.benchmark.chart import latency_chart
from dsformer_core.benchmark.machine import describe_machine, in_words
from dsformer_core.benchmark.measuring import _statistics
from dsformer_core.benchmark.worker import STAGES
from dsformer_core.cli import benchmark, console
from dsformer_core.cli.main import main

MODEL = "gem_mobilenet_v2"
SAMPLE_MAP = Path(__file__).parents[3] / "maps" / "sample"


def run(*arguments: str) -> int:
    return main(["benchmark", *arguments])


def test_a_network_is_measured_beside_the_straightforward_one():
    so_far = []
    found = measure([Configuration(MODEL, batch=2)], limits=Limits(4, 30), against=True, on_row=so_far.append)
    assert so_far == [found]
    (row,) = found.rows
    assert row["repeats"] == 4 and row["precision"] == "float32" and row["device"] == "cpu"
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert 0 < row["imports_mib"] < row["peak_mib"]
    assert row["startup_s"] == row["load_s"] + row["first_s"] > 0
    assert (row["eager"]["optimize"], row["eager"]["repeats"]) == ("off", 4)
    assert row["times_as_fast"] == row["eager"]["p50_ms"] / row["p50_ms"]
    json.dumps(found.to_dict())


def test_the_way_to_hypotheses_is_the_sum_of_its_stages():
    configuration = Configuration("dsformer_tiny", weights="auto")
    (row,) = measure([configuration], limits=Limits(3, 30), against=True, place_map=SAMPLE_MAP).rows
    assert tuple(row["stages"]) == STAGES
    assert all(0 < stage["p50_ms"] <= stage["p95_ms"] <= row["p99_ms"] for stage in row["stages"].values())
    assert row["stages"]["network"]["p50_ms"] > row["stages"]["search"]["p50_ms"]
    assert tuple(row["eager"]["stages"]) == STAGES, "the map takes the network that it is compared with, too"


@pytest.mark.parametrize(
    ("weights", "eager"),
    [
        ("auto", "auto"),
        ("untrained", "untrained"),
        ("rendered-towns", "rendered-towns"),
        ("mine.safetensors", "mine.safetensors"),
        ("mine.onnx", "released"),
        ("mine.engine", "released"),
    ],
)
def test_it_is_compared_with_the_same_weights_where_pytorch_reads_them(weights, eager):
    configuration = Configuration("dsformer_tiny", weights, precision="int8", runtime="auto").eager("released")
    assert (configuration.weights, configuration.runtime) == (eager, "torch")
    assert (configuration.precision, configuration.optimize) == ("float32", "off")


def test_statistics_are_of_all_batches():
    seconds = np.random.default_rng(0).uniform(0.1, 0.2, 101)
    found = _statistics([{"total": float(one), "decode": float(one) / 2} for one in seconds], 4)
    np.testing.assert_allclose(
        [found["p50_ms"], found["p95_ms"], found["p99_ms"]], np.percentile(seconds, [50, 95, 99]) * 1e3
    )
    assert found["pictures_per_s"] == pytest.approx(4 * 101 / seconds.sum())
    assert found["stages"]["decode"]["p95_ms"] == pytest.approx(np.percentile(seconds, 95) * 500)


def test_ctrl_c_keeps_what_was_measured_and_ends_every_process(tmp_path):
    command = [sys.executable, "-c", "from dsformer_core.cli.main import main; raise SystemExit(main())", "benchmark"]
    command += ["--model", MODEL, "--batch", "1", "64", "--repeats", "100000", "--seconds", "0.5"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "found")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    kept = tmp_path / "found" / "benchmark.html"
    deadline = time.monotonic() + 100
    while not kept.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "1 of 2 were measured" in err and "interrupted" in err and "Traceback" not in err
    assert MODEL in out
    (row,) = json.loads((tmp_path / "found" / "benchmark.json").read_text())["rows"]
    assert row["batch"] == 1 and row["repeats"] >= 3
    assert not _children_of(process.pid)


def _children_of(parent: int) -> list[str]:
    """Processes whose session or parent was that process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if parent in (int(fields[1]), int(fields[2])):
            found.append(status.parent.name)
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "resnet"], "no model is called 'resnet'"),
        (["--optimize", "fast"], "optimize 'fast': choose off, safe, max"),
        (["--precision", "int4"], "there is no precision 'int4'"),
        (["--batch", "0"], "--batch 0: it must be 1 or more"),
        (["--threads", "1", "-2"], "--threads -2: it must be 1 or more"),
        (["--threads", "1", "100000"], "--threads 100000: it must be 1024 or less"),
        (["--runtime", "tflite"], "there is no runtime 'tflite'"),
        (["--runtime", "onnx"], "the runtime onnx reads .onnx files"),
        (["--device", "gpu"], "there is no device 'gpu'"),
        (["--device", "cuda:99"], "device cuda:99: "),
        (["--weights", "nope.onnx"], "nope.onnx: no such file"),
        (["--weights", "nope.onnx", "--model", MODEL], "nope.onnx: no such file"),
        (["--weights", "nope.pth"], "'nope.pth': no such file"),
        (["--output", __file__], "is a file: --output names a folder"),
        (["--repeats", "0"], "--repeats must be 1 or more"),
        (["--pictures", "drive"], "--pictures are localized in a map: give --map"),
        (["--map", str(SAMPLE_MAP), "--model", MODEL], "no --model is needed"),
        (["--map", str(SAMPLE_MAP), "--batch", "8"], "no --batch"),
    ],
)
def test_wrong_arguments_are_one_line_and_start_nothing(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "_worker", None)
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_what_could_not_be_run_ends_with_1_and_says_why(capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run("--model", MODEL, "--optimize", "max", "--json") == 1
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)["rows"]
    assert "no-such-compiler is not on this machine" in row["error"] and "p50_ms" not in row
    assert "1 of 1 configurations could not be run" in printed.err
    assert f"1/1 {MODEL}: failed" in printed.err, "where no terminal shows bars, a line tells of each"


def test_results_are_not_replaced_without_a_word(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "_worker", None)
    (tmp_path / "benchmark.json").write_text("of last week")
    assert run("--model", MODEL, "--output", str(tmp_path)) == 2
    assert "benchmark.json exists: choose another folder, or say --overwrite" in capsys.readouterr().err
    assert (tmp_path / "benchmark.json").read_text() == "of last week"
    with pytest.raises(TypeError):
        run("--model", MODEL, "--output", str(tmp_path), "--overwrite")  # it goes on, to a worker


def row(**chosen):
    numbers = {"p50_ms": 1430.25, "p95_ms": 1512.5, "p99_ms": 1600.125, "pictures_per_s": 0.7, "peak_mib": 1790.0}
    return Configuration("dsformer_resnet50", **chosen).to_dict() | numbers | {"imports_mib": 727.0, "startup_s": 3.4}


@pytest.mark.parametrize("width", [40, 80, 100])
@pytest.mark.parametrize(
    "rows",
    [
        [row()],
        [row(threads=1) | {"times_as_fast": 1.2}, row(threads=2) | {"times_as_fast": 1.3}],
        [row() | {"stages": {name: {"p50_ms": 12.25} for name in STAGES}}],
        [row(weights="a.onnx"), row(weights="b.onnx"), row(optimize="max", batch=8) | {"device_p50_ms": 3.25}],
    ],
)
def test_every_number_is_read_on_a_narrow_terminal(rows, width, capsys, monkeypatch):
    narrow = Console(width=width, force_terminal=True, soft_wrap=True, no_color=True, file=io.StringIO())
    monkeypatch.setattr(console, "answers", narrow)
    monkeypatch.setattr(benchmark, "answers", narrow)
    benchmark._print(Measured(describe_machine(), rows), as_json=False)
    printed = narrow.file.getvalue()
    assert "…" not in printed and "dsformer_resnet50" in printed
    for one in rows:
        assert f"{one['p50_ms']:.1f}" in printed and f"{one['peak_mib']:.0f}" in printed
        assert all(name in printed for name in [one["weights"], *one.get("stages", ())])
    assert width < 80 or len(rows) != 2 or printed.count("dsformer_resnet50") == 1, "said once, above the table"


def test_two_files_of_one_precision_are_told_apart():
    two = Measured(describe_machine(), [row(weights="a.onnx"), row(weights="b.onnx", threads=2) | {"error": "no"}])
    page = two.page()
    assert "<td>a.onnx</td>" in page and "b.onnx, batch 1, 2 thr.: no" in page, "with the reason of what failed"
    assert two.faults() == ["dsformer_resnet50 auto safe, b.onnx, batch 1, 2 thr.: no"]
    elsewhere = Measured(describe_machine(), [row(device="cpu"), row(device="cuda:0")]).page()
    assert "<td>cpu</td>" in elsewhere and "<td>cuda:0</td>" in elsewhere and "untrained" not in elsewhere


def test_one_bar_is_shown_at_a_time(monkeypatch):
    """Bars of forty configurations at once would hide that of the one that is measured."""
    told = []

    @contextmanager
    def steps():
        told.append("begins")
        yield lambda *step: told.append(step)
        told.append("ends")

    monkeypatch.setattr(benchmark, "steps", steps)
    with benchmark._a_bar_each({"a": "1/2 a", "b": "2/2 b"}) as show:
        show("a", 0, 3)
        show("a", 3, 3)
        show("b", 0, 3)
    first = ["begins", ("1/2 a", 0, 3), ("1/2 a", 3, 3), "ends"]
    assert told == [*first, "begins", ("2/2 b", 0, 3), "ends"]


def test_progress_names_what_is_measured_and_ends():
    told = []
    configurations = [Configuration(MODEL), Configuration(MODEL, weights="nope.pth")]
    measure(configurations, limits=Limits(3, 30), on_progress=lambda *told_now: told.append(told_now))
    first, second = configurations
    assert told[:5] == [(first, 0, 3), (first, 1, 3), (first, 2, 3), (first, 3, 3), (first, 3, 3)]
    assert told[5:] == [(second, 0, 3), (second, 0, 0)]
    labels = benchmark._labels([first, replace(first, batch=8)])
    assert list(labels.values()) == [f"1/2 {MODEL}, batch 1", f"2/2 {MODEL}, batch 8"]


def test_the_machine_is_described_and_not_named():
    words = in_words(describe_machine())
    assert "cores" in words and "torch" in words
    assert socket.gethostname() not in words and os.environ.get("USER", "nobody in particular") not in words


def test_the_page_shows_every_row(tmp_path):
    rows = [
        {**Configuration("dsformer_tiny", batch=batch).to_dict(), "p50_ms": 10.0 * batch, "p95_ms": 12.0 * batch}
        for batch in (1, 8)
    ]
    rows[1]["eager"] = {"p50_ms": 200.0, "p95_ms": 210.0}
    rows.append({**Configuration("<broken>").to_dict(), "error": "no"})
    found = Measured(describe_machine(), rows)
    found.write(tmp_path)
    page = (tmp_path / "benchmark.html").read_text()
    assert (
        "batch 1, 1 thr." in page and "batch 8, 1 thr." in page and "&lt;broken&gt;" in page and "<broken>" not in page
    )
    assert page.count("<rect") == 3, "two configurations, and what one is compared with"
    assert json.loads((tmp_path / "benchmark.json").read_text())["rows"] == rows
    assert latency_chart([]) == ""
