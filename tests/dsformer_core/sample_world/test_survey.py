"""Surveys: every place many times, under many conditions; nothing lost when interrupted."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.errors import UsageError
from dsformer_core.sample_world import Survey, write_survey
from dsformer_core.sources import open_source

SMALL = Survey(town_seeds=(4, 5), drives=2, size_m=150.0, spacing=15.0, count=2)


def test_the_plan_follows_from_its_numbers() -> None:
    survey = Survey(town_seeds=(4, 5), drives=30)
    plan = survey.plan()
    assert plan == survey.plan()
    assert plan != Survey(town_seeds=(4, 5), drives=30, seed=1).plan()
    assert len({drive.folder for drive in plan}) == len(plan) == 60
    assert {drive.condition.light for drive in plan} == {"day", "dusk", "night"}
    # A longer survey begins like the shorter one.
    assert [d for d in Survey(town_seeds=(4,), drives=40).plan() if d.number < 30] == plan[:30]
    ways = [round(drive.mounting_deg / 90) % 4 for drive in plan]
    assert min(ways.count(way) for way in range(4)) >= 10


def test_every_drive_is_geotagged_and_towns_lie_apart(tmp_path: Path) -> None:
    seen: list[int] = []
    folders = write_survey(SMALL, tmp_path / "survey", workers=1, on_progress=seen.append)
    assert sum(seen) == len(folders) == 4
    pictures, skipped = open_source(tmp_path / "survey").scan()
    assert len(pictures) == 8 and not skipped
    towns = [float(np.mean([p.longitude for p in pictures if f"town_{seed}" in p.id])) for seed in (4, 5)]
    assert 0.01 < towns[1] - towns[0] < 0.02  # a kilometre at 50 degrees north

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "survey").rglob("*.jpg")}
    removed = folders[3]
    for path in removed.iterdir():
        path.unlink()
    removed.rmdir()
    write_survey(SMALL, tmp_path / "survey", workers=1)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "survey").rglob("*.jpg")}
    assert after.keys() == before.keys()
    assert {path for path in before if before[path] != after[path]} == set(removed.iterdir())


def test_two_surveys_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is not empty"):
        write_survey(SMALL, tmp_path / "other")
    (tmp_path / "survey").mkdir()
    (tmp_path / "survey" / "survey.yaml").write_text("town_seeds: [1]\n")
    with pytest.raises(UsageError, match="holds another survey"):
        write_survey(SMALL, tmp_path / "survey")


def test_an_interrupted_survey_goes_on(tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("dsformer")), "render", "--survey", "40", "--town", "4", "--size-m", "150",
        "--spacing", "15", "--count", "1", "--workers", "1", "--output", str(tmp_path / "survey"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "survey").glob("town_4/drive_???")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said
    whole = list((tmp_path / "survey").glob("town_4/drive_???"))
    assert 1 <= len(whole) < 40
    assert all((folder / "000000.jpg").stat().st_size > 1000 for folder in whole)
