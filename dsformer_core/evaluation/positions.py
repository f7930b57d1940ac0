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
from dsformer_core.evaluation.benchmark import APART
from dsformer_core.geodesy import UtmZone, to_latlon, to_utm
from dsformer_core.sources import FolderSource
from dsformer_core.sources.at_names import parse_at_names


@dataclass(frozen=True, eq=False)
class Located:
    """Where pictures were taken.

    Attributes:
        utm: (N, 2) easting and northing, metres.
        zones: the zones that occur; None is one, too: a data set may leave the zone out.
        zone_numbers: (N,) which of `zones` each position is in.
    """

    utm: npt.NDArray[np.float64]
    zones: list[UtmZone | None]
    zone_numbers: npt.NDArray[np.int64]

    def rows_in(self, zone: UtmZone) -> npt.NDArray[np.int64]:
        """The pictures in one zone."""
        if zone not in self.zones:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.zone_numbers == self.zones.index(zone))


def locate(folder: Path, names: Sequence[str], *, zone: UtmZone | None = None) -> Located:
    """Finds where pictures were taken: in their '@' names, else in EXIF.

    Args:
        folder: what `names` are relative to.
        names: picture files.
        zone: of names that give UTM coordinates without one.

    Raises:
        DsformerError: a picture says nowhere where it was taken; names the first such and counts the others.
    """
    return _from_names(names, zone) or _from_files(folder, names, zone)


def in_metres(*groups: Located) -> list[npt.NDArray[np.float64]]:
    """Coordinates in which pictures of all groups can be compared.

    Returns:
        Per group (N, 2), or (N, 3) where the pictures lie in zones that do not touch.

    Raises:
        UsageError: some pictures name a zone and others do not.
    """
    zones = {zone for group in groups for zone in group.zones}
    if len(zones) <= 1:
        return [group.utm for group in groups]
    if None in zones:
        raise UsageError("some pictures name a UTM zone and others do not: say which theirs is, e.g. --zone 33N")
    counts = {zone: sum(len(group.rows_in(zone)) for group in groups) for zone in zones if zone is not None}
    regions = _regions(sorted({zone.number for zone in counts}))
    coordinates = [np.column_stack([group.utm, np.zeros(len(group.utm))]) for group in groups]
    for number, region in enumerate(regions):
        members = [zone for zone in counts if zone.number in region]
        common = max(members, key=lambda zone: (counts[zone], str(zone)))
        for zone in members:
            for moved, group in zip(coordinates, groups, strict=True):
                rows = group.rows_in(zone)
                if len(rows) and zone != common:
                    moved[rows, :2] = to_utm(*to_latlon(group.utm[rows], zone), common)
                moved[rows, 2] = number * APART
    return coordinates if len(regions) > 1 else [moved[:, :2] for moved in coordinates]


def _from_names(names: Sequence[str], default: UtmZone | None) -> Located | None:
    """From '@' names; None where one is not."""
    says = parse_at_names(names)
    if np.isnan(says.utm).any():
        return None
    each = [zone or default for zone in says.zones]
    zones = list(dict.fromkeys(each))
    return Located(says.utm, zones, np.array([zones.index(zone) for zone in each], np.int64)[says.zone_numbers])


def _from_files(folder: Path, names: Sequence[str], default: UtmZone | None) -> Located:
    pictures, skipped = FolderSource(folder, zone=default).scan()
    by_name = {picture.id: picture for picture in pictures}
    missing = [name for name in names if name not in by_name]
    if missing:
        reasons = {Path(item.image).absolute(): item.reason for item in skipped}
        reason = reasons.get((folder / missing[0]).absolute(), "not found")
        others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise DsformerError(
            f"{folder / missing[0]}{others}: {reason}; pictures need GPS in EXIF or names @easting@northing@…@.jpg"
        )
    positions = [(by_name[name].latitude, by_name[name].longitude) for name in names]
    own = [UtmZone.of(*position) for position in positions]
    zones: list[UtmZone | None] = list(dict.fromkeys(own))
    utm = np.array([to_utm(*position, zone) for position, zone in zip(positions, own, strict=True)])
    return Located(utm.reshape(-1, 2), zones, np.array([zones.index(zone) for zone in own], np.int64))


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
