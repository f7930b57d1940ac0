"""What was measured: as a table, as JSON, and as a page with a chart."""

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from dsformer_core.arithmetic import TORCH
from dsformer_core.benchmark.chart import latency_chart
from dsformer_core.benchmark.machine import in_words
from dsformer_core.localization.report_page import REPORT_PAGE
from dsformer_core.pages import write_page

JSON_NAME, PAGE_NAME = "benchmark.json", "benchmark.html"

_COLUMNS = ("model", "runtime", "precision", "optimize", "threads", "batch")
_NUMBERS = {
    "p50_ms": ("p50 ms", "{:.1f}"),
    "p95_ms": ("p95 ms", "{:.1f}"),
    "p99_ms": ("p99 ms", "{:.1f}"),
    "device_p50_ms": ("device ms", "{:.2f}"),
    "pictures_per_s": ("pictures/s", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "imports_mib": ("of it imports", "{:.0f}"),
    "gpu_peak_mib": ("GPU MiB", "{:.0f}"),
    "startup_s": ("start-up s", "{:.1f}"),
    "times_as_fast": ("times eager", "{:.2f}"),
}


@dataclass(frozen=True)
class Measured:
    """Rows, and the machine that they are of.

    Attributes:
        machine: as `describe_machine` has it.
        rows: one per configuration, plain values; "error" in those that could not be run.
    """

    machine: dict[str, Any]
    rows: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"machine": self.machine, "rows": self.rows}

    def table(self) -> Table:
        """For a terminal; what no row has is left out."""
        table = Table()
        heads, rows = self._cells()
        for head in heads:
            table.add_column(head, justify="left" if head in _COLUMNS[:4] else "right")
        for row in rows:
            table.add_row(*row)
        return table

    def write(self, folder: Path) -> None:
        """Writes `JSON_NAME` and `PAGE_NAME`.

        Raises:
            OSError: one cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"
        (folder / JSON_NAME).write_text(text, encoding="utf-8")
        write_page(folder / PAGE_NAME, self.page())

    def page(self) -> str:
        """HTML that needs nothing else."""
        heads, rows = self._cells()
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        chart = latency_chart([(label(row), row) for row in self.rows if "error" not in row])
        title = "Benchmark"
        machine = html.escape(in_words(self.machine))
        return REPORT_PAGE.format(
            title=title,
            body=f"<h1>{title}</h1><p class='muted'>{machine}, {self.machine['date']}</p><section>{chart}"
            "<p class='muted'>Bars end at the median, lines at the 95th percentile; hollow bars are the same network "
            "as it was trained, in float32, taking turns. Milliseconds of a batch, logarithmic.</p></section>"
            f"<section><table><tr>{head}</tr>{body}</table></section>",
        )

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        stages = list(dict.fromkeys(name for row in self.rows for name in row.get("stages", ())))
        numbers = [key for key in _NUMBERS if any(key in row for row in self.rows)]
        heads = [*_COLUMNS, *(f"{name} ms" for name in stages), *(_NUMBERS[key][0] for key in numbers)]
        rows = []
        for row in self.rows:
            cells = [str(row[name]) for name in _COLUMNS]
            cells += [_said(row.get("stages", {}).get(name, {}).get("p50_ms"), "{:.2f}") for name in stages]
            cells += [_said(row.get(key), _NUMBERS[key][1]) for key in numbers]
            rows.append(cells)
        return heads, rows


def label(row: dict[str, Any]) -> str:
    """What a row is of, in a line."""
    runtime = "" if row["runtime"] in ("auto", TORCH) else f" {row['runtime']}"
    return f"{row['model']}{runtime} {row['precision']} {row['optimize']}, batch {row['batch']}, {row['threads']} thr."


def _said(value: float | None, layout: str) -> str:
    return "–" if value is None else layout.format(value)
