"""What every source of geotagged pictures gives, whatever it reads: a folder, a manifest, a bag, panoramas."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dsformer_core.geodesy import NORTHERNMOST, SOUTHERNMOST, UtmZone
from dsformer_core.pictures import PictureLoader

# Seconds from 1970, either way: whoever exceeds it (the years 1653 and 2286) has no set clock, or counts milliseconds.
LATEST_TIMESTAMP = 1e10
NO_POSITION = "no position"
# Metres; `geodesy.REACH` degrees along the equator are 3503 km of a zone's easting.
_FURTHEST_EAST = 3.6e6

# What an altitude is measured from. The ellipsoid (WGS-84, what ROS means) and the sea level differ by up to 107 m.
AltitudeReference = Literal["sea level", "ellipsoid", "unknown"]


@dataclass(frozen=True)
class GeotaggedPicture:
    """A picture that knows where it was taken; its pixels are decoded only when asked for.

    Attributes:
        id: unique in its source; a relative POSIX path where there is one.
        latitude: degrees, WGS-84, within UTM's validity.
        longitude: degrees, WGS-84.
        image: what the map stores to find the picture again: an absolute path, or a bag reference.
        load: decodes it: HxWx3 uint8 RGB, upright; smaller where `at_least`, a width and height, suffice. Raises
            PictureError. Safe to call from any thread.
        altitude: metres above `altitude_reference`; NaN where unknown.
        heading_deg: where the camera looked, degrees clockwise from true north, [0, 360); NaN where unknown.
        timestamp: seconds since 1970, UTC; NaN where unknown.
        altitude_reference: what the altitude is measured from.
        source: which of several it comes from; empty where its source is one.
        camera_yaw_deg: where its camera looks on the vehicle, counter-clockwise from straight ahead; 0 where unknown.
    """

    id: str
    latitude: float
    longitude: float
    image: str
    load: PictureLoader
    altitude: float = math.nan
    heading_deg: float = math.nan
    timestamp: float = math.nan
    altitude_reference: AltitudeReference = "unknown"
    source: str = ""
    camera_yaw_deg: float = 0.0


@dataclass(frozen=True)
class Skipped:
    """Something in a source that cannot become a reference.

    Attributes:
        image: its path or row, or that of what several are in.
        reason: in words, without the name.
        count: how many it is.
    """

    image: str
    reason: str
    count: int = 1


@dataclass(frozen=True, eq=False)
class Locations:
    """Where pictures were taken, in columns: of millions of pictures, objects would fill the memory.

    Attributes:
        ids: (N,) large_string, see `GeotaggedPicture.id`.
        latitude: (N,) degrees, WGS-84, within UTM's validity.
        longitude: (N,) degrees, WGS-84.
        heading_deg: (N,) degrees clockwise from true north, [0, 360); NaN where unknown.
        skipped: what was left out, and why.
    """

    ids: pa.LargeStringArray
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    heading_deg: npt.NDArray[np.float64]
    skipped: list[Skipped]

    @classmethod
    def of(cls, pictures: Sequence[GeotaggedPicture], skipped: list[Skipped]) -> "Locations":
        """What `Source.scan` returned."""
        return cls(
            pa.array([picture.id for picture in pictures], pa.large_string()),
            np.array([picture.latitude for picture in pictures], np.float64),
            np.array([picture.longitude for picture in pictures], np.float64),
            np.array([picture.heading_deg for picture in pictures], np.float64),
            skipped,
        )


class Source(Protocol):
    """Where geotagged pictures come from.

    Attributes:
        name: what to call a map made of it.
    """

    name: str

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Finds every picture and its position; decodes none.

        Args:
            on_progress: called with the number of pictures looked at since its last call.

        Returns:
            The pictures in the source's order (natural order of names, rows, or time), and what was left out and why.

        Raises:
            DsformerError: the source as a whole cannot be read.
        """
        ...


def off_the_grid(easting: float, northing: float, zone: UtmZone) -> bool:
    """Whether UTM coordinates lie beyond what can be forced into a zone: further than `geodesy.REACH`, or than a pole.

    Args:
        easting: metres; NaN is off no grid.
        northing: metres.
        zone: of both.
    """
    return abs(easting - 500e3) > _FURTHEST_EAST or abs(northing - (0 if zone.northern else 1e7)) > 1e7


def why_unusable(latitude: float, longitude: float) -> str | None:
    """Why a position cannot be that of a picture in a map; None where it can."""
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        return NO_POSITION
    if latitude == 0 and longitude == 0:
        return "its position is 0, 0: the camera had no fix"
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return f"its position is out of range (latitude {latitude:g}, longitude {longitude:g})"
    if not SOUTHERNMOST <= latitude <= NORTHERNMOST:
        return f"latitude {latitude:g} is too near a pole for UTM ({SOUTHERNMOST:.0f} to {NORTHERNMOST:.0f})"
    return None
