"""What every named data set is: how to open it, and what it should hold."""

from collections.abc import Callable
from dataclasses import dataclass
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


def compared_with_release(references: int, queries: int, released: tuple[int | None, int | None]) -> tuple[str, ...]:
    """Notes on pictures that are missing, or too many, against what was released."""
    found = {"references": (references, released[0]), "queries": (queries, released[1])}
    return tuple(
        f"{count:,} {what} where the release has {expected:,}: numbers do not compare with published ones"
        for what, (count, expected) in found.items()
        if expected is not None and count != expected
    )
