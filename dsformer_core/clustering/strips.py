"""Equation 7: locations fall into strips of width M, and every N-th strip into the same group."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

EAST, NORTH = 0, 1


@dataclass(frozen=True)
class Strip:
    """The locations between two lines that are M metres apart.

    Attributes:
        group: 0 to N - 1.
        rows: (n,) int64, ordered along the strip, then across it.
        along: (n,) metres from the southern (western) edge of all locations, ascending.
        across: (n,) metres from its own lower edge, half-open: [0, M).
    """

    group: int
    rows: Rows
    along: Array
    across: Array


def strips(utm: Array, axis: int, width: float, groups: int) -> Iterator[Strip]:
    """Cuts all locations into strips along one axis; each lies in exactly one.

    One sort for all strips, instead of a pass over all locations per strip. Coordinates are taken from the lowest ones
    before anything is squared: millions of metres squared leave no digits for centimetres.

    Args:
        utm: (N, 2) metres.
        axis: coordinate that equation 7 divides, `EAST` or `NORTH`.
        width: M, metres.
        groups: N.

    Yields:
        Strips that hold locations, in ascending order.
    """
    across = utm[:, axis] - utm[:, axis].min()
    along = utm[:, 1 - axis] - utm[:, 1 - axis].min()
    number = np.floor(across / width).astype(np.int64)
    order = np.lexsort((across, along, number))
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        rows = order[start:stop]
        strip = int(number[rows[0]])
        yield Strip(strip % groups, rows, along[rows], across[rows] - strip * width)
