"""Where the references of one map are: one UTM zone for all, one thing that altitudes are measured from."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import (
    Datum,
    MapFrame,
    UtmZone,
    check_latlon,
    grid_convergence,
    heading_to_yaw,
    to_latlon,
    to_utm,
)

# Beyond this from the middle the grid's scale is off by more than 0.3 %, and no robot drives there.
LARGEST_EXTENT = 500e3
EARTH_RADIUS = 6371e3

Numbers = npt.NDArray[np.float64]

POSITION = ("latitude", "longitude", "altitude", "heading_deg", "altitude_reference")
"""The columns that say where references are, and what their altitudes are above."""


@dataclass(frozen=True, eq=False)
class Placement:
    """N references in the grid of their map.

    Attributes:
        zone: of all of them.
        utm: (N, 2) easting and northing, metres.
        yaw: (N,) radians, NaN where unknown.
        altitude: (N,) metres above `altitude_reference`, NaN where unknown.
        altitude_reference: "ellipsoid", "sea level" or "unknown".
    """

    zone: UtmZone
    utm: Numbers
    yaw: Numbers
    altitude: Numbers
    altitude_reference: str


def place(
    positions: pa.Table,
    *,
    zone: UtmZone | None = None,
    altitude_reference: str | None = None,
    name: Callable[[int], str] = "reference {}".format,
) -> Placement:
    """Puts references into one grid; those beyond a zone's border are forced into it.

    Args:
        positions: of the columns `POSITION`, N >= 1 rows.
        zone: of a map that exists; None for that of the middle.
        altitude_reference: of a map that exists; None for what most altitudes are above. Others become NaN.
        name: what a message calls the reference of a row.

    Raises:
        UsageError: a reference lies too far from the others.
    """
    latitude, longitude, altitude, heading_deg = (positions.column(column).to_numpy() for column in POSITION[:4])
    check_latlon(latitude, longitude)
    # On the sphere, because between longitudes 179 and -179 there is one degree of sea, and not the whole world.
    north, east = np.radians(latitude), np.radians(longitude)
    sphere = np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    x, y, z = np.median(sphere, axis=0)
    away = EARTH_RADIUS * np.linalg.norm(sphere - (x, y, z), axis=1)
    far = int(np.argmax(away))
    if away[far] > LARGEST_EXTENT:
        raise UsageError(
            f"{name(far)} lies at {latitude[far]:.5f}, {longitude[far]:.5f}, more than "
            f"{LARGEST_EXTENT / 1e3:.0f} km from the others: correct its position, or make several maps"
        )
    if zone is None:
        zone = UtmZone.of(float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x))))
    yaw = heading_to_yaw(heading_deg, grid_convergence(latitude, longitude, zone))
    references = positions.column("altitude_reference").to_numpy()
    if altitude_reference is None:
        known = Counter(references[np.isfinite(altitude)].tolist())
        altitude_reference = known.most_common(1)[0][0] if known else "unknown"
    comparable = np.where(references == altitude_reference, altitude, np.nan)
    return Placement(zone, to_utm(latitude, longitude, zone), yaw, comparable, altitude_reference)


def frame_of(placement: Placement) -> MapFrame:
    """A frame with its origin in the middle of the references, to a centimetre: medians of what is known."""
    latitude, longitude = to_latlon(np.median(placement.utm, axis=0), placement.zone)
    known = placement.altitude[np.isfinite(placement.altitude)]
    altitude = round(float(np.median(known)), 2) if len(known) else 0.0
    return MapFrame(Datum(round(float(latitude), 7), round(float(longitude), 7), altitude), placement.zone)
