"""Of classes whose peaks lie too close together, the better ones stay."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def exclude(peaks: Array, sizes: Rows, min_distance: float, rule: str) -> Rows:
    """The classes that stay, so that all their peaks are at least `min_distance` apart.

    ``greedy`` goes through the classes from the largest to the smallest, of equals from the westernmost, then the
    southernmost, and keeps each that is far enough from all kept before. ``remove_both`` is the official code's rule:
    whatever has a neighbour goes, and its neighbour too.

    Args:
        peaks: (K, 2) metres.
        sizes: (K,) locations in each class.
        min_distance: l, metres.
        rule: ``greedy`` or ``remove_both``.

    Returns:
        (K',) int64 numbers of the classes that stay, largest first.
    """
    if len(peaks) == 0:
        return np.empty(0, np.int64)
    order = np.lexsort((peaks[:, 1], peaks[:, 0], -sizes))
    centred = peaks[order] - peaks.min(axis=0)
    # Slightly wider, then exact: the tree compares sums of squares, whose rounding would blur the limit.
    pairs = cKDTree(centred).query_pairs(min_distance * (1 + 1e-9), output_type="ndarray")
    gaps = np.hypot(*(centred[pairs[:, 0]] - centred[pairs[:, 1]]).T)
    pairs = pairs[gaps < min_distance]
    stays = np.ones(len(order), bool)
    if rule == "remove_both":
        stays[pairs.ravel()] = False
        return order[stays]
    better, worse = pairs.min(axis=1), pairs.max(axis=1)
    # A class's fate is settled once every better one's is.
    for pair in np.lexsort((worse, better)):
        if stays[better[pair]]:
            stays[worse[pair]] = False
    return order[stays]
