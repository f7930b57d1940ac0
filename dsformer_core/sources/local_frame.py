"""Where a robot's own metric frame (`map`, `odom`) lies on Earth."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import Datum
from dsformer_core.sources.interpolation import compass
from dsformer_core.tangent_plane import plane_to_geodetic

Array = npt.NDArray[np.float64]

# What REP-103 says of frames with a geographic meaning: x is east.
EAST = 90.0


@dataclass(frozen=True)
class LocalFrame:
    """A frame whose origin is at a datum; z is up.

    Attributes:
        latitude: of the origin, degrees, WGS-84.
        longitude: of the origin, degrees.
        altitude: of the origin, metres above the ellipsoid; NaN where unknown.
        heading_deg: where the x axis points, degrees clockwise from true north.
    """

    latitude: float
    longitude: float
    altitude: float = math.nan
    heading_deg: float = EAST

    def __post_init__(self) -> None:
        self._datum()
        if not math.isfinite(self.heading_deg):
            raise UsageError(f"the datum's heading is {self.heading_deg}: give degrees clockwise from north")

    @classmethod
    def parse(cls, text: str) -> "LocalFrame":
        """The frame that a person wrote: "LAT,LON[,ALT[,HEADING]]".

        Raises:
            UsageError: that is no datum.
        """
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not 2 <= len(numbers) <= 4:
            raise UsageError(f"datum '{text}' is not LAT,LON[,ALT[,HEADING]], e.g. 55.7,13.19 or 55.7,13.19,42.0,90")
        return cls(*numbers)

    def to_geodetic(self, points: npt.ArrayLike) -> tuple[Array, Array, Array]:
        """Positions (N, 3) in this frame -> latitude and longitude in degrees, altitude above the ellipsoid or NaN."""
        x, y, z = np.asarray(points, np.float64).T
        turn = math.radians(self.heading_deg)
        east = x * math.sin(turn) - y * math.cos(turn)
        north = x * math.cos(turn) + y * math.sin(turn)
        latitude, longitude, altitude = plane_to_geodetic(np.column_stack([east, north, z]), self._datum())
        return latitude, longitude, altitude if math.isfinite(self.altitude) else np.full(len(x), np.nan)

    def heading(self, yaw: Array) -> Array:
        """Yaws in this frame (radians, counter-clockwise from x) -> compass degrees in [0, 360)."""
        return compass(self.heading_deg - np.degrees(yaw))

    def _datum(self) -> Datum:
        return Datum(self.latitude, self.longitude, 0.0 if math.isnan(self.altitude) else self.altitude)
