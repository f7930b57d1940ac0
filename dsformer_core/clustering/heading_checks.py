"""Whether headings can be what they are said to be.

Some data sets fill the field with zeros, some compasses stand still, some headings are a camera's, not the vehicle's.
Nothing fails then; directions are merely wrong. But the tracks of all vehicles show, too, where streets run.
"""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.group import Rows
from dsformer_core.errors import UsageError

Array = npt.NDArray[np.float64]

log = logging.getLogger(__name__)

# Degrees within which headings are one heading, and directions one street's.
_ONE_HEADING = 2.0
_ONE_STREET = 30.0
# Share of headings that must be the same to be suspected.
_NEARLY_ALL = 0.99
# Share of streets that may lie elsewhere. On generated cities tracks contradict true headings in up to 0.10 of the
# classes, mostly at crossings, and zeros in 0.48 or more; 0.31 or more of the streets are not parallel to the others.
_STRAY = 0.2
# Headings, or streets, that are looked at: fewer than the first say nothing, more than the second nothing new.
_FEWEST, _MOST = 10, 1000


def refuse_one_heading(headings_deg: Array, utm: Array) -> None:
    """Refuses headings that are one value throughout where the streets they are of are not all parallel.

    Args:
        headings_deg: (N,) degrees clockwise from north, NaN where unknown.
        utm: (N, 2) metres.

    Raises:
        UsageError: nearly all vehicles headed, or cameras looked, the same way on streets that run several ways.
    """
    known = np.flatnonzero(np.isfinite(headings_deg))
    if len(known) < _FEWEST:
        return
    headings = headings_deg[known]
    heading = int(np.bincount(np.mod(np.round(headings), 360).astype(np.int64)).argmax())
    same = np.mean(np.abs(np.mod(headings - heading + 180, 360) - 180) <= _ONE_HEADING)
    if same < _NEARLY_ALL:
        return
    # Of the same locations whatever order they come in. Streets where no heading is known may run as they like.
    positions = utm[known]
    some = np.lexsort((positions[:, 1], positions[:, 0]))[_spread(len(positions))]
    streets = _along_tracks(utm, positions[some])
    # The mean of lines, which have no ends: of doubled angles.
    common = np.angle(np.exp(2j * streets).mean()) / 2
    if np.mean(_between(streets, common) > _ONE_STREET) > _STRAY:
        raise UsageError(
            f"{100 * same:.3g} % of the known headings are about {heading} degrees, but streets run several ways: "
            "nobody headed or looked there throughout. Give true headings; for panoramas that are all turned to the "
            "same direction, choose the direction 'surroundings'"
        )


def warn_of_other_streets(streets: Array, utm: Array, classes: Sequence[Rows]) -> None:
    """Warns where headings and tracks show different streets, in more classes than crossings explain.

    Args:
        streets: (K, 2) unit vectors: the direction of each class's street, by headings.
        utm: (N, 2) metres, all locations.
        classes: rows of each class.
    """
    chosen = _spread(len(classes))
    if len(chosen) < _FEWEST:
        return
    centres = np.array([utm[classes[number]].mean(axis=0) for number in chosen])
    by_headings = np.arctan2(streets[chosen, 1], streets[chosen, 0])
    stray = np.mean(_between(by_headings, _along_tracks(utm, centres)) > _ONE_STREET)
    if stray > _STRAY:
        log.warning(
            "in %.0f %% of the classes, headings lie over %.0f degrees off the street that tracks show: if they do not "
            "say where vehicles headed, choose the direction 'surroundings'",
            100 * stray,
            _ONE_STREET,
        )


def _along_tracks(utm: Array, centres: Array) -> Array:
    """Radians counterclockwise from east: `surrounding_directions`, which is compiled only where it is asked."""
    from dsformer_core.clustering.surroundings import surrounding_directions

    return surrounding_directions(utm, centres)


def _spread(count: int) -> npt.NDArray[np.int64]:
    """Up to `_MOST` of so many numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(np.int64))


def _between(first: Array, second: npt.ArrayLike) -> Array:
    """Degrees between lines given in radians, [0, 90]."""
    return np.abs(np.mod(np.degrees(first - np.asarray(second)) + 90, 180) - 90)
