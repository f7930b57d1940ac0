"""How the command line talks: answers on stdout, everything else on stderr, progress only where a person looks."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

answers = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

# Characters; wider than any table.
_ENDLESS = 100_000


class _Rate(ProgressColumn):
    """Finished pieces per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="cyan")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows a bar with rate and time left on stderr while the block runs.

    Args:
        description: what is being counted, e.g. ``"describing pictures"``.
        total: number of pieces, None where unknown.

    Yields:
        A function that takes the number of pieces finished since its last call.
    """
    with _bars() as bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)


@contextmanager
def steps() -> Iterator[Callable[[str, int, int | None], None]]:
    """Like `progress`, for work in several steps, each with a bar of its own.

    Yields:
        A function that takes what is being counted, how many are finished, and the total (None where unknown).
    """
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(description: str, done: int, total: int | None) -> None:
            if description not in tasks:
                tasks[description] = bars.add_task(description, total=total)
            bars.update(tasks[description], completed=done, total=total)

        yield show


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=errors, disable=not errors.is_terminal)


def fits(table: Table) -> bool:
    """Whether a table can be printed on stdout with every cell whole; where no terminal ends the lines, always."""
    return not answers.is_terminal or _width(table) <= answers.width


def print_table(table: Table) -> None:
    """Writes a table to stdout; into a file or a pipe as wide as it is, so that no cell is cut or folded."""
    if answers.is_terminal:
        answers.print(table, highlight=False)
    else:
        Console(width=_width(table)).print(table, highlight=False)


def _width(table: Table) -> int:
    """Characters that the table takes when nothing is cut."""
    options = answers.options.update(width=_ENDLESS)
    return Measurement.get(answers, options, table).maximum


def print_json(value: Any) -> None:
    """Writes `value` as one JSON document to stdout; NaN, which JSON lacks, becomes null."""
    print(json.dumps(_without_nan(value), indent=2, ensure_ascii=False))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value
