"""WGS-84 positions <-> UTM <-> the local map frame, and compass headings <-> ENU yaws.

Everything is float64 and works on whole arrays. A map lives in one UTM zone, so positions are forced into that zone
even where they lie beyond its border or across the equator. The zone rules come from the `utm` package. Its projection
does not: that is a series in the longitude, 1 cm off one zone away and half a metre after a round trip two zones away.
Here the projection is Krüger's series in the third flattening (C. F. F. Karney, "Transverse Mercator with an accuracy
of a few nanometers", J. Geodesy 85, 2011, equations 7 to 11 and 35 to 36), which keeps a micrometre throughout.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import utm

from dsformer_core.errors import UsageError

Array = npt.NDArray[np.float64]

SOUTHERNMOST = -80.0
NORTHERNMOST = 84.0
# Degrees from the central meridian up to which a position may be forced into a zone: five zones either way.
REACH = 30.0

_SCALE = 0.9996
_FALSE_EASTING = 500_000.0
_FALSE_NORTHING_SOUTH = 10_000_000.0

_SEMI_MAJOR_AXIS = 6_378_137.0
_FLATTENING = 1 / 298.257223563
_ECCENTRICITY = math.sqrt(_FLATTENING * (2 - _FLATTENING))

_n = _FLATTENING / (2 - _FLATTENING)
_RECTIFYING_RADIUS = _SEMI_MAJOR_AXIS / (1 + _n) * (1 + _n**2 / 4 + _n**4 / 64)
# Karney (2011), equations 35 (conformal to rectifying sphere) and 36 (back), up to the fourth order in n.
_ALPHA = (
    _n / 2 - 2 / 3 * _n**2 + 5 / 16 * _n**3 + 41 / 180 * _n**4,
    13 / 48 * _n**2 - 3 / 5 * _n**3 + 557 / 1440 * _n**4,
    61 / 240 * _n**3 - 103 / 140 * _n**4,
    49561 / 161280 * _n**4,
)
_BETA = (
    _n / 2 - 2 / 3 * _n**2 + 37 / 96 * _n**3 - 1 / 360 * _n**4,
    1 / 48 * _n**2 + 1 / 15 * _n**3 - 437 / 1440 * _n**4,
    17 / 480 * _n**3 - 37 / 840 * _n**4,
    4397 / 161280 * _n**4,
)

# A band letter is one of MGRS's: C to X without I and O.
_ZONE = re.compile(r"\s*(\d{1,2})\s*([C-HJ-NP-X])\s*", re.IGNORECASE)


@dataclass(frozen=True)
class UtmZone:
    """One UTM zone on one hemisphere, written "33N" or "56S".

    Attributes:
        number: 1 to 60, counted eastward from 180 degrees west.
        northern: whether northings count from the equator (True) or from 10,000 km south of it (False).
    """

    number: int
    northern: bool

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 60:
            raise UsageError(f"UTM zone {self.number} does not exist: zones are numbered 1 to 60")

    def __str__(self) -> str:
        return f"{self.number}{'N' if self.northern else 'S'}"

    @property
    def central_meridian(self) -> float:
        """Longitude of the zone's middle, in degrees."""
        return 6.0 * self.number - 183.0

    @classmethod
    def parse(cls, text: str) -> "UtmZone":
        """The zone that a person wrote, e.g. "33N", "56S" or, with MGRS's latitude band, "33V".

        "S" is both "southern hemisphere" and a northern band (32 to 40 degrees north); here it always means southern.
        Use `from_band` where the letter is known to be a band.

        Raises:
            UsageError: `text` is not a zone.
        """
        match = _ZONE.fullmatch(text)
        if not match or not 1 <= int(match[1]) <= 60:
            raise UsageError(f"'{text}' is not a UTM zone: write its number and hemisphere, e.g. 33N or 56S")
        letter = match[2].upper()
        return cls(int(match[1]), letter != "S" and letter >= "N")

    @classmethod
    def from_band(cls, number: int, band: str) -> "UtmZone":
        """The zone of an MGRS grid zone designator; N to X are northern latitude bands, C to M southern ones.

        Raises:
            UsageError: there is no such zone or band.
        """
        if not _ZONE.fullmatch(f"{number}{band}"):
            raise UsageError(f"'{number}{band}' is not a UTM zone number and latitude band, e.g. 33V")
        return cls(number, band.upper() >= "N")

    @classmethod
    def of(cls, latitude: float, longitude: float) -> "UtmZone":
        """The zone in which a position lies, with the exceptions for Norway and Svalbard.

        Raises:
            UsageError: the position is not finite, not on Earth, or too near a pole for UTM.
        """
        check_latlon(latitude, longitude)
        return cls(int(utm.latlon_to_zone_number(float(latitude), float(longitude))), bool(latitude >= 0))


@dataclass(frozen=True)
class Datum:
    """Where the local map frame has its origin: degrees and metres on WGS-84."""

    latitude: float
    longitude: float
    altitude: float = 0.0

    def __post_init__(self) -> None:
        check_latlon(self.latitude, self.longitude)
        if not math.isfinite(self.altitude):
            raise UsageError(f"the datum's altitude is {self.altitude}: give metres above the ellipsoid, or 0")


@dataclass(frozen=True)
class MapFrame:
    """The ROS `map` frame of a place map: origin at a datum, axes along UTM grid east and grid north."""

    datum: Datum
    zone: UtmZone

    @property
    def origin(self) -> Array:
        """UTM easting and northing of the datum, shape (2,), metres."""
        return to_utm(self.datum.latitude, self.datum.longitude, self.zone)

    def to_local(self, utm: npt.ArrayLike) -> Array:
        """UTM easting and northing (..., 2) -> metres east and north of the datum (..., 2)."""
        return np.asarray(utm, np.float64) - self.origin

    def to_utm(self, local: npt.ArrayLike) -> Array:
        """Metres east and north of the datum (..., 2) -> UTM easting and northing (..., 2)."""
        return np.asarray(local, np.float64) + self.origin


def check_latlon(latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> None:
    """Refuses positions that UTM cannot express.

    Args:
        latitude: degrees, any shape.
        longitude: degrees, same shape.

    Raises:
        UsageError: names the first row that is not finite, not on Earth, or too near a pole.
    """
    latitude, longitude = np.broadcast_arrays(np.asarray(latitude, np.float64), np.asarray(longitude, np.float64))
    # Comparisons with NaN are False, so NaN and infinity are caught as well.
    good = (latitude >= SOUTHERNMOST) & (latitude <= NORTHERNMOST) & (np.abs(longitude) <= 180)
    if np.all(good):
        return
    row = int(np.flatnonzero(~good)[0])
    where = f"row {row}: " if good.ndim else ""
    raise UsageError(
        f"{where}latitude {latitude.flat[row]}, longitude {longitude.flat[row]} is not a usable position: "
        f"UTM holds latitudes from {SOUTHERNMOST:.0f} to {NORTHERNMOST:.0f} and longitudes from -180 to 180 degrees"
    )


def to_utm(latitude: npt.ArrayLike, longitude: npt.ArrayLike, zone: UtmZone) -> Array:
    """Projects WGS-84 positions into one zone, wherever they lie. NaN stays NaN.

    Args:
        latitude: degrees, shape (...).
        longitude: degrees, shape (...).
        zone: the zone to force them into. Its hemisphere decides the false northing, so northings run on smoothly
            across the equator (negative south of it in a northern zone).

    Returns:
        Easting and northing, metres, shape (..., 2).

    Raises:
        UsageError: a position is more than `REACH` degrees of longitude from the zone's central meridian.
    """
    isometric, longitude_difference = _about_central_meridian(latitude, longitude, zone)
    conformal = _conformal_sphere(isometric, longitude_difference)
    rectified = conformal + sum(a * np.sin(2 * j * conformal) for j, a in enumerate(_ALPHA, start=1))
    easting = _FALSE_EASTING + _SCALE * _RECTIFYING_RADIUS * rectified.imag
    northing = _false_northing(zone) + _SCALE * _RECTIFYING_RADIUS * rectified.real
    return np.stack([easting, northing], axis=-1)


def to_latlon(utm: npt.ArrayLike, zone: UtmZone) -> tuple[Array, Array]:
    """The inverse of `to_utm`.

    Args:
        utm: easting and northing, metres, shape (..., 2).
        zone: the zone they are given in.

    Returns:
        Latitude and longitude, degrees, each of shape (...); longitude in [-180, 180].
    """
    utm = np.asarray(utm, np.float64)
    northing = utm[..., 1] - _false_northing(zone)
    rectified = (northing + 1j * (utm[..., 0] - _FALSE_EASTING)) / (_SCALE * _RECTIFYING_RADIUS)
    conformal = rectified - sum(b * np.sin(2 * j * rectified) for j, b in enumerate(_BETA, start=1))
    sinh_east, cos_north = np.sinh(conformal.imag), np.cos(conformal.real)
    longitude = zone.central_meridian + np.degrees(np.arctan2(sinh_east, cos_north))
    tan_latitude = _geodetic_tangent(np.sin(conformal.real) / np.hypot(sinh_east, cos_north))
    # Only where needed, because the wrapping itself rounds.
    longitude = np.where(np.abs(longitude) > 180, longitude - 360 * np.round(longitude / 360), longitude)
    return np.degrees(np.arctan(tan_latitude)), longitude


def grid_convergence(latitude: npt.ArrayLike, longitude: npt.ArrayLike, zone: UtmZone) -> Array:
    """The angle from true north to grid north, clockwise, at WGS-84 positions (Karney 2011, equations 23 to 26).

    True bearing = grid bearing + convergence. It is positive where grid north lies east of true north: east of the
    central meridian in the northern hemisphere, west of it in the southern.

    Args:
        latitude: degrees, shape (...).
        longitude: degrees, shape (...).
        zone: the zone whose grid is meant.

    Returns:
        Radians, shape (...).

    Raises:
        UsageError: a position is out of the zone's reach, as for `to_utm`.
    """
    isometric, longitude_difference = _about_central_meridian(latitude, longitude, zone)
    conformal = _conformal_sphere(isometric, longitude_difference)
    stretch = 1 + sum(2 * j * a * np.cos(2 * j * conformal) for j, a in enumerate(_ALPHA, start=1))
    return np.arctan(np.tan(longitude_difference) * np.tanh(isometric)) - np.angle(stretch)


def heading_to_yaw(heading_deg: npt.ArrayLike, convergence: npt.ArrayLike) -> Array:
    """Compass headings (degrees clockwise from true north) -> yaws (radians, ENU, about the UTM grid's axes).

    Args:
        heading_deg: degrees, any range, shape (...). NaN stays NaN.
        convergence: `grid_convergence` there, radians, shape (...).

    Returns:
        Yaw in (-pi, pi], shape (...).
    """
    grid_bearing = np.radians(np.asarray(heading_deg, np.float64)) - np.asarray(convergence, np.float64)
    return wrap_angle(np.pi / 2 - grid_bearing)


def yaw_to_heading(yaw: npt.ArrayLike, convergence: npt.ArrayLike) -> Array:
    """The inverse of `heading_to_yaw`: degrees in [0, 360), shape (...). NaN stays NaN."""
    true_bearing = np.pi / 2 - np.asarray(yaw, np.float64) + np.asarray(convergence, np.float64)
    heading = np.mod(np.degrees(true_bearing), 360.0)
    # The remainder of a tiny negative number rounds to the divisor itself.
    return np.where(heading == 360.0, 0.0, heading)


def wrap_angle(radians: npt.ArrayLike) -> Array:
    """The same direction in (-pi, pi], shape kept. Angles already there are returned as they are; NaN stays NaN."""
    radians = np.asarray(radians, np.float64)
    wrapped = np.pi - np.mod(np.pi - radians, 2 * np.pi)
    wrapped = np.where(wrapped <= -np.pi, np.pi, wrapped)
    return np.where((radians > -np.pi) & (radians <= np.pi), radians, wrapped)


def _false_northing(zone: UtmZone) -> float:
    return 0.0 if zone.northern else _FALSE_NORTHING_SOUTH


def _about_central_meridian(latitude: npt.ArrayLike, longitude: npt.ArrayLike, zone: UtmZone) -> tuple[Array, Array]:
    """Isometric latitude, and longitude from the central meridian in radians."""
    latitude, longitude = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
    difference = np.mod(longitude - zone.central_meridian + 180.0, 360.0) - 180.0
    far = np.flatnonzero(np.abs(difference) > REACH)
    if far.size:
        where = f"row {far[0]}: " if difference.ndim else ""
        raise UsageError(
            f"{where}longitude {np.broadcast_to(longitude, difference.shape).flat[far[0]]} is more than "
            f"{REACH:.0f} degrees from UTM zone {zone}: positions so far apart do not fit into one zone"
        )
    phi = np.radians(latitude)
    isometric = np.arcsinh(np.tan(phi)) - _ECCENTRICITY * np.arctanh(_ECCENTRICITY * np.sin(phi))
    return isometric, np.radians(difference)


def _conformal_sphere(isometric: Array, longitude_difference: Array) -> npt.NDArray[np.complex128]:
    """Transverse Mercator of the conformal sphere: northing + i easting, in radii (Karney 2011, equation 10)."""
    sinh_isometric, cos_longitude = np.sinh(isometric), np.cos(longitude_difference)
    north = np.arctan2(sinh_isometric, cos_longitude)
    return north + 1j * np.arcsinh(np.sin(longitude_difference) / np.hypot(sinh_isometric, cos_longitude))


def _geodetic_tangent(conformal_tangent: Array) -> Array:
    """Tangent of the geodetic latitude from that of the conformal, by Newton (Karney 2011, equations 19 to 21)."""
    inverse_square = 1 / (1 - _ECCENTRICITY**2)
    tangent = conformal_tangent * inverse_square
    # Each step squares the relative error, which starts below e^2 = 0.007.
    for _ in range(3):
        secant = np.hypot(1, tangent)
        sigma = np.sinh(_ECCENTRICITY * np.arctanh(_ECCENTRICITY * tangent / secant))
        reached = tangent * np.hypot(1, sigma) - sigma * secant
        slope = np.hypot(1, reached) * secant / (inverse_square + tangent**2)
        tangent = tangent + (conformal_tangent - reached) / slope
    return tangent
