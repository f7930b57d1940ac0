"""The plane that touches the ellipsoid at a datum: east, north, up, against the earth's axes (ECEF) and WGS-84."""

import numpy as np
import numpy.typing as npt

from dsformer_core.geodesy import Datum

Array = npt.NDArray[np.float64]

_SEMI_MAJOR_AXIS = 6_378_137.0
_FLATTENING = 1 / 298.257223563
_SEMI_MINOR_AXIS = _SEMI_MAJOR_AXIS * (1 - _FLATTENING)
_ECCENTRICITY_SQUARED = _FLATTENING * (2 - _FLATTENING)


def tangent_plane(datum: Datum) -> tuple[Array, Array]:
    """Pose of the plane's frame (x true east, y true north, z up) in the earth's frame (ECEF, REP-105's `earth`).

    Returns:
        Origin (3,), metres, and axes (3, 3), whose columns are east, north and up in ECEF.
    """
    latitude, longitude = np.radians(datum.latitude), np.radians(datum.longitude)
    normal = _SEMI_MAJOR_AXIS / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    flattened = np.array([1.0, 1.0, 1 - _ECCENTRICITY_SQUARED])
    return normal * flattened * up + datum.altitude * up, np.column_stack([east, np.cross(up, east), up])


def plane_to_geodetic(points: npt.ArrayLike, datum: Datum) -> tuple[Array, Array, Array]:
    """Positions in a datum's tangent plane as WGS-84.

    Args:
        points: (..., 3) metres east, north and up of the datum.
        datum: where the plane touches.

    Returns:
        Latitude and longitude, degrees, and altitude, metres above the ellipsoid, each of shape (...).
    """
    origin, axes = tangent_plane(datum)
    x, y, z = np.moveaxis(origin + np.asarray(points, np.float64) @ axes.T, -1, 0)
    # B. R. Bowring, "Transformation from spatial to geographical coordinates", Survey Review 23, 1976; one step errs by
    # less than a micrometre near the ground.
    distance = np.hypot(x, y)
    reduced = np.arctan2(z * _SEMI_MAJOR_AXIS, distance * _SEMI_MINOR_AXIS)
    second_eccentricity_squared = _ECCENTRICITY_SQUARED / (1 - _ECCENTRICITY_SQUARED)
    latitude = np.arctan2(
        z + second_eccentricity_squared * _SEMI_MINOR_AXIS * np.sin(reduced) ** 3,
        distance - _ECCENTRICITY_SQUARED * _SEMI_MAJOR_AXIS * np.cos(reduced) ** 3,
    )
    to_surface = _SEMI_MAJOR_AXIS * np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    altitude = distance * np.cos(latitude) + z * np.sin(latitude) - to_surface
    return np.degrees(latitude), np.degrees(np.arctan2(y, x)), altitude


def metres_per_degree(latitude: npt.ArrayLike) -> tuple[Array, Array]:
    """How long a degree is on the ellipsoid.

    Args:
        latitude: degrees, shape (...).

    Returns:
        Metres per degree of latitude and per degree of longitude, each of shape (...).
    """
    phi = np.radians(np.asarray(latitude, np.float64))
    root = np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(phi) ** 2)
    meridional = _SEMI_MAJOR_AXIS * (1 - _ECCENTRICITY_SQUARED) / root**3
    return np.radians(meridional), np.radians(_SEMI_MAJOR_AXIS / root * np.cos(phi))
