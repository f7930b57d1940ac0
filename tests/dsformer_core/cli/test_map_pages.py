"""`dsformer map view` and `dsformer map report`: what a person types and sees."""

import shutil
from pathlib import Path

import pytest

from dsformer_core.cli.main import main

SAMPLE = Path(__file__).resolve().parents[3] / "maps" / "sample"


def test_a_map_beside_its_earlier_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "a.html"
    shutil.copytree(SAMPLE, tmp_path / "before.map")
    assert main(["map", "view", str(SAMPLE), "--before", str(tmp_path / "before.map"), "--output", str(page)]) == 0
    text = page.read_text()
    assert "60 kept since sample town, built 2026-" in text
    assert '"0 added"' in text
    assert capsys.readouterr().out == f"{page}: 60 references\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["view", "sample", "--before", "nowhere.map"], "nowhere.map: no such place map"),
        (["view", "sample", "--likes", "-3"], "-3 references cannot be asked"),
        (["view", "nowhere.map"], "nowhere.map: no such place map"),
        (["report", "nowhere.map"], "nowhere.map: no such place map"),
    ],
)
def test_wrong_calls_get_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLE, tmp_path / "sample")
    assert main(["map", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"dsformer: {words}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


@pytest.mark.parametrize("verb", ["view", "report"])
def test_a_folder_that_is_not_there_is_named_before_the_map_is_read(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "no" / "a.html"
    assert main(["map", verb, "no such map", "--output", str(nowhere)]) == 2
    assert capsys.readouterr().err == f"dsformer: {nowhere.parent}: no such folder to write a.html into\n"


@pytest.mark.parametrize("verb", ["view", "report"])
def test_what_is_no_page_is_not_overwritten(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    assert main(["map", verb, str(SAMPLE), "--output", str(thesis)]) == 2
    assert "exists and is no page, so it is not overwritten" in capsys.readouterr().err
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize("verb", ["view", "report"])
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["map", verb, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  dsformer map {verb}" in capsys.readouterr().out
