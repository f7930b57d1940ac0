"""What a search found."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOTHING = -1
"""Row where a query has fewer matches than another one of the same search; its similarity is -inf."""


@dataclass(frozen=True, eq=False)
class Matches:
    """What a search found for Q queries.

    Attributes:
        indices: (Q, k) int64 rows of the map, best first. A search near somewhere finds fewer for some queries than
            for others: rows of these end with `NOTHING`. The matches of one query (`matches[i]`) never do.
        similarities: (Q, k) float32 cosines in [-1, 1], descending; -inf for `NOTHING`.
        among: (Q,) int64, how many references each query could have found; None for all of the map.
    """

    indices: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    among: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, query: int) -> "Matches":
        """The matches of one query, still with Q = 1 rows."""
        row = range(len(self))[query]
        among = None if self.among is None else self.among[row : row + 1]
        found = self.indices.shape[1] if among is None else int((self.indices[row] != NOTHING).sum())
        return Matches(self.indices[row : row + 1, :found], self.similarities[row : row + 1, :found], among)

    def __iter__(self) -> Iterator["Matches"]:
        return (self[row] for row in range(len(self)))
