"""Binary codes of descriptors: 64 bytes per reference, compared by Hamming distance.

The codes find candidates, and the descriptors themselves, read for the candidates only, put them in order: the search
in two stages of SelaVPR++. Codes come from a network's hash branch, or from the signs of its descriptors (`SignCodes`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.described import CODE_BITS, Codes
from dsformer_core.place_map.indexes.faiss_files import faiss
from dsformer_core.place_map.stored_rows import StoredRows

CANDIDATES = 300
"""References that codes find for a query, where nobody says otherwise.

The best of a million made-up views of 4,000 places is among 100 candidates for 92 % of queries, among 200 for 99 %,
among 300 for all, and each hundred takes a fifteenth of the search's time (`benchmarks/two_stage_search.py`). Places
with more views than candidates need more: of 1,000 places the best is missed for one query in ten.
"""

# References that show where a number's middle is, to a hundredth of its spread.
_FITTED_ROWS = 16_384


def nearest_codes(queries: Codes, references: Codes, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Finds for each query the k references with the fewest different bits.

    Args:
        queries: (Q, 64) uint8.
        references: (N, 64) uint8, in memory: they are read from first to last for every query.
        k: how many per query; at most N are found.

    Returns:
        Distances (Q, k) int32, ascending, and rows (Q, k) int64. Of equally distant references those with the smaller
        rows are found, and come first, whatever the number of threads.
    """
    queries, references = np.ascontiguousarray(queries), np.ascontiguousarray(references)
    k = min(k, len(references))
    if not len(queries) or not k:
        return np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
    # Its heap keeps the smaller row of two that are equally far, and each query is one thread's.
    distances, rows = faiss.knn_hamming(queries, references, k, variant="hc")
    return distances, rows


def rerank(
    queries: npt.NDArray[np.float32], descriptors: npt.NDArray[Any] | StoredRows, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """How similar the candidates of each query are.

    Args:
        queries: (Q, D) float32.
        descriptors: (N, D) float16 or float32; of `StoredRows` the candidates are read and nothing else, and nothing
            of them stays in memory.
        rows: (Q, n) candidates of each query, in any order.

    Returns:
        (Q, n) float32 inner products, in the order of `rows`.

    Raises:
        DsformerError: the file of the descriptors was cut off, or cannot be read any more.
    """
    import torch

    similarities = np.empty(rows.shape, np.float32)
    for query, candidates, found in zip(queries, rows, similarities, strict=True):
        # PyTorch widens float16 ten times as fast as NumPy.
        candidate = torch.from_numpy(descriptors[candidates]).float().numpy()
        # Unlike a matrix product it gives equal rows equal similarities, wherever they stand.
        found[:] = np.einsum("nd,d->n", candidate, query)
    return similarities


def best_rows(
    similarities: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The k largest of each query's (Q, n), with their rows, descending; of equal ones those with the smaller rows."""
    order = np.lexsort((rows, -similarities), axis=1)[:, :k]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(rows, order, 1)


def fitted_rows(count: int) -> slice:
    """Of so many references those that show sign codes what is usual; of as many as these all."""
    return slice(None, None, max(1, -(-count // _FITTED_ROWS)))


@dataclass(frozen=True, eq=False)
class SignCodes:
    """Codes for networks without a hash branch: which numbers of a rotated descriptor are larger than usual.

    Of 880 pictures asked among 1,760 of other drives through two rendered towns, so many have their most similar
    reference among the 20 nearest codes:

    ===================== ============= ================
    codes                 dsformer_tiny gem_mobilenet_v2
    ===================== ============= ================
    signs                 91 %          71 %
    above the mean        92 %          89 %
    above the median      92 %          87 %
    rotated               96 %          72 %
    rotated, above mean   97 %          89 %
    rotated, above median 95 %          87 %
    ===================== ============= ================

    The network that was not trained for places needs the mean taken away, which all its descriptors share; the one
    that was has numbers of unequal weight, which a rotation evens out.

    Attributes:
        thresholds: (512,) float32, what is usual of each rotated number.
        dimension: of descriptors, D.
    """

    thresholds: npt.NDArray[np.float32]
    dimension: int

    @classmethod
    def fit(cls, descriptors: npt.NDArray[Any]) -> "SignCodes":
        """Learns from references what is usual: the mean.

        Args:
            descriptors: (N, D) float, finite, memory-mapped or not; of many, some thousands spread over all are read.
        """
        codes = cls(np.zeros(CODE_BITS, np.float32), descriptors.shape[1])
        mean = codes._rotate(descriptors[fitted_rows(len(descriptors))]).mean(axis=0, dtype=np.float64)
        return cls(mean.astype(np.float32), descriptors.shape[1])

    def encode(self, descriptors: npt.NDArray[Any]) -> Codes:
        """(N, D) float -> (N, 64) uint8."""
        return np.packbits(self._rotate(descriptors) >= self.thresholds, axis=1)

    def _rotate(self, descriptors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(N, D) -> (N, 512)."""
        return np.asarray(descriptors, np.float32) @ self._rotation

    @cached_property
    def _rotation(self) -> npt.NDArray[np.float32]:
        """(D, 512)."""
        from dsformer_core.models.pooling import orthogonal_projection

        taken = min(order for order in _projectable() if order >= max(self.dimension, CODE_BITS))
        # Any of the columns, not the first: within those, rows of a Hadamard matrix repeat.
        columns = np.argsort(np.random.PCG64(seed=1).random_raw(taken), kind="stable")[: self.dimension]
        return np.ascontiguousarray(orthogonal_projection(taken, CODE_BITS).numpy()[:, columns].T)


def _projectable() -> list[int]:
    """Dimensions that `orthogonal_projection` takes."""
    return [factor << power for power in range(16) for factor in (1, 12, 20)]
