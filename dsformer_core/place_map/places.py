"""How densely references stand, and which of them show one place: the same for a map's calibration and for a query."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

COMPATIBLE_YAW: Final = np.pi / 3
"""Radians between two viewing directions up to which two pictures of one spot can show the same things."""

SAME_SPOT: Final = 1.0
"""Metres. Pictures closer than this were taken from one spot: by a robot that stood still, or by several cameras of one
vehicle. Positions tell no more."""

REFERENCE_STD: Final = 3.0
"""Metres, of a reference's own position: GPS on an open road. No map is surer than that, however dense."""

LONE_SPACING: Final = 10.0
"""Metres, what the spacing is taken to be where every reference was taken at one spot."""


def compatible_yaw(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether two viewing directions (radians, NaN unknown) can show the same things; broadcasts."""
    difference = np.abs(np.remainder(first - second + np.pi, 2 * np.pi) - np.pi)
    return ~(difference > COMPATIBLE_YAW)


def place_leaders(utm: NDArray[np.float64], yaw: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Groups the candidates of queries into places, each led by its best candidate.

    The best candidate leads a place; all within `radius` of it that look the same way are of that place; the best of
    the rest leads the next one. So no candidate is further than `radius` from its leader, and no two leaders of one
    direction are closer to each other than that. A candidate without a yaw joins any direction.

    Args:
        utm: (Q, K, 2) positions of each query's candidates in metres, best first.
        yaw: (Q, K) radians, NaN where unknown.
        radius: metres.

    Returns:
        (Q, K) column of the leader of each candidate; a leader's is its own.
    """
    if len(utm) == 1:
        return _leaders_of_one(utm[0], yaw[0], radius)[None]
    columns = utm.shape[1]
    leader = np.full(utm.shape[:2], -1, dtype=np.int64)
    for column in range(columns):
        leads = leader[:, column] < 0
        if not leads.any():
            continue
        close = np.hypot(*(utm[:, :, axis] - utm[:, column, axis, None] for axis in (0, 1))) <= radius
        joins = leads[:, None] & (leader < 0) & close & compatible_yaw(yaw, yaw[:, column, None])
        joins[:, column] = leads
        leader[joins] = column
    return leader


def _leaders_of_one(utm: NDArray[np.float64], yaw: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """The same of one query, as a robot asks it, with fewer steps."""
    leader = np.full(len(utm), -1, dtype=np.int64)
    for column in range(len(utm)):
        if leader[column] < 0:
            away = utm - utm[column]
            joins = (leader < 0) & (np.hypot(away[:, 0], away[:, 1]) <= radius) & compatible_yaw(yaw, yaw[column])
            joins[column] = True
            leader[joins] = column
    return leader


def thin(
    utm: NDArray[np.float64], distance: float = SAME_SPOT, *, yaw: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Rows that stand for all: no two are within `distance` of each other (and look the same way).

    Greedy, in the order of rows: every row that is left out is within `distance` of one that is not.

    Args:
        utm: (N, 2) positions in metres.
        distance: metres.
        yaw: (N,) radians, NaN where unknown; None where directions do not matter.

    Returns:
        The rows that stay, ascending.
    """
    if len(utm) < 2:
        return np.arange(len(utm))
    from scipy.spatial import cKDTree

    tree = cKDTree(utm)
    # At `SAME_SPOT` most rows of most maps have nobody that close, and need no look of their own.
    crowded = tree.query(utm, k=2)[0][:, 1] <= distance
    stays = np.ones(len(utm), dtype=bool)
    for row in np.flatnonzero(crowded):
        if stays[row]:
            near = np.array(tree.query_ball_point(utm[row], distance), dtype=np.int64)
            later = near[near > row]
            if yaw is not None:
                later = later[compatible_yaw(yaw[later], yaw[row])]
            stays[later] = False
    return np.flatnonzero(stays)


def spacing(utm: NDArray[np.float64]) -> float:
    """Median distance from a spot to the nearest other one, metres; `LONE_SPACING` where there is only one.

    Args:
        utm: (N, 2) positions in metres. Those within `SAME_SPOT` of each other count as one spot: a robot that waits at
            a red light does not make its street denser.
    """
    spots = utm[thin(utm)]
    if len(spots) < 2:
        return LONE_SPACING
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(spots).query(spots, k=2)
    return float(np.median(distances[:, 1]))
