"""`dsformer map`: what a person types and sees."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dsformer_core.cli.main import main
from dsformer_core.place_map import PlaceMap
from tests.synthetic import write_picture, write_pictures

BUILD = ["--model", "gem_mobilenet_v2", "--weights", "untrained"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    write_pictures(folder / "drive", 6)
    assert main(["map", "build", "--images", str(folder / "drive"), "--output", str(folder / "town.map"), *BUILD]) == 0
    return folder / "town.map"


def test_build_says_what_it_made_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = write_pictures(tmp_path / "drive", 3)
    write_picture(drive / "nowhere.jpg", latitude=None)
    arguments = ["map", "build", "--images", str(drive), "--output", str(tmp_path / "a.map"), *BUILD]

    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["count"] == 3
    assert answer["model"] == "gem_mobilenet_v2"
    assert [Path(one["image"]).name for one in answer["skipped"]] == ["nowhere.jpg"]
    assert "nowhere.jpg" in captured.err

    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert "3 references, 1 picture skipped" in capsys.readouterr().out


def test_untrained_weights_are_announced_first(tmp_path: Path) -> None:
    drive = write_pictures(tmp_path / "drive", 2)
    command = [
        Path(sys.executable).with_name("dsformer"),
        "map",
        "build",
        "--images",
        drive,
        "--output",
        tmp_path / "a.map",
        *BUILD,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("UNTRAINED WEIGHTS")


def test_info(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "info", str(built)]) == 0
    text = capsys.readouterr().out
    assert "gem_mobilenet_v2" in text
    assert "UTM 33N" in text
    assert re.search("index +flat_fp16, [0-9]+ [+]", text)
    assert main(["map", "info", str(built), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["count"] == answer["headings_known"] == 6
    assert answer["spacing_m"] == pytest.approx(5, abs=0.1)


def test_a_map_too_small_to_calibrate_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "a.map"
    write_pictures(tmp_path / "drive", 1)
    assert main(["map", "build", "--images", str(tmp_path / "drive"), "--output", str(directory), *BUILD]) == 0
    assert f"WARNING: {directory} is too small to calibrate: its probabilities are a guess" in caplog.messages
    text = capsys.readouterr().out
    assert "spacing unknown (taken as 10 m)" in text
    assert re.search("wrong places score +unknown", text)
    caplog.clear()
    assert main(["map", "info", str(directory), "--json"]) == 0
    assert f"WARNING: {directory} is too small to calibrate: its probabilities are a guess" in caplog.messages
    answer = json.loads(capsys.readouterr().out)
    assert (answer["calibrated"], answer["spacing_known"]) == (False, False)


def test_a_map_of_several_places_does_not_warn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_pictures(tmp_path / "drive", 25)
    assert main(["map", "build", "--images", str(tmp_path / "drive"), "--output", str(tmp_path / "a.map"), *BUILD]) == 0
    assert "too small" not in caplog.text
    text = capsys.readouterr().out
    assert "median spacing 5.0 m" in text
    assert "25 references with their surroundings taken out" in text


def test_verify(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "verify", str(built)]) == 0
    assert "intact" in capsys.readouterr().out
    thumbnail = PlaceMap.open(built).thumbnail_path(2)
    content = thumbnail.read_bytes()
    thumbnail.write_bytes(content[:-1])
    try:
        assert main(["map", "verify", str(built)]) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert "thumbnails: one or more of its 6 thumbnails were altered" in lines[0]
    finally:
        thumbnail.write_bytes(content)


def test_view_is_one_page_without_links(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "town.html"
    assert main(["map", "view", str(built), "--output", str(page)]) == 0
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 6
    assert "003.jpg" in html
    assert '"heading_deg": 90.0' in html
    assert "<script src" not in html
    assert "<link" not in html
    for words in ("Place map town", "6 references of gem_mobilenet_v2", "(6 of 6)", "Click one for"):
        assert words in html
    capsys.readouterr()
    nowhere = tmp_path / "no/where.html"
    assert main(["map", "view", str(built), "--output", str(nowhere)]) == 2
    assert capsys.readouterr().err == f"dsformer: {nowhere.parent}: no such folder to write where.html into\n"


def test_a_page_that_the_disk_does_not_hold_is_named(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "town.html"
    page.write_text("<!DOCTYPE html>what an earlier run wrote")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        status = main(["map", "view", str(built), "--output", str(page)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 1
    assert capsys.readouterr().err == f"dsformer: {page}: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["town.html"]
    assert page.read_text() == "<!DOCTYPE html>what an earlier run wrote"


def test_a_file_name_cannot_inject_a_script(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    write_picture(drive / "<script>alert(1)<" / "script>.jpg", latitude=50.0)
    assert main(["map", "build", "--images", str(drive), "--output", str(tmp_path / "a.map"), *BUILD]) == 0
    assert main(["map", "view", str(tmp_path / "a.map")]) == 0
    assert "<script>alert" not in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["info", "nowhere.map"], 2, "no such place map"),
        (["verify", "nowhere.map"], 2, "no such place map"),
        (["info", "drive/000.jpg"], 2, "is a file, and a place map is a directory"),
        (["build", "--images", "nowhere", "--output", "a.map", *BUILD], 2, "no such file or folder"),
        (["build", "--images", "empty", "--output", "a.map", *BUILD], 1, "no pictures"),
        (["build", "--images", "drive", "--output", "a.map", "--model", "resnet"], 2, "no model is called 'resnet'"),
        (["build", "--images", "drive", "--output", "a.map"], 2, "say which network describes the pictures: --model"),
        (["build", "--images", "drive", "--output", "a.map", "--weights", "no.onnx"], 2, "no.onnx: no such file"),
        (["build", "--images", "drive", "--output", "a.map", *BUILD, "--zone", "99X"], 2, "not a UTM zone"),
        (["build", "--images", "drive", "--output", "a.map", "--model", "dsformer_resnet50"], 1, "dsformer_resnet50"),
        (["build", "--images", "drive", "--output", "a.map", *BUILD, "--device", "tpu"], 2, "no device"),
        (["build", "--images", "drive", "--output", "/proc/a.map", *BUILD], 1, "no folder can be made in /proc"),
    ],
)
def test_wrong_calls_get_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "drive", 1)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("DSFORMER_WEIGHTS", str(tmp_path / "weights"))
    assert main(["map", *arguments]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert words in lines[-1]
    assert lines[-1].startswith("dsformer: ")
    assert not (tmp_path / "a.map").exists()


def test_what_a_verb_does_not_know_is_answered_with_its_own_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["map", "info", "a.map", "--speed", "9"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: dsformer map info") and "unrecognized arguments: --speed 9" in said


@pytest.mark.parametrize("verb", [[], ["build"], ["info"], ["verify"], ["view"]])
def test_help_has_examples(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["map", *verb, "--help"])
    assert ended.value.code == 0
    assert "examples:\n  dsformer map" in capsys.readouterr().out
