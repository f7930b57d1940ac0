"""Evaluations as one page to look at: numbers, curves, and pictures of right and wrong matches."""

import html
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dsformer_core.errors import DsformerError
from dsformer_core.evaluation.abstention import Abstention
from dsformer_core.evaluation.benchmark import Pictures
from dsformer_core.evaluation.evaluation import Evaluation
from dsformer_core.evaluation.recall import Recall
from dsformer_core.evaluation.tables import costs_in_words, duration, without_a_right_reference
from dsformer_core.pages import data_uri, write_page
from dsformer_core.pictures import read_picture

SHOWN_QUERIES = 12
SHOWN_MATCHES = 5
_HEIGHT = 120
_RIGHT, _WRONG = "#1b7f3b", "#b3261e"
_COLOURS = ("#1f5fa8", "#b36b00", "#1b7f3b", "#7a3b9e", "#444444")

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5em; color: #222; max-width: 1100px }}
table {{ border-collapse: collapse; margin: 0.8em 0 }} th, td {{ padding: 0.25em 0.8em; border-bottom: 1px solid #ddd }}
td {{ text-align: right }} td:first-child, th:first-child {{ text-align: left }}
small {{ color: #666 }} section {{ border-top: 1px solid #ddd; padding: 0.6em 0 }}
.row {{ display: flex; gap: 8px; overflow-x: auto }} .curves {{ display: flex; gap: 2em; flex-wrap: wrap }}
figure {{ margin: 0 }} figcaption {{ font-size: 12px; max-width: 200px; overflow-wrap: anywhere }}
img {{ outline: 3px solid var(--edge, #222); outline-offset: -3px }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""


def write_report(evaluations: Sequence[Evaluation], output: Path) -> None:
    """Writes one HTML file that needs no other file and no internet.

    Args:
        evaluations: of one benchmark, one per model and search.
        output: the file to write.

    Raises:
        OSError: the file cannot be written.
    """
    benchmark = evaluations[0].benchmark
    parts = [
        f"<p>{html.escape(benchmark.protocol)}. {len(benchmark.database):,} references, "
        f"{len(benchmark.queries):,} queries.</p>",
        *(f"<p><b>Note:</b> {html.escape(note)}</p>" for note in benchmark.notes),
    ]
    if benchmark.labelled:
        parts.append(f"<p>{html.escape(without_a_right_reference(benchmark))}</p>")
        parts += [f"<p>{html.escape(line)}.</p>" for line in costs_in_words(evaluations)]
        parts.append(_recall_table(evaluations, "all", "over all queries"))
        parts.append(_recall_table(evaluations, "answerable", "over queries that have a right reference"))
        parts.append(f'<div class="curves">{_distance_figure(evaluations)}{_abstention_figure(evaluations)}</div>')
        for evaluation in evaluations:
            parts.append(_matches(evaluation))
    title = html.escape(f"Evaluation on {benchmark.name}")
    write_page(output, _PAGE.format(title=title, body="".join(parts)))


def _recall_table(evaluations: Sequence[Evaluation], which: str, words: str) -> str:
    counts = sorted({count for evaluation in evaluations for count in evaluation.recalls})
    mark = " (the benchmark's own)" if evaluations[0].benchmark.headline == which else ""
    head = "".join(f"<th>R@{count}</th>" for count in counts)
    rows = []
    for evaluation in evaluations:
        recalls = evaluation.recalls_all if which == "all" else evaluation.recalls_answerable
        cells = "".join(f"<td>{_shown(recalls.get(count))}</td>" for count in counts)
        model = html.escape(f"{evaluation.model} ({evaluation.weights}, {evaluation.weights_sha256[:12]})")
        cost = (
            f"<td>{evaluation.cost.bytes_per_reference:,} B</td><td>{duration(evaluation.cost.seconds_per_query)}</td>"
        )
        rows.append(f"<tr><td>{model}</td><td>{evaluation.search}</td>{cells}{cost}</tr>")
    titles = f"<tr><th>model</th><th>search</th>{head}<th>memory</th><th>time</th></tr>"
    return f"<h2>Recall {words}{mark}</h2><table>{titles}{''.join(rows)}</table>"


def _label(evaluation: Evaluation) -> str:
    return f"{evaluation.model}, {evaluation.search}"


def _shown(recall: Recall | None) -> str:
    if recall is None or not recall.queries:
        return "–"
    return f"{100 * recall.value:.1f} <small>{100 * recall.low:.1f} to {100 * recall.high:.1f}</small>"


def _distance_figure(evaluations: Sequence[Evaluation]) -> str:
    unit = evaluations[0].benchmark.unit
    thresholds = evaluations[0].thresholds
    lines = [
        (_label(evaluation), np.arange(len(thresholds)) / (len(thresholds) - 1), np.array(evaluation.by_distance[1]))
        for evaluation in evaluations
    ]
    labels = [f"{threshold:g}" for threshold in thresholds]
    return _figure(f"Recall@1 within a distance ({unit})", lines, labels)


def _abstention_figure(evaluations: Sequence[Evaluation]) -> str:
    lines = [
        (f"{_label(evaluation)}, {curve.score}", *_thinned(curve))
        for evaluation in evaluations
        for curve in evaluation.abstentions
    ]
    return _figure("Precision (up) over share answered rightly", lines, ["0", "0.25", "0.5", "0.75", "1"])


def _thinned(curve: Abstention) -> tuple[np.ndarray, np.ndarray]:
    """At most some hundred points of a curve: a picture has no room for more."""
    rows = np.unique(np.linspace(0, max(len(curve.recall) - 1, 0), 300).astype(int)) if len(curve.recall) else []
    return curve.recall[rows], curve.precision[rows]


def _figure(title: str, lines: Sequence[tuple[str, np.ndarray, np.ndarray]], labels: Sequence[str]) -> str:
    """Lines in the unit square as an SVG with a grid."""
    width, height, left, top = 420, 260, 40, 10
    drawn = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + height * (1 - share)
        drawn.append(f'<line x1="{left}" y1="{y}" x2="{left + width}" y2="{y}" stroke="#ddd"/>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" font-size="11">{100 * share:.0f}</text>')
    for number, label in enumerate(labels):
        x = left + width * number / (len(labels) - 1)
        drawn.append(f'<text x="{x}" y="{top + height + 16}" text-anchor="middle" font-size="11">{label}</text>')
    for number, (name, along, up) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{left + width * x:.1f},{top + height * (1 - y):.1f}" for x, y in zip(along, up, strict=True)
        )
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(
            f'<text x="{left}" y="{top + height + 34 + 15 * number}" font-size="12" fill="{colour}">'
            f"{html.escape(name)}</text>"
        )
    tall = top + height + 40 + 15 * len(lines)
    return f'<figure><h2>{title}</h2><svg width="{left + width + 20}" height="{tall}">{"".join(drawn)}</svg></figure>'


def _matches(evaluation: Evaluation) -> str:
    """The most confident mistakes, which teach most, and some right answers spread over the confidence."""
    right = evaluation.right[:, 0]
    order = np.argsort(-evaluation.similarities[:, 0], kind="stable")
    wrong_rows = [int(row) for row in order if not right[row]][:SHOWN_QUERIES]
    right_order = [int(row) for row in order if right[row]]
    picked = np.unique(np.linspace(0, max(len(right_order) - 1, 0), SHOWN_QUERIES).astype(int))
    right_rows = [right_order[place] for place in picked] if right_order else []
    model = html.escape(_label(evaluation))
    wrong = "".join(_section(evaluation, row) for row in wrong_rows) or "<p>None.</p>"
    correct = "".join(_section(evaluation, row) for row in right_rows) or "<p>None.</p>"
    return f"<h2>{model}: most confident wrong matches</h2>{wrong}<h2>{model}: right matches</h2>{correct}"


def _section(evaluation: Evaluation, query: int) -> str:
    benchmark = evaluation.benchmark
    missing = "" if benchmark.answerable[query] else "; has no right reference"
    figures = [_picture(benchmark.queries, query, f"query {benchmark.queries.names[query]}{missing}", "#222")]
    for place in range(min(SHOWN_MATCHES, evaluation.rows.shape[1])):
        row = int(evaluation.rows[query, place])
        if row < 0:
            break
        away = evaluation.distances[query, place]
        distance = f", {away:.0f} {benchmark.unit} off" if np.isfinite(away) and benchmark.explicit is None else ""
        caption = f"{evaluation.similarities[query, place]:.3f}{distance}: {benchmark.database.names[row]}"
        figures.append(_picture(benchmark.database, row, caption, _RIGHT if evaluation.right[query, place] else _WRONG))
    return f'<section><div class="row">{"".join(figures)}</div></section>'


def _picture(pictures: Pictures, row: int, caption: str, colour: str) -> str:
    try:
        image = Image.fromarray(read_picture(pictures.path(row), at_least=(2 * _HEIGHT, 2 * _HEIGHT)))
    except DsformerError:
        shown = "<i>the picture is not here</i>"
    else:
        image.thumbnail((3 * _HEIGHT, _HEIGHT))
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=75)
        shown = f'<img height="{_HEIGHT}" style="--edge: {colour}" src="{data_uri(buffer.getvalue())}" alt="">'
    return f"<figure>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>"
