"""A real Ray on this machine: an actor is killed in the middle, and the map is that of an ordinary build."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError
from dsformer_core.place_map.building.workers import Network, RayWorkers

from .conftest import COUNT, MODEL, content

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")


@pytest.fixture(scope="module")
def two_cores() -> Iterator[None]:
    """A Ray of this machine's own, which also builds that name no address use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=100_000_000,
        )
        try:
            yield
        finally:
            ray.shutdown()


@pytest.mark.timeout(300)
def test_an_actor_is_killed_in_the_middle(
    two_cores: None, drive: Path, ordinary: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        while not list(tmp_path.glob(".town.map.building/shards-*/*/*.parquet")):
            time.sleep(0.005)
        killed.append(_actors()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    command = ["map", "build", "--images", str(drive), "--output", str(tmp_path / "town.map"), "--model", MODEL]
    status = main([*command, "--cluster", "ray", "--cluster-workers", "2", "--json"])
    said = capfd.readouterr()
    assert status == 0, said.err
    assert killed
    assert json.loads(said.out)["count"] == COUNT - 1, "nothing but the answer is on stdout"
    assert content(tmp_path / "town.map") == ordinary
    assert ray.is_initialized(), "a Ray that was there before stays"


def test_more_gpus_than_a_cluster_has_are_one_line(two_cores: None, drive: Path, tmp_path: Path) -> None:
    with pytest.raises(DsformerError, match="the Ray cluster has 0 GPUs: too few for 1 per worker"):
        RayWorkers(Network.find(MODEL), device="cuda").__enter__()


def test_no_cluster_at_an_address_is_one_line(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    capsys.readouterr()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    command = ["map", "build", "--images", str(drive), "--output", str(tmp_path / "a.map"), "--model", MODEL]
    assert main([*command, "--cluster", "ray", "--address", "auto"]) == 1
    words = capsys.readouterr()
    assert words.out == ""
    assert "dsformer: " in words.err and "Traceback" not in words.err


def _actors() -> list[int]:
    """Processes of Ray Data's actors."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::MapWorker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass
    return found
