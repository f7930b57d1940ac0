"""How much of an index a query must go through, found out by asking the map for its own references, altered.

A query is a reference with as much added to it that their similarity is `SIMILARITY`, about what a picture from another
drive has with its best reference: half of 880 pictures of rendered towns, asked among 1,760 of other drives, have less
than 0.50 in `dsformer_tiny`. It is found where an index finds a reference as similar as the most similar one.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.indexes.faiss_files import spread_rows
from dsformer_core.place_map.stored_rows import Stored, span

QUERIES: Final = 200
"""Asked: a recall of 0.99 is known to 0.007."""

SIMILARITY: Final = 0.6

_SAME: Final = 1e-5
_CHUNK_BYTES: Final = 16 * 2**20


def altered_references(descriptors: Stored, count: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Queries of which it is known that the map has their place.

    Args:
        descriptors: (N, D) unit.
        count: how many, at most.
        seed: of what is added: in every number as much as it varies in the map.

    Returns:
        (Q, D) float32, unit norm.
    """
    rows = spread_rows(len(descriptors), count)
    references = np.asarray(descriptors[rows], np.float32)
    noise = np.random.default_rng(seed).standard_normal(references.shape, np.float32)
    noise *= references.std(axis=0) + 1e-6
    noise -= np.einsum("qd,qd->q", noise, references)[:, None] * references
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
    return (SIMILARITY * references + np.sqrt(1 - SIMILARITY**2) * noise).astype(np.float32)


def best_similarities(queries: npt.NDArray[np.float32], descriptors: Stored) -> npt.NDArray[np.float32]:
    """(Q,) of each query and its most similar reference: every one is compared, some megabytes at a time."""
    count, dimension = descriptors.shape
    at_once = max(1, _CHUNK_BYTES // (4 * dimension))
    best: npt.NDArray[np.float32] = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, count, at_once):
        chunk = span(descriptors, start, min(start + at_once, count)).astype(np.float32)
        np.maximum(best, (queries @ chunk.T).max(axis=1), out=best)
    return best


def share_found(found: npt.NDArray[np.float32], best: npt.NDArray[np.float32]) -> float:
    """Of queries whose best found similarity (Q,) is the `best` (Q,) that there is."""
    return float((found >= best - _SAME).mean())


def least_effort(recall: Callable[[int], float], wanted: float, least: int, most: int) -> tuple[int, float]:
    """The first of `least`, twice that, … `most` that reaches a recall, or the one that comes closest.

    Returns:
        It, and the recall it reaches.
    """
    best, best_recall, effort = least, -1.0, min(least, most)
    while True:
        reached = recall(effort)
        if reached > best_recall:
            best, best_recall = effort, reached
        if reached >= wanted or effort >= most:
            return best, best_recall
        effort = min(2 * effort, most)
