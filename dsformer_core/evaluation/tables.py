"""Evaluations for a person at a terminal: a table of recalls, and in words what else is worth knowing."""

from collections.abc import Sequence

import numpy as np
from rich.table import Column, Table
from rich.text import Text

from dsformer_core.evaluation.benchmark import Benchmark
from dsformer_core.evaluation.evaluation import Evaluation
from dsformer_core.evaluation.recall import Recall


def heading(benchmark: Benchmark) -> list[str]:
    """What was asked of which pictures."""
    counts = f"{len(benchmark.database):,} references, {len(benchmark.queries):,} queries"
    if benchmark.labelled:
        counts += f", of which {int((~benchmark.answerable).sum()):,} have no right reference"
    return [f"{benchmark.name}: {benchmark.protocol}", counts]


def without_a_right_reference(benchmark: Benchmark) -> str:
    """How many queries of a labelled benchmark have none; and where that is all, how far off the references are."""
    without = int((~benchmark.answerable).sum())
    if without < len(benchmark.queries) or not without:
        return f"{without:,} queries have no right reference"
    words = "no query has a right reference"
    if benchmark.explicit is not None:
        return words
    nearest = float(benchmark.nearest.min())
    if np.isinf(nearest):
        where = "all references lie in another city, or in a UTM zone that does not touch that of the queries"
    else:
        where = f"the nearest reference is {_distance(nearest, benchmark.unit)} away"
    return f"{words}: {where}; do these queries belong to these references?"


def recall_table(evaluations: Sequence[Evaluation]) -> Table:
    """The recalls of one or several models and searches on one labelled benchmark, narrow enough for 80 columns."""
    counts = sorted({count for evaluation in evaluations for count in evaluation.headline})
    columns = (Column(f"R@{count}", justify="right") for count in counts)
    table = Table("model", *columns, Column("memory\ntime", justify="right"), show_lines=True)
    for label, evaluation in zip(_labels(evaluations), evaluations, strict=True):
        recalls = [evaluation.headline.get(count) for count in counts]
        first = Text(f"{label}\n  {evaluation.search}, 95 % from\n  to", overflow="fold")
        cost = f"{evaluation.cost.bytes_per_reference:,} B\n{duration(evaluation.cost.seconds_per_query)}"
        table.add_row(first, *map(_shown, recalls), cost)
    return table


def remarks(evaluations: Sequence[Evaluation]) -> list[str]:
    """What the numbers of the table are, what else there is to say of each model, and what of the benchmark."""
    benchmark = evaluations[0].benchmark
    lines = []
    if benchmark.labelled:
        lines.append(_which_queries(benchmark))
        lines += costs_in_words(evaluations)
        if not benchmark.answerable.any():
            lines.append(without_a_right_reference(benchmark))
        for label, evaluation in zip(_labels(evaluations), evaluations, strict=True):
            weights = f"weights {evaluation.weights} ({evaluation.weights_sha256[:12]})"
            lines.append(f"{label}, {evaluation.search}: {weights}")
            lines += [f"  {line}" for line in _more(evaluation)]
    return lines + [f"note: {note}" for note in benchmark.notes]


def costs_in_words(evaluations: Sequence[Evaluation]) -> list[str]:
    """What memory and time are of, and what "re-ranked" means."""
    lines = [
        "Memory is what a search keeps per reference; time is that of the search alone, of one query at a time, "
        "on one thread, in the median"
    ]
    count = len(evaluations[0].benchmark.database)
    for candidates in sorted({each.candidates for each in evaluations if each.candidates is not None}):
        if candidates >= count:
            lines.append(
                f"re-ranked: all {count:,} references are among the {candidates:,} candidates, so it finds what float "
                "finds; it shows its worth in more references, or with fewer --candidates"
            )
            continue
        read = {each.cost.bytes_read_per_query for each in evaluations if each.candidates == candidates}
        sizes = " or ".join(f"{size / 1000:,.0f} kB" for size in sorted(read))
        lines.append(
            f"re-ranked: the {candidates:,} references nearest by codes, in the order of their descriptors, which are "
            f"read from the disk for every query, {sizes}"
        )
    return lines


def duration(seconds: float) -> str:
    """Three digits and a unit; a dash where nothing was timed."""
    if np.isnan(seconds):
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _labels(evaluations: Sequence[Evaluation]) -> list[str]:
    """What the models are called; numbered where there are several, whose names may be the same."""
    if len(evaluations) == 1:
        return [evaluations[0].model]
    return [f"{number} {evaluation.model}" for number, evaluation in enumerate(evaluations, 1)]


def _shown(recall: Recall | None) -> str:
    if recall is None or not recall.queries:
        return "–"
    return f"{100 * recall.value:.1f}\n{100 * recall.low:.1f}\n{100 * recall.high:.1f}"


def _which_queries(benchmark: Benchmark) -> str:
    """Which recall the table shows, and why."""
    if benchmark.headline == "all":
        why = "over all queries, as the field counts here: one without a right reference counts as not found"
    else:
        why = "over the queries that have a right reference, as this data set's official evaluation counts"
    return f"Percent with 95 % interval, {why}"


def _more(evaluation: Evaluation) -> list[str]:
    unit = evaluation.benchmark.unit
    lines = []
    if evaluation.benchmark.answerable.any():
        if evaluation.benchmark.headline == "all":
            which, recalls = "the queries with a right reference", evaluation.recalls_answerable
        else:
            which, recalls = "all queries", evaluation.recalls_all
        shares = ", ".join(f"R@{count} {100 * recall.value:.1f}" for count, recall in recalls.items())
        lines.append(f"over {which}: {shares}")
    if np.isfinite(evaluation.errors).any():
        median, high = (_distance(evaluation.error_within(percent), unit) for percent in (50, 90))
        nowhere = int(np.isinf(evaluation.errors).sum())
        shares = ", ".join(
            f"{threshold:g} {unit}: {100 * share:.1f}"
            for threshold, share in zip(evaluation.thresholds, evaluation.by_distance[1], strict=True)
        )
        lines.append(
            f"error of the best match {median} in the median, {high} in the 90th percentile"
            + (f"; infinite for {nowhere:,} queries with no match or one in another city" if nowhere else "")
        )
        lines.append(f"R@1 by distance: {shares}")
    for curve in evaluation.abstentions:
        share, threshold = curve.recall_at_precision(0.99)
        lines.append(
            f"answering by {curve.score}, average precision {100 * curve.average_precision:.1f}; "
            + (
                f"{100 * share:.1f} % answered rightly at 99 % precision (from {threshold:.3f})"
                if share
                else "99 % precision is never reached"
            )
        )
    if evaluation.unreadable_queries or evaluation.unreadable_references:
        lines.append(
            f"{evaluation.unreadable_queries} queries and {evaluation.unreadable_references} references "
            "could not be read; such queries count as not found"
        )
    return lines


def _distance(error: float, unit: str) -> str:
    if unit == "m" and 10_000 <= error < np.inf:
        return f"{error / 1000:,.1f} km"
    return f"{error:.1f} {unit}" if np.isfinite(error) else "infinite"
