"""The direction of the street that a class lies on, from where its vehicles headed."""

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.planar_hdbscan import Array, compiled

# Degrees: headings this close to one another belong to the same street.
_SAME_STREET = 20.0


@compiled
def heading_directions(headings_deg: Array, starts: npt.NDArray[np.int64]) -> Array:
    """Which way streets run; where two cross, the one that more vehicles were on.

    Args:
        headings_deg: (R,) degrees clockwise from north, class after class; NaN where unknown.
        starts: (K + 1,) where each class begins, and R.

    Returns:
        (K,) radians counterclockwise from east, modulo pi; NaN for a class without a known heading.
    """
    angles = np.full(len(starts) - 1, np.nan)
    for number in range(len(angles)):
        own = headings_deg[starts[number] : starts[number + 1]]
        most = 0
        for heading in own:
            count, turn = 0, 0.0
            for other in own:
                # Either way along a street is the same street: differences within a quarter turn. NaN compares false.
                difference = (other - heading + 90) % 180 - 90
                if abs(difference) <= _SAME_STREET:
                    count += 1
                    turn += difference
            if count > most:
                most = count
                angles[number] = np.radians(90 - heading - turn / count) % np.pi
    return angles
