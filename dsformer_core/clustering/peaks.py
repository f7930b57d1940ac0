"""What becomes of a cluster: the locations within r metres of its densest one.

A cluster may hold two streets where both are too thinly driven to be clusters of their own, so a gap in the way ends a
class too.
"""

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.planar_hdbscan import NOISE, Array, Labels, compiled

# Of the radius: what lies beyond a wider gap is another street.
LARGEST_GAP = 2 / 3

Points = npt.NDArray[np.int64]


@compiled
def keep_around_peaks(
    along: Array, across: Array, labels: Labels, radius: float, min_images: int
) -> tuple[Labels, Points]:
    """Shrinks every cluster of a strip to what lies within `radius` of its peak.

    The peak is the location with most others of its cluster within `radius`; of several, the one whose others are
    nearer in the mean square, then the first along the strip. A chain of steps of at most `LARGEST_GAP` of the radius
    must lead from it to every location.

    Args:
        along: (n,) metres along the strip, ascending.
        across: (n,) metres across it.
        labels: (n,) cluster numbers from 0, or `NOISE`.
        radius: metres, inclusive.
        min_images: clusters of which fewer remain are dropped.

    Returns:
        (n,) int32 class numbers from 0, or `NOISE`, and (K,) int64 the classes' peaks as points of the strip.
    """
    count = len(labels)
    clusters = labels.max() + 1 if count else 0
    sizes = np.zeros(clusters + 1, np.int64)
    for label in labels:
        if label != NOISE:
            sizes[label + 1] += 1
    starts = np.cumsum(sizes)
    filled = starts[:-1].copy()
    members = np.empty(starts[-1], np.int64)
    for point in range(count):
        if labels[point] != NOISE:
            members[filled[labels[point]]] = point
            filled[labels[point]] += 1

    kept = np.full(count, NOISE, np.int32)
    peaks = np.empty(clusters, np.int64)
    classes = np.int32(0)
    for cluster in range(clusters):
        own = members[starts[cluster] : starts[cluster + 1]]
        peak, most, nearest = -1, 0, np.inf
        first = 0
        for point in own:
            while along[point] - along[own[first]] > radius:
                first += 1
            near, total = 0, 0.0
            for other in own[first:]:
                gap = along[other] - along[point]
                if gap > radius:
                    break
                side = across[other] - across[point]
                distance = gap * gap + side * side
                if distance <= radius * radius:
                    near += 1
                    total += distance
            if near > most or (near == most and total < nearest):
                peak, most, nearest = point, near, total
        if most < min_images:
            continue
        reached = _reachable(along, across, own, peak, radius)
        if len(reached) < min_images:
            continue
        for point in reached:
            kept[point] = classes
        peaks[classes] = peak
        classes += np.int32(1)
    return kept, peaks[:classes]


@compiled
def _reachable(along: Array, across: Array, members: Points, peak: int, radius: float) -> Points:
    """The members within `radius` of `peak` to which a chain of steps of at most `LARGEST_GAP` of it leads."""
    step = LARGEST_GAP * radius
    unreached = np.empty(len(members), np.int64)
    left = 0
    for point in members:
        gap, side = along[point] - along[peak], across[point] - across[peak]
        if point != peak and gap * gap + side * side <= radius * radius:
            unreached[left] = point
            left += 1
    reached = np.empty(left + 1, np.int64)
    reached[0], found, done = peak, 1, 0
    while done < found:
        point = reached[done]
        done += 1
        waiting = 0
        for index in range(left):
            other = unreached[index]
            gap, side = along[other] - along[point], across[other] - across[point]
            if gap * gap + side * side <= step * step:
                reached[found] = other
                found += 1
            else:
                unreached[waiting] = other
                waiting += 1
        left = waiting
    return reached[:found]
