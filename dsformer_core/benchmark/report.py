"""What was measured: as a table, as JSON, and as a page with a chart."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from dsformer_core.arithmetic import TORCH
from dsformer_core.benchmark.chart import latency_chart
from dsformer_core.benchmark.machine import in_words
from dsformer_core.localization.report_page import REPORT_PAGE
from dsformer_core.pages import write_page

JSON_NAME, PAGE_NAME = "benchmark.json", "benchmark.html"

_COLUMNS = ("model", "weights", "runtime", "device", "precision", "optimize", "threads", "batch")
_COUNTS = ("threads", "batch")
_ONLY_WHERE_THEY_DIFFER = ("weights", "device")
_NUMBERS = {
    "p50_ms": ("p50 ms", "{:.1f}"),
    "p95_ms": ("p95 ms", "{:.1f}"),
    "p99_ms": ("p99 ms", "{:.1f}"),
    "device_p50_ms": ("device ms", "{:.2f}"),
    "pictures_per_s": ("pict./s", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "imports_mib": ("imports", "{:.0f}"),
    "gpu_peak_mib": ("GPU MiB", "{:.0f}"),
    "startup_s": ("start s", "{:.1f}"),
    "times_as_fast": ("× eager", "{:.2f}"),
}
_FOR_A_CLOSER_LOOK = ("p99_ms", "imports_mib")


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

    def table(self, *, compact: bool = False) -> Table:
        """For a terminal; what no row has is left out.

        Args:
            compact: leave out what all rows have in common (`in_common` says it), what is in the JSON for those who
                look closer (`_FOR_A_CLOSER_LOOK`), and lines.
        """
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True) if compact else Table()
        columns = self._columns()
        if compact:
            columns = [name for name in columns if name in _varying(self.rows)]
        heads, rows = self._cells(columns, without=_FOR_A_CLOSER_LOOK if compact else ())
        for head in heads:
            table.add_column(head, justify="left" if head in columns and head not in _COUNTS else "right")
        for row in rows:
            table.add_row(*row)
        return table

    def in_common(self) -> str:
        """What is the same in all rows, for above a compact table or blocks."""
        same = [name for name in _COLUMNS if name not in _varying(self.rows)]
        return ", ".join(_in_words(self.rows[0], name) for name in same)

    def in_lines(self) -> list[str]:
        """A block per configuration, named by what tells it from the others, for terminals that no table fits on."""
        heads, rows = self._cells([])
        return [
            "\n".join([name, *(f"  {head}: {cell}" for head, cell in zip(heads, cells, strict=True))])
            for name, cells in zip(distinct(self.rows), rows, strict=True)
        ]

    def faults(self) -> list[str]:
        """Which configurations could not be run, and why, a line each."""
        return [f"{label(row, self._extra())}: {row['error']}" for row in self.rows if "error" in row]

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
        heads, rows = self._cells(self._columns())
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        chart = latency_chart([(label(row, self._extra()), row) for row in self.rows if "error" not in row])
        faults = "".join(f"<li><div>{html.escape(fault)}</div></li>" for fault in self.faults())
        title = "Benchmark"
        machine = html.escape(in_words(self.machine))
        return REPORT_PAGE.format(
            title=title,
            body=f"<h1>{title}</h1><p class='muted'>{machine}, {self.machine['date']}</p><section>{chart}"
            "<p class='muted'>Bars end at the median, lines at the 95th percentile; hollow bars are the same network "
            "as it was trained, in float32, taking turns. Milliseconds of a batch, logarithmic.</p></section>"
            f"<section><table><tr>{head}</tr>{body}</table>"
            + (f"<ul class='advice'>{faults}</ul>" if faults else "")
            + "</section>",
        )

    def _extra(self) -> tuple[str, ...]:
        return differing(self.rows)

    def _columns(self) -> list[str]:
        extra = self._extra()
        return [name for name in _COLUMNS if name not in _ONLY_WHERE_THEY_DIFFER or name in extra]

    def _cells(self, columns: Sequence[str], without: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
        stages = list(dict.fromkeys(name for row in self.rows for name in row.get("stages", ())))
        numbers = [key for key in _NUMBERS if key not in without and any(key in row for row in self.rows)]
        heads = [*columns, *(f"{name} ms" for name in stages), *(_NUMBERS[key][0] for key in numbers)]
        rows = []
        for row in self.rows:
            cells = [str(row[name]) for name in columns]
            cells += [_said(row.get("stages", {}).get(name, {}).get("p50_ms"), "{:.2f}") for name in stages]
            cells += [_said(row.get(key), _NUMBERS[key][1]) for key in numbers]
            rows.append(cells)
        return heads, rows


def differing(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Which of weights and device tell some rows from others."""
    values = {name: {row[name] for row in rows} for name in _ONLY_WHERE_THEY_DIFFER}
    # What could not be run was on no device.
    values["device"].discard("auto")
    return tuple(name for name, found in values.items() if len(found) > 1)


def _varying(rows: Sequence[dict[str, Any]]) -> set[str]:
    return {name for name in _COLUMNS if len({row[name] for row in rows}) > 1}


def distinct(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The model of each row, and what else tells it from the others."""
    said = [name for name in _COLUMNS if name == "model" or name in _varying(rows)]
    return [", ".join(_in_words(row, name) for name in said) for row in rows]


def label(row: dict[str, Any], extra: Sequence[str] = ()) -> str:
    """What a row is of, in a line.

    Args:
        row: as `Measured` has it, or `Configuration.to_dict`.
        extra: further of its keys to say, see `differing`.
    """
    runtime = "" if row["runtime"] in ("auto", TORCH) else f" {row['runtime']}"
    what = f"{row['model']}{runtime} {row['precision']} {row['optimize']}"
    return ", ".join([what, *(str(row[name]) for name in extra), f"batch {row['batch']}", f"{row['threads']} thr."])


def _in_words(row: dict[str, Any], name: str) -> str:
    if name == "threads":
        return f"{row[name]} thread{'s' if row[name] > 1 else ''}"
    return f"{name} {row[name]}" if name in ("weights", "optimize", "batch") else str(row[name])


def _said(value: float | None, layout: str) -> str:
    return "–" if value is None else layout.format(value)
