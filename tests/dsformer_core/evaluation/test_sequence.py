"""A drive is asked as a robot would ask it, kidnappings included, by the command that a person types."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.evaluation.sequence import carried, error_by_std, evaluate_sequence
from dsformer_core.evaluation.sequence_odometry import read_odometry
from dsformer_core.evaluation.sequence_page import sequence_rows, write_sequence_page
from dsformer_core.localization.fusion.replay import Answers, Drive, made_odometry
from dsformer_core.place_map import PlaceMap
from tests.synthetic import ORIGIN, unit, write_map


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlaceMap, Drive]:
    """600 m of street, and a later drive along it."""
    random, count = np.random.default_rng(0), 120
    steps = random.normal(size=(count, 256))
    views = unit(np.array([sum(0.75**lag * steps[max(0, row - lag)] for lag in range(10)) for row in range(count)]))
    along = 5.0 * np.arange(count)
    utm = ORIGIN + np.column_stack([along, np.zeros(count)])
    place_map = write_map(tmp_path_factory.mktemp("sequence") / "street.map", views, utm, np.zeros(count))
    rows = np.arange(0, count)
    seen = unit(views[rows] + 1.5 * unit(random.normal(size=views[rows].shape)))
    matches = list(place_map.search(seen, k=80))
    return place_map, Drive(10 + rows / 1.0, utm[rows] + (1.0, 1.0), np.zeros(len(rows)), matches)


def test_what_is_reported(street: tuple[PlaceMap, Drive], tmp_path: Path) -> None:
    place_map, drive = street
    found = evaluate_sequence(place_map, drive, odometry=None, odometry_words="made <here>", kidnap=2)
    numbers = json.loads(json.dumps(found.numbers()))
    assert numbers["kilometres"] == pytest.approx(0.585)
    fused = numbers["fused"]
    assert fused["availability"] > 0.7 and fused["false_fixes_per_km"] <= 20
    assert fused["first_fix_m"] < 60 and fused["first_fix_s"] == pytest.approx(fused["first_fix_m"] / 5)
    assert len(fused["kidnappings"]) == 2
    assert sum(step["count"] for step in fused["reliability"]) == len(drive)
    page = tmp_path / "page.html"
    write_sequence_page(found, page)
    text = page.read_text()
    assert "made &lt;here&gt;" in text and "<script" not in text and text.count("<svg") == 4
    assert len(sequence_rows(found)) == 11


def test_kidnapping_is_counted_from_the_new_place(street: tuple[PlaceMap, Drive]) -> None:
    place_map, drive = street
    found = evaluate_sequence(place_map, drive, odometry=None, odometry_words="made", kidnap=1)
    first = found.starts[0]
    count = len(drive)
    answers = Answers(
        localized=np.ones(count, bool),
        probability=np.ones(count),
        error=np.where((np.arange(count) >= first) & (np.arange(count) < first + 3), 90.0, 1.0),
        distance=np.ones(count),
        std=np.ones(count),
        probabilities=[],
        right=[],
    )
    (one,) = found.kidnappings(answers)
    assert one.was_localized
    # Who was just carried cannot know: these three are no false fixes of a drive.
    assert np.flatnonzero(found.unnoticed(answers)).tolist() == [first, first + 1, first + 2]
    assert [one.noticed_m, one.noticed_s, one.regained_m, one.regained_s] == pytest.approx([15, 3, 15, 3])


@pytest.mark.parametrize("times", [1, 2, 4])
def test_pieces_are_driven_whole_and_none_after_its_own_predecessor(street: tuple[PlaceMap, Drive], times: int) -> None:
    drive = street[1]
    cut, starts = carried(drive, times)
    assert len(starts) == times
    assert sorted(cut.utm[:, 0]) == sorted(drive.utm[:, 0])
    assert (np.diff(cut.stamps) > 0).all()
    jumps = np.abs(np.diff(cut.utm[:, 0]))
    assert (jumps[np.array(starts) - 1] > 10).all()
    assert (np.delete(jumps, np.array(starts) - 1) < 6).all()
    odometry = made_odometry(cut)
    odometry = odometry[np.isin(odometry[:, 0], cut.stamps)]
    stood = np.hypot(*np.diff(odometry[:, 1:3], axis=0).T)[np.array(starts) - 1]
    assert (stood == 0).all()


def test_too_many_kidnappings_are_refused(street: tuple[PlaceMap, Drive]) -> None:
    with pytest.raises(UsageError, match="too few"):
        carried(street[1], 9)


def test_errors_are_told_by_what_was_promised() -> None:
    answers = Answers(
        localized=np.ones(4, bool),
        probability=np.ones(4),
        error=np.array([1.0, 3.0, 7.0, 200.0]),
        distance=np.array([1.0, 7.0, 1.0, 99.0]),
        std=np.array([3.0, 3.5, 30.0, 3.0]),
        probabilities=[],
        right=[],
    )
    one, other = error_by_std(answers)
    assert (one["std_from_m"], one["count"], one["median_error_m"], one["ellipses_95_hold"]) == (2.0, 2, 2.0, 0.5)
    assert (other["std_from_m"], other["std_to_m"], other["count"]) == (25.0, None, 1)


@pytest.mark.parametrize(
    "content", ["", "stamp,x,y\n1,2,3\n", "stamp,x,y,yaw\n1,2,3,north\n", "stamp,x,y,yaw\n1,2,3,nan\n"]
)
def test_odometry_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odometry.csv"
    path.write_text(content)
    with pytest.raises(DsformerError) as caught:
        read_odometry(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert ("line 2" in str(caught.value)) == ("yaw\n1" in content)


def test_the_commands(unseen_town: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`map build`, `evaluate --sequence`, `map calibrate`, and `evaluate --sequence` again."""
    from dsformer_core.geodesy import UtmZone, to_latlon

    def manifest(name: str, drives: list[str]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        lines, number = ["path,latitude,longitude,timestamp"], 0
        for drive in (unseen_town[name] for name in drives):
            latitude, longitude = to_latlon(drive.utm, UtmZone(33, True))
            for picture, *where in zip(drive.pictures, latitude, longitude, strict=True):
                Image.fromarray(picture).save(folder / f"{number}.jpg")
                lines.append(f"{number}.jpg,{where[0]:.8f},{where[1]:.8f},{1.7e9 + 2.0 * number}")
                number += 1
        (folder / "drive.csv").write_text("\n".join(lines) + "\n")
        return folder / "drive.csv"

    town, later = tmp_path / "town.map", manifest("later", ["dusk", "overcast", "traffic", "rain"])
    build = ["map", "build", "--images", str(manifest("daylight", ["daylight"])), "--output", str(town)]
    assert main([*build, "--model", "dsformer_tiny", "--no-thumbnails"]) == 0
    evaluate = ["evaluate", "--sequence", str(later), "--map", str(town), "--json"]
    capsys.readouterr()
    assert main([*evaluate, "--output", str(tmp_path / "report")]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["pictures"] == 40 and before["fused"]["availability"] > 0.2
    assert (tmp_path / "report" / "sequence.html").read_text().startswith("<!DOCTYPE html>")
    assert main(["map", "calibrate", str(town), "--queries", str(later), "--json"]) == 0
    learnt = json.loads(capsys.readouterr().out)
    assert learnt["after"]["single"]["calibration_error"] < learnt["before"]["single"]["calibration_error"]
    assert PlaceMap.open(town, verify="full").recalibration.pictures == 40
    assert main(evaluate) == 0
    assert json.loads(capsys.readouterr().out)["single"] != before["single"]
    assert main(["map", "calibrate", str(town), "--forget"]) == 0
    assert PlaceMap.open(town).recalibration.pictures == 0
    for wrong in (
        ["evaluate", "--sequence", str(later)],
        ["evaluate", "--kidnap", "2"],
        ["evaluate", "--odometry", "none", "--database", str(town), "--queries", str(town)],
        [*evaluate, "--odometry", str(tmp_path / "none.csv")],
        [*evaluate, "--kidnap", "-1"],
        [*evaluate, "--kidnap", "1", "--odometry", str(later)],
        ["map", "calibrate", str(town)],
        ["map", "calibrate", str(town), "--forget", "--queries", str(later)],
    ):
        assert main(wrong) == 2
