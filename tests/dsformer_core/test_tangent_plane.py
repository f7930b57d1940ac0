import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.geodesy import Datum
from dsformer_core.tangent_plane import metres_per_degree, plane_to_geodetic, tangent_plane

LATITUDES = st.floats(-79, 83)
LONGITUDES = st.floats(-180, 180)


@given(latitude=LATITUDES, longitude=LONGITUDES, east=st.floats(-2e4, 2e4), north=st.floats(-2e4, 2e4))
def test_positions_in_the_plane_agree_with_proj(latitude: float, longitude: float, east: float, north: float) -> None:
    to_earth = pyproj.Transformer.from_pipeline(
        f"+proj=pipeline +step +inv +proj=topocentric +ellps=WGS84 +lon_0={longitude!r} +lat_0={latitude!r} +h_0=30"
        " +step +inv +proj=cart +ellps=WGS84"
    )
    expected_longitude, expected_latitude, expected_altitude = to_earth.transform(east, north, 5.0)
    found = plane_to_geodetic((east, north, 5.0), Datum(latitude, longitude, 30.0))
    assert found[0] == pytest.approx(expected_latitude, abs=1e-10)
    assert (found[1] - expected_longitude + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
    assert found[2] == pytest.approx(expected_altitude, abs=1e-6)


@given(latitude=LATITUDES, longitude=LONGITUDES)
def test_the_axes_are_a_right_handed_frame_on_the_ellipsoid(latitude: float, longitude: float) -> None:
    origin, axes = tangent_plane(Datum(latitude, longitude, 12.0))
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    to_ecef = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    assert origin == pytest.approx(to_ecef.transform(longitude, latitude, 12.0), abs=1e-6)


@given(latitude=LATITUDES)
def test_lengths_of_degrees_agree_with_geodesics(latitude: float) -> None:
    north, east = metres_per_degree(latitude)
    geod = pyproj.Geod(ellps="WGS84")
    assert north == pytest.approx(geod.inv(0, latitude - 5e-4, 0, latitude + 5e-4)[2] * 1e3, rel=1e-6)
    assert east == pytest.approx(geod.inv(-5e-4, latitude, 5e-4, latitude)[2] * 1e3, rel=1e-6)
