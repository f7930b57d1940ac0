"""Positions that can be clustered, and clear words about those that cannot."""

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError

Array = npt.NDArray[np.float64]

# Degrees span less than this within any country; metres do not where there is anything to cluster.
_SMALLEST_EXTENT = 10.0
# Degrees that are an angle still, the second excluded; beyond them lie stamps of time and marks of what is missing.
_ANGLES = (-360.0, 720.0)


def check_positions(utm: npt.ArrayLike, fewest: int = 2) -> Array:
    """The positions as (N, 2) float64 easting and northing.

    Args:
        utm: metres.
        fewest: locations below which nothing can be made of them.

    Raises:
        UsageError: they are of another shape, not finite, too few, all the same, or latitudes and longitudes.
    """
    try:
        positions = np.asarray(utm, np.float64)
    except (TypeError, ValueError):
        raise UsageError("positions are not numbers: give an (N, 2) array of easting and northing in metres") from None
    if positions.size == 0:
        raise UsageError("there are no positions: the input is empty")
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise UsageError(f"positions have shape {positions.shape}: it must be (N, 2), easting and northing in metres")
    if (bad := np.flatnonzero(~np.isfinite(positions).all(axis=1))).size:
        raise UsageError(f"{bad.size} positions are not finite, the first in row {bad[0]}: leave those rows out")
    if len(positions) < fewest:
        raise UsageError(f"{len(positions)} locations are too few: a class needs at least {fewest}")
    extent = np.ptp(positions, axis=0)
    if not extent.any():
        raise UsageError(f"all {len(positions)} locations are the same, {positions[0].tolist()}: nothing to cluster")
    if (np.abs(positions) <= 180).all() and (extent < _SMALLEST_EXTENT).all():
        raise UsageError(
            f"positions look like latitude and longitude ({positions[0].tolist()} …): give UTM easting and northing"
        )
    return np.ascontiguousarray(positions)


def check_headings(headings_deg: npt.ArrayLike | None, count: int) -> Array | None:
    """Headings as (N,) float64; None where there are none at all.

    Raises:
        UsageError: they are no angles, or more or fewer than locations.
    """
    if headings_deg is None:
        return None
    try:
        headings = np.asarray(headings_deg, np.float64)
    except (TypeError, ValueError):
        raise UsageError("headings are not numbers: give degrees clockwise from north, NaN where unknown") from None
    if headings.shape != (count,):
        raise UsageError(f"headings have shape {headings.shape}: it must be ({count},), one for each location")
    # Bearings are given from 0 to 360 or from -180 to 180, and sums of two of them as they come; NaN compares false.
    lowest, highest = _ANGLES
    if (bad := np.flatnonzero((headings < lowest) | (headings >= highest))).size:
        raise UsageError(
            f"{bad.size} headings are no angles, the first is {headings[bad[0]]:g} in row {bad[0]}: give degrees "
            "clockwise from north, NaN where unknown"
        )
    return headings if np.isfinite(headings).any() else None
