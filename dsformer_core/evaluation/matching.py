"""Exact search of many queries in descriptors that need not fit into memory.

FAISS compares; here the descriptors are handed to it a chunk at a time, where they lie in their memory map, and what
each chunk found is merged. That costs a few per cent over one call on everything (`benchmarks/evaluation_matching.py`)
and bounds the memory by one chunk, however many references there are.
"""

import faiss
import numpy as np
import numpy.typing as npt

CHUNK_ROWS = 65_536
"""References per chunk: 128 MiB of 512 float32."""


def best_matches(
    queries: npt.NDArray[np.float32],
    database: npt.NDArray[np.float32],
    k: int,
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Finds for each query the k references with the largest inner product.

    Args:
        queries: (Q, D) float32; rows of NaN match nothing.
        database: (N, D) float32, memory-mapped or not; rows of NaN are matched by nothing.
        k: how many per query.
        chunk_rows: references in memory at a time.

    Returns:
        Rows (Q, k) int64 and similarities (Q, k) float32, best first, equal ones by row; -1 and -inf where there are
        fewer than k references, or the query is NaN.
    """
    rows = np.full((len(queries), k), -1, np.int64)
    similarities = np.full((len(queries), k), -np.inf, np.float32)
    known = np.flatnonzero(np.isfinite(queries[:, 0])) if len(queries) else np.zeros(0, np.int64)
    if not len(known):
        return rows, similarities
    asked = np.ascontiguousarray(queries[known], np.float32)
    best_rows, best = rows[known], similarities[known]
    for start in range(0, len(database), chunk_rows):
        chunk = database[start : start + chunk_rows]
        readable = np.isfinite(chunk[:, 0])
        numbers = np.arange(start, start + len(chunk))
        if not readable.all():
            chunk, numbers = chunk[readable], numbers[readable]
        if not len(chunk):
            continue
        found, places = faiss.knn(asked, chunk, min(k, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
        best_rows = np.hstack([best_rows, numbers[places]])
        best = np.hstack([best, found])
        order = np.lexsort((best_rows, -best), axis=1)[:, :k]
        best_rows, best = np.take_along_axis(best_rows, order, 1), np.take_along_axis(best, order, 1)
    rows[known], similarities[known] = best_rows, best
    return rows, similarities
