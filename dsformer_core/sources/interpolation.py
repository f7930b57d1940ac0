"""Values between two known ones: never beyond the first or last, never across a gap that is too long."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def interpolate(known: Array, values: Array, wanted: Array, max_gap: float, *, period: float | None = None) -> Array:
    """Linear interpolation in time.

    Args:
        known: (N,) seconds, strictly ascending.
        values: (N,) what was measured then.
        wanted: (M,) seconds, in any order.
        max_gap: seconds between neighbours of `known` that may at most be bridged.
        period: of values that go round, such as 360 for degrees: the shorter way is taken.

    Returns:
        (M,) NaN before the first, after the last and within longer gaps; of a period, from its negative half to its
        positive one.
    """
    found = np.full(len(wanted), np.nan)
    if not len(known):
        return found
    right = np.searchsorted(known, wanted)
    after = np.minimum(right, len(known) - 1)
    exact = known[after] == wanted
    before = np.where(exact, after, np.maximum(right - 1, 0))
    span = known[after] - known[before]
    usable = exact | ((right > 0) & (right < len(known)) & (span <= max_gap))
    weight = np.divide(wanted - known[before], span, out=np.zeros(len(wanted)), where=span > 0)
    change = values[after] - values[before]
    if period is not None:
        change = centred(change, period)
    between = values[before] + weight * change
    found[usable] = (between if period is None else centred(between, period))[usable]
    return found


def centred(values: Array, period: float) -> Array:
    """The same values of a period, from its negative half to its positive one."""
    return np.mod(values + period / 2, period) - period / 2


def compass(degrees: Array) -> Array:
    """The same directions in [0, 360)."""
    # The remainder of a tiny negative number rounds to the divisor itself.
    return np.mod(np.mod(degrees, 360.0), 360.0)
