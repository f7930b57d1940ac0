"""Fewer references that show as much: which of a map's references a query would not miss."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dsformer_core.errors import UsageError
from dsformer_core.place_map.place_map import PlaceMap

ALIKE = 2.0
"""Of pictures of a rendered street, taken by day, dusk and night and in rain, so many pairs are alike:

======================= ============= ================
pairs                   dsformer_tiny gem_mobilenet_v2
======================= ============= ================
one drive, 3 m apart    62 %          48 %
one drive, 6 m apart    23 %          17 %
one spot, day and dusk  48 %          2 %
one spot, day and rain  8 %           0 %
one spot, day and night 2 %           0 %
======================= ============= ================

Four drives of 80 pictures, 3 m apart, are thinned at 5 m to 199 and 252 references; of pictures of later drives by day,
by night, in rain and at dusk `dsformer_tiny` finds 96 % within 10 m before and after. Thinned by position and heading
alone, 40 would be left, all of one drive, and 93, 68, 89 and 96 % found.
"""

# Copies of a picture are alike in any map.
_NEVER_MORE = 0.99


@dataclass(frozen=True)
class Thinning:
    """When a reference can go because of another one that stays.

    Attributes:
        metres: they are this close at most, > 0.
        degrees: they look the same way to within this, 0 to 180; an unknown heading agrees with any.
        similar: their descriptors are this similar at least, -1 to 1; None for `usual_similarity`. This is what keeps a
            street by night beside the same street by day.

    Raises:
        UsageError: a number is out of range.
    """

    metres: float
    degrees: float = 30.0
    similar: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.metres) and self.metres > 0):
            raise UsageError(f"every {self.metres:g} m: it must be more than 0")
        if not 0 <= self.degrees <= 180:
            raise UsageError(f"every {self.degrees:g} degrees: it must be 0 to 180")
        if self.similar is not None and not -1 <= self.similar <= 1:
            raise UsageError(f"similar = {self.similar:g}: a similarity is between -1 and 1")


def rows_to_keep(
    place_map: PlaceMap, thinning: Thinning, *, on_progress: Callable[[int], None] = lambda count: None
) -> npt.NDArray[np.int64]:
    """The references that stand for all: the earliest in the map, and whatever differs from these.

    In the order of rows, each reference that is still there stays and sends away the later ones that it stands for. So
    every one that goes is near one that stays, looks the same way and is as similar as is asked; no two that stay are
    all of that; and the result does not depend on the number of threads.

    Args:
        place_map: the map.
        thinning: when one stands for another.
        on_progress: called with the number of references decided on since its last call.

    Returns:
        Rows, ascending.
    """
    similar = usual_similarity(place_map) if thinning.similar is None else thinning.similar
    utm, yaw = place_map.utm, place_map.yaw
    tree = cKDTree(utm)
    stays = np.ones(place_map.count, dtype=bool)
    for row in range(place_map.count):
        if stays[row]:
            near = np.array(tree.query_ball_point(utm[row], thinning.metres), dtype=np.int64)
            near = near[(near > row) & stays[near]]
            turned = np.abs(np.remainder(yaw[near] - yaw[row] + np.pi, 2 * np.pi) - np.pi)
            near = near[~(turned > math.radians(thinning.degrees))]
            if len(near):
                own, others = place_map.descriptors[row], place_map.descriptors[near]
                # Unlike a matrix product it gives equal rows equal similarities, wherever they stand.
                found = np.einsum("nd,d->n", others.astype(np.float32), own.astype(np.float32))
                stays[near[found >= similar]] = False
        on_progress(1)
    return np.flatnonzero(stays)


def usual_similarity(place_map: PlaceMap) -> float:
    """From which similarity on two references of one spot look alike, where nobody says otherwise.

    `ALIKE` spreads above what the best of wrong places scores in this map (`SimilarityCalibration`).
    """
    calibration = place_map.calibration
    return min(calibration.impostor_mean + ALIKE * calibration.impostor_spread, _NEVER_MORE)
