"""What an evaluation needs to know of a data set: which pictures, where they were taken, and what counts as right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

RIGHT_WITHIN_M = 25.0
"""Metres within which a retrieved reference is right: the field's convention, section IV-A.2 of the paper."""

APART = 1e9
"""Metres in the third coordinate between places that no distance connects: more than any two in one zone are apart."""

# How many queries are compared with the tree at a time; bounds the memory of their neighbour lists.
_QUERIES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Pictures:
    """The database or the queries of a benchmark.

    Attributes:
        root: the folder that `names` are relative to.
        names: picture files, relative POSIX paths, in a fixed order.
        positions: (N, D) float64, in the benchmark's unit: easting and northing in metres (and, where a data set spans
            several UTM zones or cities, a third number that is a multiple of `APART`), or one frame number. None
            where the data set does not tell.
    """

    root: Path
    names: Sequence[str]
    positions: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.positions is not None and (self.positions.ndim != 2 or len(self.positions) != len(self.names)):
            raise ValueError(f"{len(self.names)} pictures with positions of shape {self.positions.shape}")

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> Path:
        """The file of one picture."""
        return self.root / self.names[row]

    @property
    def paths(self) -> Iterator[Path]:
        """The files of all pictures, one at a time: there can be millions."""
        return map(self.path, range(len(self)))


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A database, queries, and which references are right for which query.

    Attributes:
        name: by which `open_benchmark` knows it, or the folder's.
        protocol: in words: which queries, what counts as right. A number without it is worth nothing.
        database: the references.
        queries: the pictures to be localized.
        radius: distance up to which a reference is right, in `unit`.
        unit: of positions and radius: metres, or frames of a sequence.
        explicit: for each query the rows of its right references, where no distance decides; replaces positions.
        headline: which recall is the benchmark's own: over "all" queries, or over those that are "answerable", i.e.
            have a right reference at all.
        differences: in what it is not what was released, e.g. that pictures are missing; empty where nothing was.
        notes: what a reader of the numbers must know, the differences among it.
    """

    name: str
    protocol: str
    database: Pictures
    queries: Pictures
    radius: float = RIGHT_WITHIN_M
    unit: Literal["m", "frames"] = "m"
    explicit: Sequence[npt.NDArray[np.int64]] | None = None
    headline: Literal["all", "answerable"] = "all"
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether it can be told which references are right; a challenge keeps that to itself."""
        located = self.database.positions is not None and self.queries.positions is not None
        return located or self.explicit is not None

    def distances(self, matches: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """How far retrieved references (Q, K) lie from their queries, in `unit`, (Q, K).

        A row of -1 (nothing retrieved) is infinitely far, and so is a place that is kept apart: another city's. With
        `explicit` references there is no distance but only right (0) and wrong (infinity).

        Raises:
            ValueError: the benchmark is not labelled.
        """
        if self.explicit is not None:
            right = [np.isin(rows, wanted) for rows, wanted in zip(matches, self.explicit, strict=True)]
            return np.where(np.asarray(right, bool).reshape(matches.shape), 0.0, np.inf)
        database, queries = self._positions()
        away = np.sqrt(((database[matches] - queries[:, None]) ** 2).sum(axis=-1))
        return np.where((matches < 0) | (away >= APART), np.inf, away)

    def positives(self, query: int) -> npt.NDArray[np.int64]:
        """Rows of all references that are right for one query, ascending."""
        if self.explicit is not None:
            return np.sort(np.asarray(self.explicit[query], np.int64))
        found = self._tree.query_ball_point(self._positions()[1][query], self.radius)
        return np.sort(np.asarray(found, np.int64))

    @cached_property
    def answerable(self) -> npt.NDArray[np.bool_]:
        """(Q,) whether a query has any right reference."""
        if self.explicit is not None:
            return np.array([len(rows) > 0 for rows in self.explicit], bool)
        return self.nearest <= self.radius

    @cached_property
    def nearest(self) -> npt.NDArray[np.float64]:
        """(Q,) how far the nearest reference lies from each query, in `unit`; infinite where all are kept apart.

        Raises:
            ValueError: the benchmark gives no positions.
        """
        queries = self._positions()[1]
        nearest = [
            self._tree.query(queries[start : start + _QUERIES_AT_ONCE])[0]
            for start in range(0, len(queries), _QUERIES_AT_ONCE)
        ]
        away = np.concatenate(nearest) if nearest else np.zeros(0)
        return np.where(away >= APART, np.inf, away)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self._positions()[0])

    def _positions(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        if self.database.positions is None or self.queries.positions is None:
            raise ValueError(f"{self.name} does not tell where its pictures were taken")
        return self.database.positions, self.queries.positions
