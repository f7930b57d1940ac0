"""What became of a drive: a table for the terminal, and a page to read and to show."""

import html
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from dsformer_core.charts import histogram, promises
from dsformer_core.evaluation.sequence import Sequence
from dsformer_core.localization.report_page import REPORT_PAGE
from dsformer_core.pages import write_page

_ROWS = (
    ("false fixes (> 25 m) per km", "false_fixes_per_km", "{:.2f}"),
    ("more before a kidnapping was noticed", "false_fixes_before_noticed", "{:d}"),
    ("availability", "availability", "{:.1%}"),
    ("median error of answers", "median_error_m", "{:.1f} m"),
    ("time to first right fix", "first_fix_s", "{:.1f} s"),
    ("way to first right fix", "first_fix_m", "{:.0f} m"),
    ("kidnapping noticed after (median)", "noticed_median_s", "{:.1f} s"),
    ("", "noticed_median_m", "{:.0f} m"),
    ("localized again after (median)", "regained_median_m", "{:.0f} m"),
    ("expected calibration error", "calibration_error", "{:.3f}"),
    ("95 % ellipses hold", "ellipses_95_hold", "{:.1%}"),
)


def sequence_rows(found: Sequence) -> list[tuple[str, str, str]]:
    """What is measured, of single pictures, and fused; a dash where nothing is known."""
    numbers = found.numbers()
    return [
        (words, *(_said(numbers[answer][name], layout) for answer in ("single", "fused")))  # type: ignore[misc]
        for words, name, layout in _ROWS
        if found.starts or ("noticed" not in name and not name.startswith("regained"))
    ]


def sequence_table(found: Sequence) -> Table:
    """The same for a terminal."""
    table = Table("", "single pictures", "fused")
    for row in sequence_rows(found):
        table.add_row(*row)
    return table


def write_sequence_page(found: Sequence, output: Path) -> None:
    """Writes one HTML file that needs no other file and no internet.

    Raises:
        OSError: the file cannot be written.
    """
    numbers = found.numbers()
    title = html.escape(f"A drive of {numbers['kilometres']:.1f} km in {found.place_map.name}")
    head = (
        f"<h1>{title}</h1><p class='muted'>{numbers['pictures']} pictures, {len(found.starts)} kidnappings, odometry: "
        f"{html.escape(found.odometry)}. An answer more than 25 m off is a false fix.</p>"
    )
    rows = "".join(f"<tr><td>{words}</td><td>{one}</td><td>{other}</td></tr>" for words, one, other in _escaped(found))
    table = f"<section><table><tr><th></th><th>single pictures</th><th>fused</th></tr>{rows}</table></section>"
    curves = "".join(
        f"<figure><h3>{name}</h3>{promises(_points(numbers[name]), f'calibration curve, {name}')}</figure>"
        for name in ("single", "fused")
    )
    honest = (
        f"<section><h2>Probability</h2><div class='row'>{curves}</div><p class='muted'>Promised probability of the "
        "best hypothesis to the right, share that was right up; larger dots stand for more pictures.</p></section>"
    )
    edges = np.arange(0, 51, 2.5)
    errors = "".join(
        f"<figure><h3>{name}</h3>"
        f"{histogram(answers.error[answers.localized], edges, f'errors, {name}', every=4, unit=' m')}</figure>"
        for name, answers in (("single", found.single), ("fused", found.fused))
    )
    spread = "".join(
        f"<tr><td>{step['std_from_m']:.0f} to {_said(step['std_to_m'], '{:.0f}')} m</td><td>{step['count']}</td>"
        f"<td>{step['median_error_m']:.1f} m</td><td>{step['p95_error_m']:.1f} m</td>"
        f"<td>{step['ellipses_95_hold']:.1%}</td></tr>"
        for step in numbers["fused"]["error_by_std"]
    )
    covariance = (
        f"<section><h2>Error</h2><div class='row'>{errors}</div><h3>By promised standard deviation, fused</h3><table>"
        "<tr><th>promised</th><th>pictures</th><th>median error</th><th>95th percentile</th><th>95 % ellipses hold</th>"
        f"</tr>{spread}</table></section>"
    )
    write_page(output, REPORT_PAGE.format(title=title, body=head + table + honest + covariance))


def _escaped(found: Sequence) -> list[tuple[str, ...]]:
    return [tuple(html.escape(cell) for cell in row) for row in sequence_rows(found)]


def _points(numbers: dict[str, Any]) -> list[tuple[float, float, int]]:
    return [(step["promised"], step["kept"], step["count"]) for step in numbers["reliability"]]


def _said(value: float | None, layout: str) -> str:
    return "–" if value is None else layout.format(value)
