"""Workers of this machine: the map is that of an ordinary build, whoever is killed; and nobody stays behind."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import build_place_map
from dsformer_core.place_map.building.build import Progress
from dsformer_core.place_map.building.describe import ShardTask
from dsformer_core.place_map.building.workers import LocalWorkers, Network
from dsformer_core.place_map.building.workers import local as local_module
from dsformer_core.sources import GeotaggedPicture, Skipped, open_source
from tests.uncovered import uncovered_environment

from .conftest import COUNT, MODEL, content


def test_a_build_goes_on_with_workers_one_of_which_is_killed(
    drive: Path, ordinary: dict[str, bytes], tmp_path: Path
) -> None:
    """Begun in one process, gone on with by two, one of which is killed with a shard in hand."""

    def interrupt(progress: Progress) -> None:
        if progress.step == "describing" and progress.done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extractor = Extractor(MODEL, device="cpu", threads=1)
        build_place_map(open_source(drive), extractor, tmp_path / "town.map", on_progress=interrupt)

    killed: list[int] = []
    seen: list[int] = []
    skipped: list[Skipped] = []

    def kill_one(progress: Progress) -> None:
        if progress.step == "describing":
            seen.append(progress.done)
            if len(seen) == 2:
                # Both have been given their next shard before progress is told.
                worker = multiprocessing.active_children()[0]
                os.kill(worker.pid or 0, signal.SIGKILL)
                killed.append(worker.pid or 0)

    with LocalWorkers(Network.find(MODEL), workers=2, device="cpu") as describer:
        build_place_map(
            open_source(drive),
            describer,
            tmp_path / "town.map",
            resume=True,
            on_progress=kill_one,
            on_skipped=skipped.append,
        )
        children = {child.pid for child in multiprocessing.active_children()}
        assert killed and killed[0] not in children and len(children) == 2, "a lost worker is replaced"
    assert not multiprocessing.active_children()
    assert seen[0] == 16 and seen == sorted(seen) and seen[-1] == COUNT
    assert [Path(one.image).name for one in skipped] == ["017.jpg"]
    assert content(tmp_path / "town.map") == ordinary


SHARDS_OF_EIGHT = """
import sys
from dsformer_core.place_map.building import shards
from dsformer_core.cli.main import main
if __name__ == "__main__":
    shards.SMALLEST_SHARD = 8
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_driver_and_what_they_did_is_kept(
    drive: Path, ordinary: dict[str, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "driver.py").write_text(SHARDS_OF_EIGHT)
    command = [sys.executable, tmp_path / "driver.py", "map", "build", "--images", drive, "--model", MODEL, "--json"]
    command += ["--output", tmp_path / "town.map", "--cluster", "local", "--cluster-workers", "1", "--device", "cpu"]
    driver = subprocess.Popen(
        command,
        env=uncovered_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob(".town.map.building/shards-*/*/*.parquet")):
        time.sleep(0.005)
    assert driver.poll() is None, driver.communicate()
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # a terminal sends it to all of them
    else:
        driver.kill()
    answer, words = driver.communicate(timeout=60)
    assert answer == ""
    if number == signal.SIGINT:
        assert driver.returncode == -signal.SIGINT, words
        assert "Traceback" not in words
        kept, last = words.strip().splitlines()[-2:]
        assert last == "dsformer: interrupted"
        assert re.search(r"town\.map: \d+ of 60 pictures are described and kept: --resume goes on", kept), words
    while time.monotonic() < deadline and _alive(driver.pid):
        time.sleep(0.02)
    assert not _alive(driver.pid), "no process of the driver's session stays behind"

    # Gone on with by a process that has no workers.
    extractor = Extractor(MODEL, device="cpu", threads=1)
    build_place_map(open_source(drive), extractor, tmp_path / "town.map", resume=True)
    assert content(tmp_path / "town.map") == ordinary


def _alive(session: int) -> list[str]:
    """Processes of a session that are no zombies."""
    alive = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (process / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if int(its_session) == session and state != "Z":
                alive.append((process / "cmdline").read_text())
        except (OSError, ValueError):
            pass
    return alive


class Deadly:
    """Loads as a picture does whose decoder crashes."""

    def __call__(self, *, at_least: Any = None) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_what_workers_cannot_describe_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local_module, "MOST_LOSSES", 1)
    network = Network.find("gem_mobilenet_v2", "untrained")

    def describe(load: Any) -> None:
        picture = GeotaggedPicture("a.jpg", 55.7, 13.0, "/drive/a.jpg", load)
        tasks = [ShardTask(0, [picture], "drive", "float16", True)]
        with closing(
            describer.describe_shards(tasks, on_described=lambda count: None, on_skipped=lambda one: None)
        ) as shards:
            list(shards)

    with LocalWorkers(network, workers=1, device="cpu") as describer:
        with pytest.raises(UsageError, match="drive: its pictures can only be loaded by the process that found them"):
            describe(lambda *, at_least=None: np.zeros((40, 40, 3), np.uint8))
        with pytest.raises(DsformerError, match=r"a\.jpg to /drive/a\.jpg: workers .* were lost 1 times"):
            describe(Deadly())
    assert not multiprocessing.active_children()


def test_weights_that_a_worker_does_not_have_are_one_line(tmp_path: Path) -> None:
    absent = replace(Network.find(MODEL), file=tmp_path / "absent.safetensors")
    with pytest.raises(DsformerError, match=r"absent\.safetensors: the weights of dsformer_tiny are not where a"):
        LocalWorkers(absent, workers=1, device="cpu").__enter__()
    assert not multiprocessing.active_children()


def test_weights_travel_with_the_network(tmp_path: Path) -> None:
    here = Network.find(MODEL)
    assert here.file is not None
    file = tmp_path / here.file.name
    file.write_bytes(here.file.read_bytes())
    carried = Network.find(MODEL, file).carried()
    file.unlink()
    assert carried.open("cpu").weights_sha256 == Extractor(MODEL, device="cpu").weights_sha256
    assert carried.label == here.label


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "auto"], "--address is for --cluster ray"),
        (["--cluster", "local", "--address", "auto"], "--address is for --cluster ray"),
        (["--cluster-workers", "2"], "--cluster-workers is for --cluster local or --cluster ray"),
        (["--cluster", "local", "--cluster-workers", "0"], "0 workers: there must be 1 or more"),
        (["--cluster", "local", "--gpus-per-worker", "2"], "a network runs on one GPU, or on a part of it"),
        (["--cluster", "local", "--device", "cuda:1"], "device cuda:1: workers share what there is"),
        (["--cluster", "ray", "--device", "cuda:1"], "device cuda:1: workers share what there is"),
        (["--cluster", "local", "--threads-per-worker", "0"], "threads is 0: it must be 1 or more"),
        (["--cluster", "local", "--weights", "nowhere.pth"], "'nowhere.pth': no such file"),
    ],
)
def test_options_that_do_not_go_together(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    command = ["map", "build", "--images", str(drive), "--output", str(tmp_path / "a.map"), "--model", MODEL]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err


def test_devices_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert local_module._devices("auto", None, 1.0) == ["cuda:0", "cuda:1"]
    assert local_module._devices("cuda", None, 0.5) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert local_module._devices("auto", 3, 1.0) == ["cuda:0", "cuda:1", "cuda:0"]
    assert local_module._devices("cpu", 3, 1.0) == ["cpu"] * 3
