"""Positions as data sets give them -> coordinates in metres in which distances can be taken.

The field measures the 25 m in UTM coordinates, and so do we, digit for digit, wherever all pictures lie in one zone or
the data set names none. Only where it spans several are positions moved: neighbouring zones into their most common one,
so that a street across their border stays whole; zones that do not touch are kept apart by a third coordinate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone, to_latlon, to_utm
from dsformer_core.sources import FolderSource
from dsformer_core.sources.at_names import parse_at_name

# Farther apart than any two places on Earth are in one zone.
_APART = 1e9


@dataclass(frozen=True)
class Located:
    """Where one picture was taken: UTM coordinates in metres; a data set may leave the zone out."""

    easting: float
    northing: float
    zone: UtmZone | None


def locate(folder: Path, names: Sequence[str], *, zone: UtmZone | None = None) -> list[Located]:
    """Finds where pictures were taken: in their '@' names, else in EXIF.

    Args:
        folder: what `names` are relative to.
        names: picture files.
        zone: of names that give UTM coordinates without one.

    Raises:
        DsformerError: a picture says nowhere where it was taken; names the first such and counts the others.
    """
    parsed = [parse_at_name(Path(name)) for name in names]
    if all(at_name is not None for at_name in parsed):
        return [Located(at.easting, at.northing, at.zone or zone) for at in parsed if at is not None]
    pictures, skipped = FolderSource(folder, zone=zone).scan()
    by_name = {picture.id: picture for picture in pictures}
    missing = [name for name in names if name not in by_name]
    if missing:
        reasons = {Path(item.image).absolute(): item.reason for item in skipped}
        reason = reasons.get((folder / missing[0]).absolute(), "no position")
        others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise DsformerError(
            f"{folder / missing[0]}{others}: {reason}; pictures need GPS in EXIF or names @easting@northing@…@.jpg"
        )
    located = []
    for name in names:
        picture = by_name[name]
        own = UtmZone.of(picture.latitude, picture.longitude)
        easting, northing = to_utm(picture.latitude, picture.longitude, own)
        located.append(Located(float(easting), float(northing), own))
    return located


def in_metres(*groups: Sequence[Located]) -> list[npt.NDArray[np.float64]]:
    """Coordinates in which pictures of all groups can be compared.

    Returns:
        Per group (N, 2), or (N, 3) where the pictures lie in zones that do not touch.

    Raises:
        UsageError: some pictures name a zone and others do not.
    """
    zones = {item.zone for group in groups for item in group}
    utm: list[npt.NDArray[np.float64]] = [
        np.array([(item.easting, item.northing) for item in group], np.float64).reshape(-1, 2) for group in groups
    ]
    if len(zones) <= 1:
        return utm
    if None in zones:
        raise UsageError(
            "some pictures name a UTM zone and others do not: say which zone those are in, e.g. --zone 33N"
        )
    counts = {zone: sum(item.zone == zone for group in groups for item in group) for zone in zones if zone is not None}
    regions = _regions(sorted({zone.number for zone in counts}))
    for coordinates, group in zip(utm, groups, strict=True):
        for region in regions:
            target = max((zone for zone in counts if zone.number in region), key=lambda zone: (counts[zone], str(zone)))
            for zone in counts:
                rows = [row for row, item in enumerate(group) if item.zone == zone and zone.number in region]
                if rows and zone != target:
                    coordinates[rows] = to_utm(*to_latlon(coordinates[rows], zone), target)
    if len(regions) == 1:
        return utm
    place = {number: index for index, region in enumerate(regions) for number in region}
    return [
        np.column_stack([xy, [_APART * place[item.zone.number] for item in group if item.zone is not None]])
        for xy, group in zip(utm, groups, strict=True)
    ]


def _regions(numbers: list[int]) -> list[set[int]]:
    """Zone numbers grouped into runs of neighbours; 60 and 1 are neighbours, too."""
    regions: list[set[int]] = []
    for number in numbers:
        if regions and number - 1 in regions[-1]:
            regions[-1].add(number)
        else:
            regions.append({number})
    if len(regions) > 1 and 1 in regions[0] and 60 in regions[-1]:
        regions[0] |= regions.pop()
    return regions
