"""`dsformer render`: what it writes, what it refuses, how it stops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from dsformer_core.cli.main import main
from dsformer_core.sample_world import Camera, contact_sheet

SMALL = ["--town", "4", "--size-m", "150", "--width", "64", "--height", "48"]


def test_renders_a_drive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "drive"
    arguments = ["render", "--output", str(output), *SMALL, "--count", "3", "--workers", "1", "--json"]
    assert main([*arguments, "--condition", "night+rain"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["pictures"] == ["000000.jpg", "000001.jpg", "000002.jpg"] == sorted(p.name for p in output.iterdir())
    assert Image.open(output / "000002.jpg").size == (64, 48)
    assert main(arguments) == 2, "the folder is not empty now"
    assert main([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--condition", "fog"], "'fog' is unknown; choose from daylight"),
        (["--spacing", "0"], "--spacing 0.0 lies outside"),
        (["--spacing", "nan"], "--spacing nan lies outside"),
        (["--width", "2"], "--width 2 lies outside"),
        (["--fov-deg", "180"], "--fov-deg 180.0 lies outside"),
        (["--size-m", "20"], "--size-m 20.0 lies outside"),
        (["--count", "0"], "--count 0 lies outside"),
    ],
)
def test_refuses_in_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["render", "--output", str(tmp_path / "drive"), *arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "drive").exists()


def test_refuses_a_folder_in_use_a_file_and_a_sheet_that_is_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert main(["render", "--output", str(tmp_path)]) == 2
    assert main(["render", "--output", str(tmp_path / "note.txt")]) == 2
    assert main(["render", "--contact-sheet", str(tmp_path / "sheet.pdf")]) == 2
    assert capsys.readouterr().err.count("\n") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_contact_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "ROWS", ("daylight", "night+rain"))
    monkeypatch.setattr(contact_sheet, "CELL", Camera(64, 48))
    sheet = tmp_path / "sheet.png"
    assert main(["render", "--contact-sheet", str(sheet), "--town", "4", "--size-m", "150"]) == 0
    assert Image.open(sheet).size == (4 * 64, 2 * (48 + contact_sheet.CAPTION_PX))


def test_ctrl_c_leaves_whole_pictures_and_one_line(tmp_path: Path) -> None:
    output = tmp_path / "drive"
    process = subprocess.Popen(
        [Path(sys.executable).with_name("dsformer"), "render", "--output", output, *SMALL, "--spacing", "0.5"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(output.glob("*.jpg"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.strip().splitlines()[-1] == "dsformer: interrupted"
    assert "Traceback" not in errors
    assert len(list(output.iterdir())) >= 5
    for path in output.iterdir():
        assert path.suffix == ".jpg"
        Image.open(path).load()
