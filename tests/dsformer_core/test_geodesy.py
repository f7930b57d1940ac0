"""Positions and angles: against pyproj, round trips, and the edges of UTM."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Proj, Transformer

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
    wrap_angle,
    yaw_to_heading,
)

MILLIMETRE = 1e-3
angles = st.floats(-1e6, 1e6)
latitudes = st.floats(-80, 84)
zones = st.builds(UtmZone, st.integers(1, 60), st.booleans())


def epsg(zone: UtmZone) -> int:
    return (32600 if zone.northern else 32700) + zone.number


def metres(latitude, longitude, other_latitude, other_longitude):
    """Distance on the ground, good for tiny ones."""
    apart = (np.asarray(longitude) - other_longitude + 180) % 360 - 180
    return np.hypot(latitude - other_latitude, apart * np.cos(np.radians(latitude))) * 111_320


def test_a_thousand_random_points_agree_with_pyproj_in_their_own_zone():
    random = np.random.default_rng(1)
    for latitude, longitude in zip(random.uniform(-80, 84, 1000), random.uniform(-180, 180, 1000), strict=True):
        zone = UtmZone.of(latitude, longitude)
        expected = Transformer.from_crs(4326, epsg(zone), always_xy=True).transform(longitude, latitude)
        np.testing.assert_allclose(to_utm(latitude, longitude, zone), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("northern", [True, False])
@pytest.mark.parametrize("number", [1, 18, 33, 60])
def test_positions_forced_from_neighbouring_zones_agree_with_pyproj(number, northern):
    zone = UtmZone(number, northern)
    random = np.random.default_rng(number)
    latitude = random.uniform(-80, 84, 1000)
    longitude = (zone.central_meridian + random.uniform(-15, 15, 1000) + 180) % 360 - 180
    expected = Transformer.from_crs(4326, epsg(zone), always_xy=True).transform(longitude, latitude)
    utm = to_utm(latitude, longitude, zone)
    np.testing.assert_allclose(utm, np.stack(expected, axis=-1), atol=1e-5, rtol=0)
    assert metres(*to_latlon(utm, zone), latitude, longitude).max() < 1e-5


@given(zones, latitudes, st.floats(-12, 12))
def test_round_trip_is_within_a_millimetre_two_zones_away(zone, latitude, off):
    longitude = (zone.central_meridian + off + 180) % 360 - 180
    back = to_latlon(to_utm(latitude, longitude, zone), zone)
    assert metres(*back, latitude, longitude) < MILLIMETRE
    assert -180 <= back[1] <= 180


def test_northings_run_on_across_the_equator():
    latitude, longitude = np.array([1e-5, 0.0, -1e-5]), np.full(3, 9.0)
    north = to_utm(latitude, longitude, UtmZone(32, True))[:, 1]
    south = to_utm(latitude, longitude, UtmZone(32, False))[:, 1]
    np.testing.assert_allclose(north, [1.1053, 0, -1.1053], atol=MILLIMETRE)
    np.testing.assert_allclose(south - north, 10_000_000, atol=1e-6)


def test_positions_across_the_antimeridian_are_neighbours():
    utm = to_utm([10.0, 10.0], [179.9999, -179.9999], UtmZone(60, True))
    assert 21 < utm[1, 0] - utm[0, 0] < 23


def test_any_leading_shape():
    latitude, longitude = np.full((2, 3), 55.7), np.full((2, 3), 13.2)
    zone = UtmZone(33, True)
    utm = to_utm(latitude, longitude, zone)
    assert utm.shape == (2, 3, 2) and utm.dtype == np.float64
    assert to_latlon(utm, zone)[0].shape == grid_convergence(latitude, longitude, zone).shape == (2, 3)
    assert to_utm(55.7, 13.2, zone).shape == (2,)
    assert to_utm([], [], zone).shape == (0, 2)
    assert MapFrame(Datum(55.7, 13.2), zone).to_local(utm).shape == (2, 3, 2)


def test_unknown_positions_stay_unknown_without_a_warning():
    with np.errstate(all="raise"):
        assert np.isnan(to_utm([math.nan], [math.nan], UtmZone(33, True))).all()


def test_a_position_on_the_other_side_of_the_world_is_refused():
    with pytest.raises(UsageError, match=r"row 1: longitude 151\.2 .* zone 33N"):
        to_utm([55.7, -33.9], [13.2, 151.2], UtmZone(33, True))


@pytest.mark.parametrize("northern", [True, False])
def test_convergence_agrees_with_pyproj(northern):
    zone = UtmZone(33, northern)
    random = np.random.default_rng(3)
    latitude, longitude = random.uniform(-80, 84, 500), 15 + random.uniform(-9, 9, 500)
    expected = Proj(epsg(zone)).get_factors(longitude, latitude).meridian_convergence
    np.testing.assert_allclose(np.degrees(grid_convergence(latitude, longitude, zone)), expected, atol=1e-6)


@pytest.mark.parametrize(("latitude", "longitude"), [(60.0, 17.0), (60.0, 12.0), (-45.0, 17.0), (0.001, 18.5)])
def test_convergence_has_the_sign_its_docstring_says(latitude, longitude):
    """Going true north by a metre must show on the grid as a bearing of minus the convergence."""
    zone = UtmZone(33, latitude > 0)
    east, north = to_utm(latitude + 1e-4, longitude, zone) - to_utm(latitude, longitude, zone)
    assert math.atan2(east, north) == pytest.approx(-grid_convergence(latitude, longitude, zone), abs=1e-6)


def test_a_heading_becomes_the_yaw_in_which_one_really_moves():
    zone, latitude, longitude, heading = UtmZone(33, True), 59.3, 18.0, 60.0
    step = 1e-4
    target = (
        latitude + step * math.cos(math.radians(heading)),
        longitude + step * math.sin(math.radians(heading)) / math.cos(math.radians(latitude)),
    )
    east, north = to_utm(*target, zone) - to_utm(latitude, longitude, zone)
    yaw = heading_to_yaw(heading, grid_convergence(latitude, longitude, zone))
    assert math.atan2(north, east) == pytest.approx(yaw, abs=3e-3)  # the ellipsoid's two radii differ


@pytest.mark.parametrize(("heading", "yaw"), [(0, 90), (90, 0), (180, -90), (270, 180), (360, 90), (-90, 180)])
def test_compass_points(heading, yaw):
    assert np.degrees(heading_to_yaw(heading, 0.0)) == pytest.approx(yaw)
    assert yaw_to_heading(np.radians(yaw), 0.0) == pytest.approx(heading % 360)


def test_unknown_headings_stay_unknown():
    assert np.isnan(heading_to_yaw([math.nan, 0], 0.1)).tolist() == [True, False]
    assert np.isnan(yaw_to_heading([math.nan, 0], 0.1)).tolist() == [True, False]


@given(angles)
def test_wrapping_keeps_the_direction_and_the_range(angle):
    wrapped = wrap_angle(angle)
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-8)
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-8)
    assert wrap_angle(wrapped) == wrapped


@given(st.floats(-1000, 1000), st.floats(-0.2, 0.2))
def test_heading_to_yaw_and_back(heading, convergence):
    yaw = heading_to_yaw(heading, convergence)
    back = yaw_to_heading(yaw, convergence)
    assert -math.pi < yaw <= math.pi
    assert 0 <= back < 360
    assert abs((back - heading + 180) % 360 - 180) < 1e-9


def test_wrapping_at_the_seam():
    assert wrap_angle([math.pi, -math.pi, 3 * math.pi, 0.0]).tolist() == [math.pi, math.pi, math.pi, 0.0]
    assert yaw_to_heading(math.pi / 2 + 1e-17, 0.0) == 0.0
    assert yaw_to_heading(math.pi / 2, -1e-17) == 0.0


@pytest.mark.parametrize(
    ("text", "number", "northern"),
    [
        ("33N", 33, True),
        ("33V", 33, True),
        ("56S", 56, False),
        ("10S", 10, False),
        (" 1c ", 1, False),
        ("60x", 60, True),
    ],
)
def test_zones_as_people_write_them(text, number, northern):
    assert UtmZone.parse(text) == UtmZone(number, northern)


@pytest.mark.parametrize("text", ["", "33", "N33", "0N", "61N", "33I", "33O", "33A", "EPSG:32633"])
def test_what_is_no_zone(text):
    with pytest.raises(UsageError, match="is not a UTM zone"):
        UtmZone.parse(text)


@given(zones)
def test_a_zone_reads_back_what_it_writes(zone):
    assert UtmZone.parse(str(zone)) == zone


def test_a_band_s_is_northern():
    assert UtmZone.from_band(10, "S") == UtmZone(10, True)
    assert UtmZone.from_band(10, "M") == UtmZone(10, False)
    with pytest.raises(UsageError, match="'10I'"):
        UtmZone.from_band(10, "I")
    with pytest.raises(UsageError, match="zone 0 "):
        UtmZone.from_band(0, "N")


@pytest.mark.parametrize(
    ("latitude", "longitude", "zone"),
    [
        (55.7, 13.2, "33N"),
        (60.4, 5.3, "32N"),  # Bergen: Norway's exception
        (78.2, 15.6, "33N"),  # Longyearbyen: Svalbard's
        (-33.9, 151.2, "56S"),
        (0.0, 0.0, "31N"),
        (10.0, 180.0, "1N"),
        (10.0, -180.0, "1N"),
        (84.0, 12.0, "33N"),
        (-80.0, -177.0, "1S"),
    ],
)
def test_the_zone_of_a_position(latitude, longitude, zone):
    assert str(UtmZone.of(latitude, longitude)) == zone


def test_the_map_frame_starts_at_its_datum():
    frame = MapFrame(Datum(55.7, 13.2, 30.0), UtmZone(33, True))
    np.testing.assert_allclose(frame.to_local(to_utm(55.7, 13.2, frame.zone)), [0, 0], atol=1e-9)
    local = np.array([[12.5, -3.0], [0.0, 4000.0]])
    np.testing.assert_allclose(frame.to_local(frame.to_utm(local)), local, atol=1e-8)


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(math.nan, 0), (0, math.nan), (91, 0), (85, 0), (-81, 0), (0, 181), (math.inf, 0)]
)
def test_unusable_positions_are_refused(latitude, longitude):
    for refuse in (check_latlon, UtmZone.of, Datum):
        with pytest.raises(UsageError, match="is not a usable position"):
            refuse(latitude, longitude)


def test_the_offending_row_is_named():
    with pytest.raises(UsageError, match=r"^row 2: latitude 95\.0, longitude 13\.0 "):
        check_latlon([55.0, 56.0, 95.0], [13.0, 13.0, 13.0])
    check_latlon([], [])
    with pytest.raises(UsageError, match="altitude is nan"):
        Datum(55.0, 13.0, math.nan)
