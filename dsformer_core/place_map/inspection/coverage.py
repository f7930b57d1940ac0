"""What of the ground a map covers, and how: cells, the directions known in each, streets, gaps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
from dsformer_core.place_map.places import COMPATIBLE_YAW

CELL = 25.0
"""Metres a side: the distance within which a match counts as right."""

MOST_CELLS = 200_000
"""Cells a map is divided into at most; larger maps get larger cells."""

ONE_DIRECTION = 0.6
"""Share of viewing directions that are known in a cell: one direction of travel makes a third of them known
(`COMPATIBLE_YAW` to either side), two opposite ones two thirds. Below this the way back is not known."""

LONGEST_GAP = 500.0
"""Metres. References one after the other that are further apart are of two drives."""

FASTEST = 60.0
"""Metres per second. Nobody drove what lies between two references faster than that: they are of two drives."""

# Directions are told apart by this many sectors of a compass.
_SECTORS = 72
# The side of the squares, in metres, in each of which one spot stands for all when streets are measured.
_SPOT = 10.0


@dataclass(frozen=True, eq=False)
class Cells:
    """The squares of a grid that hold references.

    Attributes:
        size: metres a side.
        low: (C, 2) easting and northing of each south-western corner, metres.
        count: (C,) int64 references in each, >= 1.
        directions: (C,) share of viewing directions from which a picture would find a reference that looks the same way
            (`COMPATIBLE_YAW`), 0 to 1; NaN where a cell knows no heading at all.
        of_reference: (N,) int64, the cell of each reference.
    """

    size: float
    low: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    directions: npt.NDArray[np.float64]
    of_reference: npt.NDArray[np.int64]

    @property
    def one_way(self) -> npt.NDArray[np.bool_]:
        """(C,) whether only one direction of travel is known."""
        return self.directions < ONE_DIRECTION


def cells(utm: npt.NDArray[np.float64], yaw: npt.NDArray[np.float64], size: float = CELL) -> Cells:
    """Divides the ground under a map into squares.

    Args:
        utm: (N, 2) metres, N >= 1.
        yaw: (N,) radians, NaN where unknown.
        size: metres a side, doubled until no more than `MOST_CELLS` hold references.
    """
    size, grid, of_reference = squares(utm, size)
    count = np.bincount(of_reference)
    known = np.isfinite(yaw)
    sector = np.floor(np.remainder(yaw[known], 2 * np.pi) / (2 * np.pi) * _SECTORS).astype(np.int64) % _SECTORS
    seen = np.zeros((len(grid), _SECTORS), dtype=bool)
    seen[of_reference[known], sector] = True
    reach = int(COMPATIBLE_YAW / (2 * np.pi) * _SECTORS)
    covered = np.zeros_like(seen)
    for shift in range(-reach, reach + 1):
        covered |= np.roll(seen, shift, axis=1)
    directions = np.where(seen.any(axis=1), covered.mean(axis=1), np.nan)
    return Cells(size, grid * size, count, directions, of_reference)


def street_length(utm: npt.NDArray[np.float64]) -> float:
    """About how many metres of street a map covers: what it takes to link spots that are no further apart than 25 m.

    Args:
        utm: (N, 2) metres.
    """
    side, _, spot = squares(utm, _SPOT)
    spots = np.stack([np.bincount(spot, utm[:, axis]) for axis in (0, 1)], axis=1) / np.bincount(spot)[:, None]
    pairs = cKDTree(spots).query_pairs(2.5 * side, output_type="ndarray")
    length = np.hypot(*(spots[pairs[:, 0]] - spots[pairs[:, 1]]).T)
    return float(minimum_spanning_tree(coo_matrix((length, pairs.T), (len(spots), len(spots)))).sum())


def squares(
    utm: npt.NDArray[np.float64], side: float, most: int = MOST_CELLS
) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Puts positions into the squares of a grid.

    Args:
        utm: (N, 2) metres.
        side: metres, doubled until no more than `most` squares hold positions.
        most: of squares.

    Returns:
        The side, the grid coordinates (C, 2) of the squares that hold positions, and the square of each position (N,).
    """
    while True:
        grid = np.floor(utm / side).astype(np.int64)
        low, high = grid.min(axis=0), grid.max(axis=0)
        rows_high = high[1] - low[1] + 1
        keys, square = np.unique((grid[:, 0] - low[0]) * rows_high + grid[:, 1] - low[1], return_inverse=True)
        if len(keys) <= most:
            return side, (np.stack(np.divmod(keys, rows_high), axis=1) + low).astype(np.float64), square.reshape(-1)
        side *= 2


@dataclass(frozen=True)
class Gap:
    """Ground that a drive crossed and the map does not show.

    Attributes:
        before: row of the last reference before it.
        after: row of the first one after it.
        length: metres between them.
    """

    before: int
    after: int
    length: float


def gaps(
    utm: npt.NDArray[np.float64],
    drive: npt.NDArray[np.int64],
    timestamps: npt.NDArray[np.float64],
    longest_step: float,
) -> list[Gap]:
    """Where a drive goes on further than a step without a reference, and no other drive fills in; longest first.

    Args:
        utm: (N, 2) metres, in the order in which they were driven.
        drive: (N,) number of each reference's drive.
        timestamps: (N,) seconds, NaN where unknown.
        longest_step: metres that are no gap yet. More than `LONGEST_GAP` are none either, but another drive.
    """
    step = np.hypot(*np.diff(utm, axis=0).T)
    driven = ~(step > FASTEST * np.abs(np.diff(timestamps))) & (step <= LONGEST_GAP) & (np.diff(drive) == 0)
    rows = np.flatnonzero((step > longest_step) & driven)
    middles = (utm[rows] + utm[rows + 1]) / 2
    if not len(rows):
        return []
    # The ends are as far from the middle as half the step; whoever is closer fills the gap.
    filled = cKDTree(utm).query(middles)[0] < np.minimum(0.45 * step[rows], RIGHT_PLACE_RADIUS)
    found = [Gap(int(row), int(row) + 1, float(step[row])) for row in rows[~filled]]
    return sorted(found, key=lambda gap: -gap.length)


def stretches(marked: Cells, which: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Cells of one kind that touch, corners included, most cells first.

    Args:
        marked: the cells.
        which: (C,) those of the kind.
    """
    chosen = np.flatnonzero(which)
    pairs = cKDTree(marked.low[chosen]).query_pairs(1.5 * marked.size, output_type="ndarray") if len(chosen) else []
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), (len(chosen), len(chosen)))
    number, label = connected_components(graph, directed=False) if len(chosen) else (0, np.empty(0, np.int64))
    groups = np.split(chosen[np.argsort(label, kind="stable")], np.cumsum(np.bincount(label, minlength=number))[:-1])
    return sorted((group for group in groups if len(group)), key=lambda group: -len(group))
