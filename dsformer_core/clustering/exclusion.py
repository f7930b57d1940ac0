"""Of classes whose peaks lie too close together, the better ones stay.

`greedy` is our rule, used within each direction and again when east and north are merged (equation 8). The official
code's is there to compare with: `without_neighbours` within a direction drops both classes of a close pair, and
`far_from` at the merge drops every north class that is close to an east one.
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def greedy(peaks: Array, sizes: Rows, min_distance: float) -> Rows:
    """The classes that stay, so that all their peaks are at least `min_distance` apart.

    Goes through the classes from the largest to the smallest, of equals from the westernmost, then the southernmost,
    and keeps each that is far enough from all kept before.

    Args:
        peaks: (K, 2) metres.
        sizes: (K,) locations in each class.
        min_distance: l, metres.

    Returns:
        (K',) int64 numbers of the classes that stay, largest first.
    """
    order = np.lexsort((peaks[:, 1], peaks[:, 0], -sizes))
    pairs = np.sort(_close_pairs(peaks[order], min_distance), axis=1)
    stays = np.ones(len(order), bool)
    # By the better of the two: whether a class stays is settled once that is known of every better one.
    for better, worse in pairs[np.lexsort(pairs.T[::-1])]:
        if stays[better]:
            stays[worse] = False
    return order[stays]


def without_neighbours(peaks: Array, min_distance: float) -> Rows:
    """(K',) int64 ascending numbers of the classes that have no other peak closer than `min_distance`."""
    stays = np.ones(len(peaks), bool)
    stays[_close_pairs(peaks, min_distance).ravel()] = False
    return np.flatnonzero(stays)


def far_from(peaks: Array, others: Array, min_distance: float) -> Rows:
    """(K',) int64 ascending numbers of the `peaks` that are at least `min_distance` from all `others`."""
    if len(others) == 0:
        return np.arange(len(peaks))
    nearest, _ = cKDTree(others).query(peaks)
    return np.flatnonzero(nearest >= min_distance)


def _close_pairs(peaks: Array, min_distance: float) -> Rows:
    """(P, 2) pairs of peaks that are closer than `min_distance`."""
    if len(peaks) == 0:
        return np.empty((0, 2), np.int64)
    centred = peaks - peaks.min(axis=0)
    # Slightly wider, then exact: the tree compares sums of squares and includes the limit.
    pairs = cKDTree(centred).query_pairs(min_distance * (1 + 1e-9), output_type="ndarray")
    gaps = np.hypot(*(centred[pairs[:, 0]] - centred[pairs[:, 1]]).T)
    return pairs[gaps < min_distance]
