"""Which references lie near somewhere, and which of these are the most similar: exactly, whatever the kind of index."""

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.indexes.codes import best_rows, rerank
from dsformer_core.place_map.matches import NOTHING, Matches
from dsformer_core.place_map.stored_rows import Stored

TREE_BYTES = 32
"""Per reference, of memory, from the first search near somewhere on: positions in order, rows, and the tree."""

_AT_ONCE = 8_192


class Vicinity:
    """The positions of a map's references, in a tree.

    Args:
        utm: (N, 2) metres.
        descriptors: (N, D) of the references; those near somewhere are read and no others.
    """

    def __init__(self, utm: npt.NDArray[np.float64], descriptors: Stored) -> None:
        from scipy.spatial import cKDTree

        self._utm, self._descriptors = utm, descriptors
        # Halves of a box instead of medians: a tenth of the time to build, and streets are spread evenly enough.
        self._tree = cKDTree(utm, leafsize=32, balanced_tree=False, compact_nodes=False, copy_data=False)

    def rows(self, near: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.int64]:
        """References at most `radius` metres from `near` (2,), ascending."""
        # A little more, and then the very distances: the tree compares squares.
        found = np.array(self._tree.query_ball_point(near, radius * (1 + 1e-9) + 1e-6), dtype=np.int64)
        distances = np.hypot(*(self._utm[found] - near).T)
        return np.sort(found[distances <= radius])

    def search(
        self, queries: npt.NDArray[np.float32], k: int, near: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
    ) -> Matches:
        """The k most similar references near somewhere.

        Args:
            queries: (Q, D) float32.
            k: how many of each, at most.
            near: (Q, 2) UTM metres.
            radius: (Q,) metres.

        Returns:
            Matches with `among`; as many columns as the query with the most has, at most k. Similarities are inner
            products as they come, whatever the descriptors are.
        """
        found = [
            self._best(query, k, *where) for query, where in zip(queries, zip(near, radius, strict=True), strict=True)
        ]
        width = max((len(rows) for _, rows, _ in found), default=0)
        similarities: npt.NDArray[np.float32] = np.full((len(queries), width), -np.inf, np.float32)
        indices: npt.NDArray[np.int64] = np.full((len(queries), width), NOTHING, np.int64)
        for query, (its_similarities, rows, _) in enumerate(found):
            similarities[query, : len(rows)] = its_similarities
            indices[query, : len(rows)] = rows
        return Matches(indices, similarities, np.array([among for _, _, among in found], np.int64))

    def _best(
        self, query: npt.NDArray[np.float32], k: int, near: npt.NDArray[np.float64], radius: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
        rows = self.rows(near, radius)
        best: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
        best = np.empty((1, 0), np.float32), np.empty((1, 0), np.int64)
        for start in range(0, len(rows), _AT_ONCE):
            chunk = rows[None, start : start + _AT_ONCE]
            similarities = rerank(query[None], self._descriptors, chunk)
            best = best_rows(np.hstack([best[0], similarities]), np.hstack([best[1], chunk]), k)
        return best[0][0], best[1][0], len(rows)
