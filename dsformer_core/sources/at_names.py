"""The file names of visual place recognition's data sets: fields between '@', positions in UTM.

    @easting@northing@zone number@zone letter@latitude@longitude@panorama@tile@heading@pitch@roll@height@time@note@.jpg

Fields count from 1 (field 0 is what stands before the first '@'); only the first two are required.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import NORTHERNMOST, SOUTHERNMOST, UtmZone, to_latlon
from dsformer_core.sources.source import off_the_grid

EASTING, NORTHING, ZONE_NUMBER, ZONE_LETTER, LATITUDE, LONGITUDE = 1, 2, 3, 4, 5, 6
HEADING, HEIGHT, TIME = 9, 12, 13

# The time may be cut from the right.
_TIME_LAYOUTS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 11: "%Y%m%d_%H", 13: "%Y%m%d_%H%M", 15: "%Y%m%d_%H%M%S"}

# Metres. A zone reaches 334 km either way from its central meridian; the rest is for who crosses its border.
_WITHIN_A_ZONE = 400e3


@dataclass(frozen=True)
class AtName:
    """What an '@' name says; NaN wherever it says nothing.

    Attributes:
        easting: metres.
        northing: metres.
        zone: None where the name gives no whole zone.
        latitude: degrees, to a metre at best.
        longitude: degrees, to a metre at best.
        heading_deg: degrees clockwise from north, [0, 360).
        height: metres.
        timestamp: seconds since 1970; the name's clock is taken as UTC.
    """

    easting: float
    northing: float
    zone: UtmZone | None
    latitude: float
    longitude: float
    heading_deg: float
    height: float
    timestamp: float

    def position(self, zone: UtmZone | None) -> tuple[float, float] | None:
        """Latitude and longitude, from UTM where its zone is known: from the name, else `zone`. None where neither."""
        if (known := self.zone or zone) is not None and self.why_unplaced(zone) is None:
            latitude, longitude = to_latlon((self.easting, self.northing), known)
            return float(latitude), float(longitude)
        if math.isfinite(self.latitude) and math.isfinite(self.longitude):
            return self.latitude, self.longitude
        return None

    def why_unplaced(self, zone: UtmZone | None) -> str | None:
        """Why easting and northing are no position, in words; None where they are one."""
        known = self.zone or zone
        if known is None:
            return "but no zone: name the zone, e.g. 33N"
        # Two small numbers between '@' are somebody's numbering; a zone that was not theirs does not make them a place.
        invented = self.zone is None and abs(self.easting - 500e3) > _WITHIN_A_ZONE
        if invented or off_the_grid(self.easting, self.northing, known):
            return f"that are not on Earth or not of zone {known} ({self.easting:g}, {self.northing:g})"
        return None


@dataclass(frozen=True, eq=False)
class AtColumns:
    """What many '@' names say of places, without an object for each.

    Attributes:
        utm: (N, 2) easting and northing, metres; NaN where the name is not one of these.
        zones: the zones that occur; None is one, too: a name may leave it out.
        zone_numbers: (N,) which of `zones` a name gives.
        heading_deg: (N,) degrees clockwise from north, [0, 360); NaN where unknown.
    """

    utm: npt.NDArray[np.float64]
    zones: list[UtmZone | None]
    zone_numbers: npt.NDArray[np.int64]
    heading_deg: npt.NDArray[np.float64]

    def plain_positions(self, zone: UtmZone | None) -> npt.NDArray[np.float64]:
        """Latitude and longitude (N, 2) of what lies well within its zone, or `zone` where the name gives none.

        NaN elsewhere: whether that is a position after all, `AtName.position` says.
        """
        positions = np.full_like(self.utm, np.nan)
        # Further from the central meridian, beyond a pole or on the equator, more than these numbers decides.
        easting, northing = self.utm.T
        plain = (np.abs(easting - 500e3) <= _WITHIN_A_ZONE) & (northing > 0) & (northing < 1e7)
        for number, own in enumerate(self.zones):
            if (known := own or zone) is not None:
                rows = np.flatnonzero(plain & (self.zone_numbers == number))
                positions[rows] = np.stack(to_latlon(self.utm[rows], known), axis=-1)
        positions[(positions[:, 0] < SOUTHERNMOST) | (positions[:, 0] > NORTHERNMOST)] = np.nan
        return positions


def parse_at_names(names: Iterable[str]) -> AtColumns:
    """What `parse_at_name` says of places, for millions of names: POSIX paths of files with a suffix."""
    easting, northing, heading, numbers = array("d"), array("d"), array("d"), array("q")
    known: dict[tuple[str, str, bool | None], int] = {}
    zones: list[UtmZone | None] = []
    for name in names:
        fields = _fields(name.rpartition("/")[2].rpartition(".")[0])
        easting.append(_number(fields[EASTING]))
        northing.append(_number(fields[NORTHING]))
        heading.append(_number(fields[HEADING]) % 360)
        latitude = _number(fields[LATITUDE])
        says = fields[ZONE_NUMBER], fields[ZONE_LETTER], latitude >= 0 if math.isfinite(latitude) else None
        if says not in known:
            known[says] = len(zones)
            zones.append(_zone(fields[ZONE_NUMBER], fields[ZONE_LETTER], latitude))
        numbers.append(known[says])
    utm = np.column_stack([easting, northing])
    utm[~np.isfinite(utm).all(axis=1)] = np.nan
    return AtColumns(utm, zones, np.array(numbers, np.int64), np.array(heading))


def parse_at_name(path: PurePath) -> AtName | None:
    """The fields of a file's name; None where it is not one of these names. Folders above it play no part."""
    fields = _fields(path.stem)
    easting, northing = _number(fields[EASTING]), _number(fields[NORTHING])
    if not (math.isfinite(easting) and math.isfinite(northing)):
        return None
    latitude = _number(fields[LATITUDE])
    return AtName(
        easting=easting,
        northing=northing,
        zone=_zone(fields[ZONE_NUMBER], fields[ZONE_LETTER], latitude),
        latitude=latitude,
        longitude=_number(fields[LONGITUDE]),
        heading_deg=_number(fields[HEADING]) % 360,
        height=_number(fields[HEIGHT]),
        timestamp=_time(fields[TIME]),
    )


def _fields(stem: str) -> list[str]:
    fields = stem.split("@")
    return fields + [""] * (TIME + 1 - len(fields))


def _zone(number: str, band: str, latitude: float) -> UtmZone | None:
    """The letter is a latitude band, so S is northern; a latitude, where given, settles the hemisphere."""
    try:
        if math.isfinite(latitude):
            return UtmZone(int(number), latitude >= 0)
        return UtmZone.from_band(int(number), band)
    except (ValueError, UsageError):
        return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _time(text: str) -> float:
    try:
        return datetime.strptime(text, _TIME_LAYOUTS[len(text)]).replace(tzinfo=timezone.utc).timestamp()
    except (KeyError, ValueError):
        return math.nan
