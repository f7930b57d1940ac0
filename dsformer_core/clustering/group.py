"""What clustering gives: groups of classes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

LATERAL = 0
FRONTAL = 90


@dataclass(frozen=True)
class Group:
    """Classes that are trained together: far enough apart to be different places.

    Attributes:
        classes: per class the rows of its locations, (R,) int64 ascending. No row is in two classes.
        peaks: (K, 2) metres: per class the location about which it lies.
        lateral: (K, 2) metres: focal points beside the street (view angle 0).
        frontal: (K, 2) metres: focal points along the street (view angle 90).
        angles: (K,) int32: the one view, `LATERAL` or `FRONTAL`, that a class of ordinary pictures has; None where
            classes are of panoramas, from which both views are cut.
    """

    classes: list[Rows]
    peaks: Array
    lateral: Array
    frontal: Array
    angles: npt.NDArray[np.int32] | None = None

    @property
    def images(self) -> int:
        """Locations in all classes."""
        return sum(len(rows) for rows in self.classes)
