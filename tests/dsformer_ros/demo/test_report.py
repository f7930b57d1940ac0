"""What the demo says about itself must be what happened."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the ros extra is not installed")

from dsformer_core.cli.main import main
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.sources import open_source
from dsformer_ros.demo.page import write_report
from dsformer_ros.demo.recorder import Answer
from dsformer_ros.demo.report import Summary, compare, print_table, summarise
from tests.synthetic import write_pictures


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    folder = tmp_path_factory.mktemp("town")
    source = open_source(write_pictures(folder / "drive", 20))
    return build_place_map(source, Extractor("gem_mobilenet_v2", "untrained", device="cpu"), folder / "town.map")


def answers(place_map: PlaceMap) -> list[Answer]:
    """A right one 3 m and 10 degrees off, a wrong one, a silent one, and one that never came."""
    pictures = [Path(image) for image in place_map.images]
    local, yaw = place_map.frame.to_local(place_map.utm), place_map.yaw
    return [
        Answer(pictures[0], 0.030, (place_map.ids[1],), (local[0, 0] + 3, local[0, 1], yaw[0] + math.radians(10))),
        Answer(pictures[1], 0.050, (place_map.ids[19],), (local[19, 0], local[19, 1], yaw[1])),
        Answer(pictures[2], 0.040, (place_map.ids[2],), None),
        Answer(pictures[3]),
    ]


def test_the_numbers(place_map: PlaceMap) -> None:
    results = compare(answers(place_map), place_map)
    assert [result.right_place for result in results] == [True, False, True, False]
    assert results[0].error_m == pytest.approx(3, abs=0.01)
    assert results[0].error_deg == pytest.approx(10, abs=0.01)
    assert results[1].error_m == pytest.approx(90, abs=0.5)
    summary = summarise(results)
    assert (summary.pictures, summary.localized, summary.abstained, summary.unanswered) == (4, 2, 1, 1)
    assert summary.wrong_fixes == 1
    assert summary.recall_at_1 == pytest.approx(0.5)
    assert summary.median_error_m == pytest.approx((3 + 90) / 2, abs=0.5)
    assert summary.latency_p50_ms == pytest.approx(40)


def test_silence_alone_has_no_error(place_map: PlaceMap) -> None:
    summary = summarise(compare(answers(place_map)[2:], place_map))
    assert np.isnan(summary.median_error_m)
    assert (summary.abstained, summary.unanswered) == (1, 1)


def test_the_table_fits_80_columns(
    place_map: PlaceMap, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    busy = Summary(1000, 500, 400, 100, 100, 24.9, 179.9, 1.0, 1234.0, 5678.0)
    silent = summarise(compare(answers(place_map)[2:], place_map))
    print_table({"elsewhere": busy, "night": silent}, Path("demo_output/index.html"), as_json=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in text
    row = next(line for line in text.splitlines() if "elsewhere" in line)
    assert re.sub(" +", " ", row).strip() == "elsewhere 1000 500 400 100 100 24.9 m 179.9° 100% 1234/5678"
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert re.search(r"^ *night +2 +0 +1 +1 +0 ", text, re.MULTILINE)


def test_the_page_shows_query_and_reference(place_map: PlaceMap, tmp_path: Path) -> None:
    results = {"a drive": compare(answers(place_map), place_map)}
    summaries = {name: summarise(of_drive) for name, of_drive in results.items()}
    write_report(tmp_path / "index.html", results, summaries, place_map)
    page = (tmp_path / "index.html").read_text()
    assert page.count("<figure") == 4
    assert page.count('<img src="data:image/jpeg;base64,') == 7
    assert "3.0 m and 10° off" in page
    assert ">002.jpg: silent<" in page
    assert ">003.jpg: no answer came<" in page


def test_what_the_demo_did_not_make_it_does_not_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert main(["demo", "--output", str(tmp_path), "--overwrite"]) == 2
    assert "not made by a demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()
