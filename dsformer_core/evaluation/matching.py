"""Exact search of many queries in descriptors that need not fit into memory.

FAISS compares; here the descriptors are handed to it a chunk at a time and what each chunk found is merged. That costs
a few per cent over one call on everything (`benchmarks/evaluation_matching.py`) and bounds the memory by one chunk,
however many references there are.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

CHUNK_ROWS = 65_536
"""References per chunk: 128 MiB of 512 float32."""

# Two similarities of unit descriptors that differ by less are the same one, rounded differently.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Found:
    """The most similar references of Q queries.

    Attributes:
        rows: (Q, k) int64, best first, equally similar ones by row; -1 where there are fewer than k readable
            references, or the query could not be read.
        similarities: (Q, k) float32 inner products, -inf where the row is -1.
        unreadable: how many references could not be read.
    """

    rows: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    unreadable: int


def best_matches(
    queries: npt.NDArray[np.float32],
    database: npt.NDArray[np.floating],
    k: int,
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> Found:
    """Finds for each query the k references with the largest inner product.

    Args:
        queries: (Q, D) float32; rows of NaN, which stand for unreadable pictures, match nothing.
        database: (N, D) float32 or float16, memory-mapped or not; rows of NaN are matched by nothing.
        k: how many per query, >= 1.
        chunk_rows: references in memory at a time, where they are memory-mapped.
    """
    count = len(queries)
    rows, similarities = np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, np.float32)
    known = np.flatnonzero(np.isfinite(queries).all(axis=1))
    asked = np.ascontiguousarray(queries[known], np.float32)
    best_rows, best = rows[known], similarities[known]
    unreadable = 0
    for start, chunk in chunks(database, chunk_rows):
        readable = np.isfinite(chunk[:, 0])
        numbers = np.arange(start, start + len(chunk))
        if not readable.all():
            chunk, numbers = chunk[readable], numbers[readable]
            unreadable += int((~readable).sum())
        if len(chunk) and len(asked):
            places, found = _search(asked, np.asarray(chunk, np.float32), k)
            best_rows, best = np.hstack([best_rows, numbers[places]]), np.hstack([best, found])
            order = np.lexsort((best_rows, -best), axis=1)[:, :k]
            best_rows, best = np.take_along_axis(best_rows, order, 1), np.take_along_axis(best, order, 1)
    rows[known], similarities[known] = best_rows, best
    return Found(rows, similarities, unreadable)


def chunks(database: npt.NDArray[Any], rows: int = CHUNK_ROWS) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The first row of each chunk of a database, and the chunk; of a memory-mapped file, one at a time is mapped."""
    for start in range(0, len(database), rows):
        chunk = database[start : start + rows]
        if isinstance(database, np.memmap) and isinstance(database.base, mmap.mmap):
            # Pages of a mapping count as the process's memory for as long as it lasts.
            offset = database.offset + start * database.strides[0]
            chunk = np.memmap(str(database.filename), database.dtype, "r", offset, chunk.shape)
        yield start, chunk


def _search(
    asked: npt.NDArray[np.float32], chunk: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The k best rows of one chunk, and their similarities; one more is asked for, to see where a tie is cut."""
    found, places = faiss.knn(asked, chunk, min(k + 1, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
    if found.shape[1] > k:
        for query in np.flatnonzero(found[:, k - 1] == found[:, k]):
            better = places[query][found[query] > found[query, k]]
            similar = chunk @ asked[query]
            equal = np.flatnonzero(np.abs(similar - similar[places[query, k]]) <= _ROUNDING)
            first = np.setdiff1d(equal, better)[: k - len(better)]
            places[query, len(better) : len(better) + len(first)] = first
    return places[:, :k], found[:, :k]
