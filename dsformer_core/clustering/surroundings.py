"""The direction of the street that a class lies on, seen from all locations around it.

A class is clipped by strip and radius and is often wider than it is long, so its own principal axis is a poor guide.
The vehicles' tracks go on beyond it: of all corridors through the class, the street is the one that holds most of them.
"""

from contextlib import closing

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.planar_hdbscan import Array, compiled
from dsformer_core.ordered_map import ordered_map

# Metres: how far around a class to look, and half the width within which tracks belong to one street.
SIGHT = 50.0
HALF_WIDTH = 7
# Metres by which a street's middle may lie beside the mean of a class.
_SHIFT = 5
# Corridors tried, over half a turn; a fit to what the best one holds gives the rest of the accuracy.
_TRIALS = 36
_REFINEMENTS = 4
# Classes that a thread takes at a time.
_BATCH = 512


def surrounding_directions(utm: Array, centres: Array, workers: int = 1) -> Array:
    """Which way streets run.

    Args:
        utm: (N, 2) metres, all locations.
        centres: (K, 2) metres, the classes' mean positions.
        workers: threads.

    Returns:
        (K,) radians counterclockwise from east, modulo pi.
    """
    lowest = utm.min(axis=0)
    cells = np.floor((utm - lowest) / SIGHT).astype(np.int64)
    # One row of cells is wider than any query reaches, so that a neighbour's key never wraps into the next row.
    columns = int(cells[:, 1].max()) + 3
    keys = (cells[:, 0] + 1) * columns + cells[:, 1] + 1
    order = np.lexsort((utm[:, 1], utm[:, 0], keys))
    home = np.floor((centres - lowest) / SIGHT).astype(np.int64)
    home_keys = (home[:, 0] + 1) * columns + home[:, 1] + 1
    points, keys, centres = utm[order] - lowest, keys[order], centres - lowest
    parts = [slice(start, start + _BATCH) for start in range(0, len(centres), _BATCH)]

    def directions(part: slice) -> Array:
        return _directions(points, keys, columns, centres[part], home_keys[part])

    with closing(ordered_map(directions, parts, workers=workers, ahead=2 * workers)) as results:
        return np.concatenate([np.empty(0), *results])


@compiled
def _directions(
    points: Array, keys: npt.NDArray[np.int64], columns: int, centres: Array, home_keys: npt.NDArray[np.int64]
) -> Array:
    angles = np.empty(len(centres))
    cosines = np.cos(np.arange(_TRIALS) * np.pi / _TRIALS)
    sines = np.sin(np.arange(_TRIALS) * np.pi / _TRIALS)
    for row in range(len(centres)):
        # The three cells of a column of the grid stand side by side in the order of keys.
        found = 0
        for step in (-1, 0, 1):
            middle = home_keys[row] + step * columns
            found += np.searchsorted(keys, middle + 1, side="right") - np.searchsorted(keys, middle - 1)
        around = np.empty((found, 2))
        count = 0
        for step in (-1, 0, 1):
            middle = home_keys[row] + step * columns
            for point in range(np.searchsorted(keys, middle - 1), np.searchsorted(keys, middle + 1, side="right")):
                east, north = points[point, 0] - centres[row, 0], points[point, 1] - centres[row, 1]
                if east * east + north * north <= SIGHT * SIGHT:
                    around[count, 0], around[count, 1] = east, north
                    count += 1
        angles[row] = _corridor(around[:count], cosines, sines)
    return angles


@compiled
def _corridor(around: Array, cosines: Array, sines: Array) -> float:
    """Direction of the best corridor near the origin, then of the line fitted to what it holds.

    A corridor is better the more of the way lies in it and the less in the stripes along its sides: across parallel
    streets, or where two streets meet, those are as full as itself.
    """
    # Metre by metre across the corridor, how much of the way lies there.
    reach = _SHIFT + 2 * HALF_WIDTH
    way = np.zeros(2 * reach)
    summed = np.zeros(2 * reach + 1)
    best, middle, most = 0, 0.0, -np.inf
    for trial in range(len(cosines)):
        way[:] = 0
        for east, north in around:
            beside = int(np.floor(north * cosines[trial] - east * sines[trial])) + reach
            if 0 <= beside < 2 * reach:
                way[beside] += abs(east * cosines[trial] + north * sines[trial])
        for metre in range(2 * reach):
            summed[metre + 1] = summed[metre] + way[metre]
        for shift in range(-_SHIFT, _SHIFT + 1):
            centre = reach + shift
            inside = summed[centre + HALF_WIDTH] - summed[centre - HALF_WIDTH]
            whole = summed[centre + 2 * HALF_WIDTH] - summed[centre - 2 * HALF_WIDTH]
            if 2 * inside - whole > most:
                best, middle, most = trial, float(shift), 2 * inside - whole
    angle = best * np.pi / len(cosines)
    for _ in range(_REFINEMENTS):
        cosine, sine = np.cos(angle), np.sin(angle)
        count = 0
        mean_ahead, mean_beside, ahead_ahead, beside_beside, ahead_beside = 0.0, 0.0, 0.0, 0.0, 0.0
        for east, north in around:
            ahead, beside = east * cosine + north * sine, north * cosine - east * sine
            if abs(beside - middle) <= HALF_WIDTH:
                count += 1
                mean_ahead += ahead
                mean_beside += beside
                ahead_ahead += ahead * ahead
                beside_beside += beside * beside
                ahead_beside += ahead * beside
        if count < 2:
            break
        mean_ahead /= count
        mean_beside /= count
        covariance = ahead_beside / count - mean_ahead * mean_beside
        excess = (ahead_ahead - beside_beside) / count - mean_ahead**2 + mean_beside**2
        turn = 0.5 * np.arctan2(2 * covariance, excess)
        angle += turn
        # The fitted line passes through the mean; how far it passes from the origin is the next corridor's middle.
        middle = mean_beside * np.cos(turn) - mean_ahead * np.sin(turn)
    return angle % np.pi
