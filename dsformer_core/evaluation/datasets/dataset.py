"""What every named data set is: how to open it, and what it should hold."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dsformer_core.evaluation.benchmark import Benchmark


@dataclass(frozen=True)
class Dataset:
    """One data set under one protocol.

    Attributes:
        name: for people and programs; never changes once released.
        summary: which pictures and what counts as right, in one line.
        source: where to get it, a sentence.
        open: finds it below a folder; raises LayoutError where it is not there.
    """

    name: str
    summary: str
    source: str
    open: Callable[[Path], Benchmark]


def compared_with_release(benchmark: Benchmark, references: int | None, queries: int) -> Benchmark:
    """The benchmark, with its differences from what was released.

    Args:
        benchmark: as found. Where its headline is over the answerable queries, these are the ones that count.
        references: how many were released; None where that was never said exactly.
        queries: how many were released.
    """
    asked = len(benchmark.queries) if benchmark.headline == "all" else int(benchmark.answerable.sum())
    found = {"references": (len(benchmark.database), references), "queries": (asked, queries)}
    differences = tuple(
        f"{count:,} {what} where the release has {expected:,}"
        for what, (count, expected) in found.items()
        if expected is not None and count != expected
    )
    said = tuple(f"{difference}: numbers do not compare with published ones" for difference in differences)
    return replace(benchmark, differences=differences, notes=(*benchmark.notes, *said))
