"""Processes whose lines are not counted: their disk is full, or they are stopped while coverage would be written."""

import os


def uncovered_environment() -> dict[str, str]:
    """The environment of this process without what starts line coverage in its children.

    Nor do those write bytecode: what a full disk cuts short would be imported, broken, by every process after them.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return inherited | {"PYTHONDONTWRITEBYTECODE": "1"}
