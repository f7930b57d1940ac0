"""`dsformer` itself: its sub-commands are whatever is installed."""

from importlib.metadata import EntryPoint, entry_points

import pytest

from dsformer_core.cli import main as command_line


def test_a_command_that_cannot_be_loaded_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EntryPoint("broken", "no_such_package.cli:register", command_line.COMMANDS)
    installed = [*entry_points(group=command_line.COMMANDS), broken]
    monkeypatch.setattr(command_line, "entry_points", lambda *, group: installed)
    assert command_line.main(["weights", "list"]) == 0
    printed = capsys.readouterr()
    assert "dsformer_resnet50" in printed.out
    assert printed.err.startswith("dsformer: broken cannot be loaded") and printed.err.count("\n") == 1
