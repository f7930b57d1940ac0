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

# Pictures named in one message before it only counts.
_LISTED = 5


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


def locate(*folders: tuple[Path, Sequence[str]], zone: UtmZone | None = None) -> list[Located]:
    """Finds where the pictures of several folders were taken: in their '@' names, else in EXIF.

    Args:
        folders: each with the names of its picture files, relative to it.
        zone: of names that give UTM coordinates without one.

    Raises:
        DsformerError: pictures say nowhere where they were taken; names the first of all folders' and counts the rest.
    """
    located: list[Located] = []
    lost: list[str] = []
    for folder, names in folders:
        found = _from_names(names, zone)
        if found is None:
            found, without = _from_files(folder, names, zone)
            lost += without
        located.append(found)
    if lost:
        more = f" and {len(lost) - _LISTED:,} more" if len(lost) > _LISTED else ""
        raise DsformerError(
            f"{len(lost):,} of {sum(len(names) for _, names in folders):,} pictures cannot be placed: "
            f"{', '.join(lost[:_LISTED])}{more}; each needs GPS in EXIF or a name @easting@northing@…@.jpg, or must go"
        )
    return located


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


def _from_files(folder: Path, names: Sequence[str], default: UtmZone | None) -> tuple[Located, list[str]]:
    """From '@' names or EXIF, whichever each has; and the pictures that have neither, with the reason."""
    pictures, skipped = FolderSource(folder, zone=default).scan()
    by_name = {picture.id: picture for picture in pictures}
    reasons = {Path(item.image).absolute(): item.reason for item in skipped}
    lost = [
        f"{folder / name} ({reasons.get((folder / name).absolute(), 'not found')})"
        for name in names
        if name not in by_name
    ]
    positions = [(by_name[name].latitude, by_name[name].longitude) for name in names if name in by_name]
    own = [UtmZone.of(*position) for position in positions]
    zones: list[UtmZone | None] = list(dict.fromkeys(own))
    utm = np.array([to_utm(*position, zone) for position, zone in zip(positions, own, strict=True)])
    numbers = np.array([zones.index(zone) for zone in own], np.int64)
    return Located(utm.reshape(-1, 2), zones, numbers), lost


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
