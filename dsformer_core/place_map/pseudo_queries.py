"""References of a map that play queries: the map is searched for each of them without itself and its surroundings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsformer_core.place_map.places import compatible_yaw, place_leaders

CANDIDATES = 20
CHUNK_ROWS = 2048

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Played:
    """The outcome of P pseudo-queries: their places, best first.

    Attributes:
        similarities: (P, CANDIDATES) best similarity of each place, -inf where there are fewer places.
        right: (P,) column of the right place, -1 where it is not among them.
        place_in_reach: (P,) whether the map still held a reference of the right place.
    """

    similarities: Numbers
    right: NDArray[np.int64]
    place_in_reach: NDArray[np.bool_]

    def only(self, rows: NDArray[np.bool_]) -> "Played":
        """Some of the pseudo-queries, (P,) bool."""
        return Played(self.similarities[rows], self.right[rows], self.place_in_reach[rows])


def play_queries(
    descriptors: ArrayLike,
    utm: Numbers,
    yaw: Numbers,
    sample: NDArray[np.int64],
    removed_radii: Sequence[Numbers],
    right_radius: float,
    *,
    queries: ArrayLike | None = None,
) -> list[Played]:
    """Searches the map for each sampled reference, once for each way to remove what is near it.

    The descriptors are gone through once for all ways, some thousand at a time.

    Args:
        descriptors: (N, D) unit descriptors, any float type, memory-mapped or not.
        utm: (N, 2) metres.
        yaw: (N,) radians, NaN where unknown.
        sample: (P,) rows that play queries.
        removed_radii: (P,) metres each, within which references are removed from the map.
        right_radius: metres within which a match is right.
        queries: (P, D) unit descriptors of the sample by another arithmetic; None for those of the map.
    """
    table: Any = descriptors
    asked = np.asarray(table[sample] if queries is None else queries, dtype=np.float32)
    near = _Near.of(utm, sample, max(right_radius, *(float(radius.max(initial=0)) for radius in removed_radii)))
    removals = [near.only(near.within(radius)) for radius in removed_radii]
    best = [_Best.none(len(sample)) for _ in removed_radii]
    for start in range(0, len(utm), CHUNK_ROWS):
        similarity = asked @ np.asarray(table[start : start + CHUNK_ROWS], dtype=np.float32).T
        for one, removed in zip(best, removals, strict=True):
            one.take(similarity, start, removed)

    right = near.distances <= right_radius
    right &= compatible_yaw(yaw[near.rows], yaw[sample[near.queries]])
    played = []
    for one, radius in zip(best, removed_radii, strict=True):
        place_in_reach = np.zeros(len(sample), dtype=bool)
        place_in_reach[near.queries[right & ~near.within(radius)]] = True
        similarities, rows = one.in_order()
        poses = (utm[rows], yaw[rows], utm[sample], yaw[sample])
        played.append(_as_places(similarities, *poses, place_in_reach, right_radius))
    return played


@dataclass(frozen=True, eq=False)
class _Near:
    """Pairs of a pseudo-query and a reference near it, in the order of the references' rows.

    Attributes:
        queries: (n,) place of the query in the sample.
        rows: (n,) of the reference, ascending.
        distances: (n,) metres between them.
        themselves: (n,) whether they are one and the same: nothing else is exactly the query.
    """

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: Numbers
    themselves: NDArray[np.bool_]

    @classmethod
    def of(cls, utm: Numbers, sample: NDArray[np.int64], radius: float) -> "_Near":
        from scipy.spatial import cKDTree

        # A little more than asked for, because the tree compares squares.
        found = cKDTree(utm).query_ball_point(utm[sample], radius * (1 + 1e-9)) if len(sample) else []
        queries = np.repeat(np.arange(len(sample)), [len(rows) for rows in found])
        rows = np.concatenate([np.array(rows, dtype=np.int64) for rows in found]) if len(found) else queries
        order = np.lexsort((queries, rows))
        queries, rows = queries[order], rows[order]
        distances = np.hypot(*(utm[rows] - utm[sample[queries]]).T)
        return cls(queries, rows, distances, rows == sample[queries])

    def within(self, radius: Numbers) -> NDArray[np.bool_]:
        """(n,) whether each is within its query's radius, (P,) metres. A reference is near itself, whatever that is."""
        return (self.distances <= radius[self.queries]) | self.themselves

    def only(self, chosen: NDArray[np.bool_]) -> "_Near":
        return _Near(self.queries[chosen], self.rows[chosen], self.distances[chosen], self.themselves[chosen])

    def between(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Queries and rows of the pairs whose reference lies in a range of rows."""
        span = slice(*np.searchsorted(self.rows, (start, stop)))
        return self.queries[span], self.rows[span]


@dataclass(frozen=True, eq=False)
class _Best:
    """The most similar references of each pseudo-query so far, in no particular order.

    Attributes:
        similarities: (P, CANDIDATES), -inf where there are fewer.
        rows: (P, CANDIDATES).
    """

    similarities: Numbers
    rows: NDArray[np.int64]

    @classmethod
    def none(cls, count: int) -> "_Best":
        return cls(np.full((count, CANDIDATES), -np.inf), np.zeros((count, CANDIDATES), dtype=np.int64))

    def take(self, similarity: NDArray[np.float32], start: int, removed: _Near) -> None:
        """Looks at the similarities (P, n) of the references from row `start` on."""
        better = similarity > self.similarities.min(axis=1).astype(np.float32)[:, None]
        queries, rows = removed.between(start, start + similarity.shape[1])
        better[queries, rows - start] = False
        # After the first chunks hardly any query finds something better.
        changed = np.flatnonzero(better.any(axis=1))
        found = np.where(better[changed], similarity[changed], -np.inf)
        pooled = np.hstack([self.similarities[changed], found])
        numbers = np.broadcast_to(np.arange(start, start + similarity.shape[1]), found.shape)
        pooled_rows = np.hstack([self.rows[changed], numbers])
        kept = np.argpartition(-pooled, CANDIDATES - 1, axis=1)[:, :CANDIDATES]
        self.similarities[changed] = np.take_along_axis(pooled, kept, 1)
        self.rows[changed] = np.take_along_axis(pooled_rows, kept, 1)

    def in_order(self) -> tuple[Numbers, NDArray[np.int64]]:
        """Similarities and rows, (P, CANDIDATES) each, best first; of equal ones the smaller row."""
        order = np.lexsort((self.rows, -self.similarities), axis=1)
        return np.take_along_axis(self.similarities, order, 1), np.take_along_axis(self.rows, order, 1)


def _as_places(
    similarities: Numbers,
    utm: Numbers,
    yaw: Numbers,
    true_utm: Numbers,
    true_yaw: Numbers,
    place_in_reach: NDArray[np.bool_],
    right_radius: float,
) -> Played:
    """Groups each pseudo-query's candidates (P, K), best first, into places led by their best candidate."""
    leads = np.isfinite(similarities) & (place_leaders(utm, yaw, right_radius) == np.arange(utm.shape[1]))
    distance = np.hypot(*(utm[:, :, axis] - true_utm[:, axis, None] for axis in (0, 1)))
    right = leads & (distance <= right_radius) & compatible_yaw(yaw, true_yaw[:, None])

    order = np.argsort(~leads, axis=1, kind="stable")
    places = np.take_along_axis(np.where(leads, similarities, -np.inf), order, 1)
    right = np.take_along_axis(right, order, 1)
    return Played(places, np.where(right.any(axis=1), right.argmax(axis=1), -1), place_in_reach)
