"""A map's report says what is wrong with it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.localization.advice import advise
from dsformer_core.localization.report import write_report
from dsformer_core.localization.survey import survey
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.inspection.image_quality import image_quality
from tests.synthetic import ORIGIN, unit, write_map

SAMPLE = Path(__file__).resolve().parents[3] / "maps" / "sample"


def found(place_map: PlaceMap) -> str:
    return "\n".join(advice.found for advice in advise(survey(place_map)))


@pytest.fixture(scope="module")
def sample_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("report") / "a.html"
    write_report(PlaceMap.open(SAMPLE), page)
    return page


def test_the_page_stands_alone_and_says_it_all(sample_report: Path) -> None:
    text = re.sub(r"data:image/(png|jpeg);base64,[\w+/=]+", r"data:image/\1", sample_report.read_text())
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    for title in (
        "What stands out",
        "Where",
        "What a robot may expect",
        "Coverage",
        "Directions and times",
        "Pictures",
    ):
        assert f"<h2>{title}</h2>" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "nan" not in text
    assert text.count("data:image/png") == 3
    assert "known in one direction only" in text
    assert text.count("<section>") == text.count("</section>") == 7


def test_numbers_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "report", str(SAMPLE), "--json"]) == 0
    captured = capsys.readouterr()
    values: dict[str, Any] = json.loads(captured.out)
    assert values["map"]["count"] == values["headings"]["known"] == values["times"]["known"] == 60
    assert values["coverage"]["street_m"] == pytest.approx(240, rel=0.1)
    assert values["coverage"]["one_direction_share"] == 1
    assert values["coverage"]["gaps"] == 0
    assert sum(values["headings"]["by_10_degrees_from_north"]) == 60
    assert sum(values["times"]["by_month"]) == sum(values["times"]["by_solar_hour"]) == 60
    assert values["pictures"]["looked_at"] == 60
    assert values["pictures"]["blurred"] == 0
    assert values["aliasing"]["asked"] == 60
    answers = values["localization"]
    assert answers["asked"] == answers["in_reach"] == sum(step["count"] for step in answers["reliability"]) == 60
    assert answers["wrong_share"] == 0
    assert 0 < answers["median_error_m"] < 25
    assert all(advice["found"] and advice["do"] for advice in values["advice"])
    assert not list(tmp_path.iterdir())


def test_the_command_writes_beside_the_map_and_says_what_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(SAMPLE, tmp_path / "town.map")
    assert main(["map", "report", str(tmp_path / "town.map"), "--likes", "0"]) == 0
    text = capsys.readouterr().out
    assert "in one direction only" in text
    assert "town.report.html: 60 references" in text
    page = (tmp_path / "town.report.html").read_text()
    assert "What looks alike" not in page
    assert main(["map", "report", str(tmp_path / "nowhere.map")]) == 2
    assert main(["map", "report", str(tmp_path / "town.map"), "--likes", "-1"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_map_without_thumbnails_headings_or_neighbours_is_reported(tmp_path: Path) -> None:
    """The barest map there is: one reference, of which nothing is known."""
    place_map = write_map(tmp_path / "a.map", unit(np.ones((1, 8))), ORIGIN[None], index="flat_fp16")
    write_report(place_map, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "This map keeps no thumbnails" in text
    assert "No headings are known" in text
    words = found(place_map)
    assert "too small to say what similarities are worth" in words
    assert "have no heading" in words


def test_gaps_copies_and_turned_streets_are_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    steps = random.standard_normal((220, 64))
    looks = np.stack([steps[row : row + 12].sum(axis=0) for row in range(200)])
    along = np.arange(200) * 4.0 + 50 * (np.arange(200) >= 100)
    utm = ORIGIN + np.stack([along, np.zeros(200)], axis=1)
    looks[150] = looks[20]
    place_map = write_map(tmp_path / "a.map", unit(looks), utm, np.zeros(200), index="flat_fp16")
    words = found(place_map)
    assert "One gap of more than 25 m in what was driven, the longest 54 m, after 000099.jpg" in words
    assert "100 % of the ground is known in one direction only" in words
    assert re.search(r"000020.jpg and 000150.jpg are all but the same picture, 5\d\d m apart", words) or re.search(
        r"000150.jpg and 000020.jpg are all but the same picture, 5\d\d m apart", words
    )


def test_bad_pictures_are_found(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "a.map")
    place_map = PlaceMap.open(tmp_path / "a.map")
    pictures = [cv2.imread(str(place_map.thumbnail_path(row))) for row in range(9)]
    changed = [
        *(cv2.GaussianBlur(picture, (0, 0), 3) for picture in pictures[:3]),
        *(picture // 20 for picture in pictures[3:6]),
        *(picture.astype(int) + 180 for picture in pictures[6:9]),
    ]
    for row, picture in enumerate(changed):
        cv2.imwrite(str(place_map.thumbnail_path(row)), np.clip(picture, 0, 255).astype(np.uint8))
    place_map.thumbnail_path(9).write_bytes(b"no picture")
    quality = image_quality(place_map)
    assert len(quality.rows) == 59
    assert 9 not in quality.rows
    assert set(quality.rows[quality.blurred]) >= {0, 1, 2}
    assert quality.rows[quality.too_dark].tolist() == [3, 4, 5]
    assert set(quality.rows[quality.burnt_out]) == {6, 7, 8}
    words = found(place_map)
    for fault in ("are blurred", "are too dark", "are burnt out"):
        assert fault in words


def test_names_are_text(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "a.map")
    place_map = PlaceMap.open(tmp_path / "a.map")
    place_map.name = "<script>alert(1)</script>"
    write_report(place_map, tmp_path / "a.html", aliases=0)
    assert "<script" not in (tmp_path / "a.html").read_text()
