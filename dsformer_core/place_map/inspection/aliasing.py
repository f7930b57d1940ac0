"""Where a map looks like itself elsewhere: found by searching the map in itself.

Each reference asks for the most similar one that shows something else: further than `SURROUNDINGS_RADIUS` away, or
close by and turned so far that the two share nothing. How similar that is, is told in the unit of the map's
calibration, impostor spreads above the impostors' mean: the best wrong match of an ordinary reference scores about 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dsformer_core.described import Described
from dsformer_core.errors import UsageError
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS, SURROUNDINGS_RADIUS
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.place_map.places import COMPATIBLE_YAW, SAME_SPOT, compatible_yaw

TURNED_AWAY = 2 * COMPATIBLE_YAW
"""Radians. Two pictures of one spot may overlap up to `COMPATIBLE_YAW` and a little beyond; turned twice as far they
share nothing, and what they have in common is looks."""

LOOKS_ALIKE = 3.0
"""Score from which on two places are said to look alike: of normally scattered impostors one in 700 gets that far."""

# Multiplications and additions that a sample may cost unasked, and how many references it has at least and at most.
_WORK = 1.25e11
_SMALLEST_SAMPLE, _LARGEST_SAMPLE = 200, 5_000
_AT_ONCE = 64
_FIRST_LOOK = 64


@dataclass(frozen=True, eq=False)
class Aliases:
    """What A references of a map look like elsewhere.

    Attributes:
        rows: (A,) int64, the references that were asked, ascending.
        partners: (A,) int64, the most similar reference elsewhere; -1 where the map holds nothing elsewhere.
        similarities: (A,) float64 cosine of the two, NaN without a partner.
        scores: (A,) float64, impostor spreads above the impostors' mean, NaN without a partner.
        beaten: (A,) bool, whether the partner is more similar than every view of the own place from another spot. Never
            so where the map has no such view.
    """

    rows: npt.NDArray[np.int64]
    partners: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    beaten: npt.NDArray[np.bool_]

    def worst(self, utm: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
        """Positions in `rows` of the pairs that look most alike, most alike first, each pair of places once.

        Args:
            utm: (N, 2) of all references, metres.
            count: how many at most.
        """
        chosen: list[int] = []
        ends: npt.NDArray[np.float64] = np.empty((0, 4))
        for position in np.argsort(-self.scores, kind="stable"):  # NaN comes last
            if len(chosen) == count or self.partners[position] < 0:
                break
            here, there = utm[self.rows[position]], utm[self.partners[position]]
            pair, reverse = np.hstack([here, there]), np.hstack([there, here])
            for known in (ends - pair, ends - reverse):
                away = np.maximum(np.hypot(known[:, 0], known[:, 1]), np.hypot(known[:, 2], known[:, 3]))
                if (away <= SURROUNDINGS_RADIUS).any():
                    break
            else:
                chosen.append(int(position))
                ends = np.vstack([ends, pair])
        return np.array(chosen, dtype=np.int64)


def find_aliases(
    place_map: PlaceMap,
    *,
    sample: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Aliases:
    """Searches a map in itself, whatever its index.

    Args:
        place_map: the map.
        sample: how many references ask, drawn without order; None for all of a map of up to 5,000, and for as many of
            a larger one as take ten seconds or so of one core (244 of a million with descriptors of 512 numbers).
        seed: of the sample.
        on_progress: called with how many have been answered, and how many will be.

    Raises:
        UsageError: `sample` is negative.
    """
    if sample is None:
        affordable = int(_WORK / (place_map.count * place_map.descriptor_dim))
        sample = min(max(_SMALLEST_SAMPLE, affordable), _LARGEST_SAMPLE)
    if sample < 0:
        raise UsageError(f"{sample} references cannot be asked what they look like: say 0 or more")
    count = min(sample, place_map.count)
    rows = np.sort(np.random.default_rng(seed).permutation(place_map.count)[:count])
    tree = cKDTree(place_map.utm)
    partners = np.full(count, -1, np.int64)
    similarities = np.full(count, np.nan)
    beaten = np.zeros(count, dtype=bool)
    on_progress(0, count)
    for start in range(0, count, _AT_ONCE):
        chunk = slice(start, start + _AT_ONCE)
        asked = _Asked(place_map, tree, rows[chunk])
        partners[chunk], similarities[chunk], beaten[chunk] = asked.elsewhere()
        on_progress(min(start + _AT_ONCE, count), count)
    calibration = place_map.calibration
    scores = (similarities - calibration.impostor_mean) / calibration.impostor_spread
    return Aliases(rows, partners, similarities, scores, beaten)


def describe_rows(place_map: PlaceMap, rows: npt.NDArray[np.int64]) -> Described:
    """References as queries of their own map, with codes where its network made them."""
    codes = None if place_map.codes is None else place_map.codes[rows]
    return Described(place_map.stored[rows].astype(np.float32), codes)


class _Asked:
    """Some references of a map that ask for their likes."""

    def __init__(self, place_map: PlaceMap, tree: cKDTree, rows: npt.NDArray[np.int64]) -> None:
        self._map, self._rows = place_map, rows
        self._near = [
            np.array(near, dtype=np.int64) for near in tree.query_ball_point(place_map.utm[rows], SURROUNDINGS_RADIUS)
        ]

    def elsewhere(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Partner, similarity and whether it beats the own place, of each."""
        count = self._map.count
        partners = np.full(len(self._rows), -1, np.int64)
        similarities = np.full(len(self._rows), np.nan)
        beaten = np.zeros(len(self._rows), dtype=bool)
        # Beyond as many matches as there are references around, the next one is elsewhere, if there is any.
        most = min(count, max(len(near) for near in self._near) + 1)
        open_: npt.NDArray[np.int64] = np.arange(len(self._rows))
        k = min(_FIRST_LOOK, most)
        queries = describe_rows(self._map, self._rows)
        while len(open_):
            codes = None if queries.codes is None else queries.codes[open_]
            matches = self._map.search(Described(queries.descriptors[open_], codes), k)
            left = []
            for asked, found, similarity in zip(open_, matches.indices, matches.similarities, strict=True):
                away = np.flatnonzero(self._is_elsewhere(self._rows[asked], found))
                if len(away):
                    partners[asked], similarities[asked] = found[away[0]], similarity[away[0]]
                    own = self._views_of_own_place(asked)
                    beaten[asked] = bool(len(own)) and not np.isin(found[: away[0]], own).any()
                elif k < most:
                    left.append(asked)
            open_, k = np.array(left, dtype=np.int64), min(8 * k, most)
        return partners, similarities, beaten

    def _is_elsewhere(self, row: np.int64, others: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        far = np.hypot(*(self._map.utm[others] - self._map.utm[row]).T) > SURROUNDINGS_RADIUS
        return far | (turn(self._map.yaw[others], self._map.yaw[row]) > TURNED_AWAY)

    def _views_of_own_place(self, asked: np.int64) -> npt.NDArray[np.int64]:
        row, near = self._rows[asked], self._near[asked]
        distance = np.hypot(*(self._map.utm[near] - self._map.utm[row]).T)
        same = (distance > SAME_SPOT) & (distance <= RIGHT_PLACE_RADIUS)
        return near[same & compatible_yaw(self._map.yaw[near], self._map.yaw[row])]


def apart(place_map: PlaceMap, first: int, second: int) -> str:
    """In words how far two references are from each other, and how far turned where they are close."""
    distance = float(np.hypot(*(place_map.utm[first] - place_map.utm[second])))
    length = f"{distance / 1000:,.1f} km" if distance >= 10_000 else f"{distance:,.0f} m"
    if distance > SURROUNDINGS_RADIUS:
        return f"{length} apart"
    return (
        f"{length} apart, turned by {np.degrees(turn(place_map.yaw[first : first + 1], place_map.yaw[second])[0]):.0f}°"
    )


def turn(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    """Radians in [0, pi] between viewing directions; NaN where one is unknown; broadcasts."""
    return np.abs(np.remainder(first - second + np.pi, 2 * np.pi) - np.pi)
