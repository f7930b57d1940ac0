"""Classes of ordinary pictures: each sees one way only, so a place's pictures are told apart by heading."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.group import FRONTAL, LATERAL, Group
from dsformer_core.clustering.heading_checks import refuse_one_heading
from dsformer_core.clustering.positions import check_headings
from dsformer_core.errors import UsageError

# Quarters of the compass about the street: ahead, left, back, right.
_QUARTERS = 4


def split_by_heading(
    groups: Sequence[Group], utm: npt.ArrayLike, headings_deg: npt.ArrayLike, *, min_images: int
) -> list[Group]:
    """Splits every class into up to four: pictures looking along its street, either way, and to its two sides.

    Args:
        groups: of classes that know their street (`Group.frontal`).
        utm: (N, 2) metres, what was clustered.
        headings_deg: (N,) where each picture looks, degrees clockwise from north. Pictures with NaN are left out.
        min_images: quarters with fewer pictures are left out.

    Returns:
        As many groups, with `Group.angles`: `FRONTAL` where a class looks along its street, `LATERAL` where across it.
        The focal point of that view lies ahead of the pictures.

    Raises:
        UsageError: no picture has a heading, or headings cannot be used; see `check_headings` and
            `refuse_one_heading`.
    """
    positions = np.asarray(utm, np.float64)
    headings = check_headings(headings_deg, len(positions))
    if headings is None:
        raise UsageError("no picture has a heading, and without one a class of pictures has no view: add headings")
    refuse_one_heading(headings, positions)
    return [_split(group, positions, headings, min_images) for group in groups]


def _split(group: Group, utm: npt.NDArray[np.float64], headings: npt.NDArray[np.float64], min_images: int) -> Group:
    classes, peaks, lateral, frontal, angles = [], [], [], [], []
    for number, rows in enumerate(group.classes):
        known = rows[np.isfinite(headings[rows])]
        centre = utm[rows].mean(axis=0)
        ahead = group.frontal[number] - centre
        street = np.degrees(np.arctan2(ahead[0], ahead[1]))
        # Half-open quarters, the first about the street's direction.
        quarter = np.floor(np.mod(headings[known] - street + 45, 360) / 90).astype(int) % _QUARTERS
        for side in range(_QUARTERS):
            members = known[quarter == side]
            if len(members) < min_images:
                continue
            classes.append(members)
            peaks.append(group.peaks[number])
            towards_street = ahead if side == 0 else -ahead
            right = np.array([ahead[1], -ahead[0]])
            towards_side = right if side == 1 else -right
            frontal.append(centre + towards_street)
            lateral.append(centre + towards_side)
            angles.append(LATERAL if side % 2 else FRONTAL)
    return Group(
        classes=classes,
        peaks=np.array(peaks).reshape(-1, 2),
        lateral=np.array(lateral).reshape(-1, 2),
        frontal=np.array(frontal).reshape(-1, 2),
        angles=np.array(angles, np.int32),
    )
