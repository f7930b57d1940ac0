"""Where a vehicle was, and from that where it went, at any time between two known positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt

from dsformer_core.sources.interpolation import centred, compass, interpolate
from dsformer_core.sources.source import AltitudeReference
from dsformer_core.tangent_plane import metres_per_degree

Array = npt.NDArray[np.float64]

# Seconds before and after a moment: from where to where a course is taken.
COURSE_REACH = 1.0
# Metres per second; who is slower mostly follows the noise of the positions.
SLOWEST = 0.5


@dataclass(frozen=True, eq=False)
class Track:
    """Positions in ascending order of time.

    Attributes:
        time: (N,) seconds since 1970, strictly ascending.
        latitude: (N,) degrees, WGS-84.
        longitude: (N,) degrees.
        altitude: (N,) metres above `altitude_reference`, NaN where unknown.
        altitude_reference: what altitudes are measured from.
        max_gap: seconds between two positions that may at most be bridged.
    """

    time: Array
    latitude: Array
    longitude: Array
    altitude: Array
    altitude_reference: AltitudeReference
    max_gap: float

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], reference: AltitudeReference, max_gap: float) -> "Track":
        """The track of (time, latitude, longitude, altitude) in any order; of two at one time the first counts."""
        table = np.array(rows, np.float64).reshape(-1, 4)
        _, first = np.unique(table[:, 0], return_index=True)
        time, latitude, longitude, altitude = table[first].T
        return cls(time, latitude, longitude, altitude, reference, max_gap)

    def position(self, time: Array) -> tuple[Array, Array, Array]:
        """Latitude, longitude and altitude (M,) at times (M,); NaN where they are not between two near positions."""
        latitude = interpolate(self.time, self.latitude, time, self.max_gap)
        longitude = interpolate(self.time, self.longitude, time, self.max_gap, period=360)
        return latitude, longitude, interpolate(self.time, self.altitude, time, self.max_gap)

    def course(self, time: Array) -> Array:
        """Where the vehicle went at times (M,): degrees clockwise from true north, NaN where slow or unknown."""
        start, end = time - COURSE_REACH, time + COURSE_REACH
        here, before, after = (np.stack(self.position(moment)[:2]) for moment in (time, start, end))
        # At the ends of the track one half must do.
        start, end = np.where(np.isnan(before[0]), time, start), np.where(np.isnan(after[0]), time, end)
        before, after = np.where(np.isnan(before), here, before), np.where(np.isnan(after), here, after)
        per_latitude, per_longitude = metres_per_degree(here[0])
        north = (after[0] - before[0]) * per_latitude
        east = centred(after[1] - before[1], 360) * per_longitude
        with np.errstate(invalid="ignore"):
            moving = np.hypot(north, east) >= SLOWEST * np.maximum(end - start, 1e-9)
        return np.where(moving, compass(np.degrees(np.arctan2(east, north))), np.nan)


def span(times: Array) -> str:
    """First and last of some times, for messages."""
    first, last = (datetime.fromtimestamp(float(t), timezone.utc) for t in (np.min(times), np.max(times)))
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
