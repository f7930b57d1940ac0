"""Recall@k with its uncertainty, by distance and by k, from how far retrieved references lie from their queries.

A recall is a mean over queries that are a sample of all the queries one might have asked, and so it has an interval:
1.7 points either way for 90 % of 1,000 queries. It comes from the bootstrap (percentile method), which for a mean of
zeros and ones resampled with replacement needs no resampling: the number of hits among n draws is binomial.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RECALL_AT = (1, 5, 10, 20, 100)
CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Recall:
    """One recall.

    Attributes:
        value: share of queries with a right reference among the first k, in [0, 1]; NaN without queries.
        low: lower end of its interval.
        high: upper end.
        hits: queries with a right reference among the first k.
        queries: all queries that count.
    """

    value: float
    low: float
    high: float
    hits: int
    queries: int


def first_right(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(Q, K) whether each retrieved reference is right -> (Q,) place of the first right one, K where there is none."""
    places = right.shape[1]
    if not places:
        return np.zeros(len(right), np.int64)
    return np.where(right.any(axis=1), right.argmax(axis=1), places)


def recalls_at(places: npt.NDArray[np.int64], counts: Sequence[int] = RECALL_AT, *, seed: int = 0) -> dict[int, Recall]:
    """Recall@k for several k.

    Args:
        places: (Q,) of the first right reference, 0 for the best match (`first_right`).
        counts: the k.
        seed: of the bootstrap.

    Returns:
        Each k with its recall.
    """
    hits = [int((places < count).sum()) for count in counts]
    return {
        count: Recall(found / len(places) if len(places) else float("nan"), *interval, found, len(places))
        for count, found, interval in zip(counts, hits, bootstrap_intervals(hits, len(places), seed=seed), strict=True)
    }


def bootstrap_intervals(hits: Sequence[int], queries: int, *, seed: int = 0) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals, at `CONFIDENCE`, of shares: `hits` of `queries`.

    Where all or none are hits the bootstrap has nothing to vary and would claim certainty; the far end is then that of
    the exact binomial interval (Clopper and Pearson).
    """
    if not queries:
        return [(float("nan"), float("nan"))] * len(hits)
    tail = (1 - CONFIDENCE) / 2
    shares = np.asarray(hits) / queries
    draws = np.random.default_rng(seed).binomial(queries, shares, (RESAMPLES, len(shares))) / queries
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    certain = 1 - tail ** (1 / queries)
    low = np.where(shares == 1, 1 - certain, low)
    high = np.where(shares == 0, certain, high)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def recall_by_distance(
    distances: npt.NDArray[np.float64], thresholds: Sequence[float], counts: Sequence[int] = (1, 5)
) -> dict[int, list[float]]:
    """Recall@k for other distances than the benchmark's.

    Args:
        distances: (Q, K) of the retrieved references.
        thresholds: within which a reference is right.
        counts: the k.

    Returns:
        Each k with one recall per threshold; NaN without queries.
    """
    if not len(distances):
        return {count: [float("nan")] * len(thresholds) for count in counts}
    return {
        count: [float((distances[:, :count] <= threshold).any(axis=1).mean()) for threshold in thresholds]
        for count in counts
    }
