"""One chart of a benchmark as SVG text: a bar per configuration, that of its comparison below it."""

import html
import math
from collections.abc import Sequence
from typing import Any

_BARS, _ROW, _TOP = 430, 30, 22
_LABELS, _CHARACTER = 330, 6.2
"""Width of the labels, and of a character, where they need more."""


def latency_chart(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Median and 95th percentile of each row, on a logarithmic scale.

    Args:
        rows: label, and a dictionary with p50_ms and p95_ms, and those of "eager" where it was compared.
    """
    if not rows:
        return ""
    labels = max(_LABELS, math.ceil(_CHARACTER * max(len(label) for label, _ in rows)) + 16)
    width = labels + _BARS
    compared = [row.get("eager", row) for _, row in rows]
    values = [
        one[key] for pair in zip((row for _, row in rows), compared, strict=True) for one in pair for key in _KEYS
    ]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def at(value: float) -> float:
        return labels + (math.log10(value) - low) / (high - low) * (_BARS - 60)

    height = _TOP + _ROW * len(rows) + 4
    parts = []
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(f'<path d="M{x:.1f} {_TOP - 4}V{height}" stroke="var(--line)"/>')
        parts.append(_text(x, 12, f"{10.0**power:g} ms", "middle"))
    for number, (label, row) in enumerate(rows):
        top = _TOP + number * _ROW
        parts.append(_text(labels - 8, top + 15, label, "end"))
        parts += _bar(at, labels, row, top + 3, 'fill="var(--accent)"')
        parts.append(_text(at(row["p95_ms"]) + 6, top + 13, f"{row['p50_ms']:.3g}", "start"))
        if "eager" in row:
            parts += _bar(at, labels, row["eager"], top + 16, 'fill="none" stroke="var(--muted)"')
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="latency by configuration">{"".join(parts)}</svg>'
    )


_KEYS = ("p50_ms", "p95_ms")


def _bar(at: Any, left: float, row: dict[str, Any], top: float, paint: str) -> list[str]:
    median, late = (at(row[key]) for key in _KEYS)
    return [
        f'<rect x="{left}" y="{top}" width="{max(median - left, 1):.1f}" height="10" rx="1.5" {paint}/>',
        f'<path d="M{median:.1f} {top + 5}H{late:.1f}M{late:.1f} {top + 2}v6" stroke="var(--muted)"/>',
    ]


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="var(--muted)">'
        f"{html.escape(words)}</text>"
    )
