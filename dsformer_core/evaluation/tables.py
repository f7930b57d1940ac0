"""Evaluations for a person at a terminal."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dsformer_core.evaluation.evaluation import Evaluation
from dsformer_core.evaluation.recall import Recall


def print_evaluations(evaluations: Sequence[Evaluation], console: Console) -> None:
    """Prints the recalls of several models side by side, and what else is worth knowing of each."""
    benchmark = evaluations[0].benchmark
    lines = [
        f"{benchmark.name}: {benchmark.protocol}",
        f"{len(benchmark.database):,} references, {len(benchmark.queries):,} queries",
    ]
    if not benchmark.labelled:
        for line in [*lines, *benchmark.notes]:
            console.print(Text(line))
        return
    without = int((~benchmark.answerable).sum())
    lines[-1] += f", of which {without:,} have no right reference"
    table = Table("model", *(f"R@{count}" for count in evaluations[0].recalls), show_lines=True)
    for evaluation in evaluations:
        shown = [_shown(recall) for recall in evaluation.headline.values()]
        table.add_row(Text(f"{evaluation.model}\n{evaluation.weights}", overflow="fold"), *shown)
    for line in lines:
        console.print(Text(line))
    console.print(table)
    console.print(Text(_which_queries(evaluations[0])))
    for evaluation in evaluations:
        for line in _more(evaluation):
            console.print(Text(line))
    for note in benchmark.notes:
        console.print(Text(f"note: {note}"))


def _shown(recall: Recall) -> str:
    return f"{100 * recall.value:.1f}\n{100 * recall.low:.1f}-{100 * recall.high:.1f}"


def _which_queries(evaluation: Evaluation) -> str:
    """Which recall the table shows, and why."""
    benchmark = evaluation.benchmark
    if benchmark.headline == "all":
        why = "over all queries, as the field counts here: one without a right reference counts as not found"
        other = evaluation.recalls_answerable
        rest = "over those with a right reference"
    else:
        why = "over the queries that have a right reference, as this data set's official evaluation counts"
        other = evaluation.recalls_all
        rest = "over all"
    beside = ", ".join(f"R@{count} {100 * recall.value:.1f}" for count, recall in other.items())
    return f"Percent with 95 % interval, {why}; {rest}: {beside}"


def _distance(error: float, unit: str) -> str:
    return f"{error:.1f} {unit}" if np.isfinite(error) else "infinite"


def _more(evaluation: Evaluation) -> list[str]:
    name, unit = evaluation.model, evaluation.benchmark.unit
    lines = []
    if np.isfinite(evaluation.errors).any():
        median, high = (_distance(evaluation.error_within(percent), unit) for percent in (50, 90))
        nowhere = int(np.isinf(evaluation.errors).sum())
        shares = ", ".join(
            f"{threshold:g} {unit}: {100 * share:.1f}"
            for threshold, share in zip(evaluation.thresholds, evaluation.by_distance[1], strict=True)
        )
        lines.append(
            f"{name}: error of the best match {median} in the median, {high} in the 90th percentile"
            + (f"; infinite for {nowhere:,} queries with no match or one in another city" if nowhere else "")
        )
        lines.append(f"{name}: R@1 by distance: {shares}")
    for curve in evaluation.abstentions:
        share, threshold = curve.recall_at_precision(0.99)
        lines.append(
            f"{name}: answering by {curve.score}, average precision {100 * curve.average_precision:.1f}; "
            + (
                f"{100 * share:.1f} % answered rightly at 99 % precision (from {threshold:.3f})"
                if share
                else "99 % precision is never reached"
            )
        )
    if evaluation.unreadable_queries or evaluation.unreadable_references:
        lines.append(
            f"{name}: {evaluation.unreadable_queries} queries and {evaluation.unreadable_references} references "
            "could not be read; such queries count as not found"
        )
    return lines
