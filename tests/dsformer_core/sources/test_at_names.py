"""'@' file names: whole ones, short ones, and names that only look like it."""

import math
from datetime import datetime, timezone
from pathlib import PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.geodesy import UtmZone, to_utm
from dsformer_core.sources.at_names import parse_at_name, parse_at_names

WHOLE = "@0543256.96@4178906.70@10@S@037.75747@-122.50896@pano7@03@090@@@12.5@20131107_101530@note@.jpg"


def test_every_field_that_is_used():
    name = parse_at_name(PurePath("sf@xl/@1@2@", WHOLE))
    assert name is not None
    assert (name.easting, name.northing, name.zone) == (543256.96, 4178906.70, UtmZone(10, True))
    assert (name.heading_deg, name.height) == (90, 12.5)
    assert name.timestamp == datetime(2013, 11, 7, 10, 15, 30, tzinfo=timezone.utc).timestamp()
    assert name.position(None) == pytest.approx((37.75645, -122.50896), abs=1e-4)


def test_the_zone_letter_is_a_latitude_band():
    """S is San Francisco's band, not "southern"; Sydney's is H. A latitude, where given, decides."""
    for fields, zone in (("10@S@", "10N"), ("56@H@", "56S"), ("10@S@-37.7", "10S"), ("10@@37.7", "10N")):
        name = parse_at_name(PurePath(f"@0543256.96@4178906.70@{fields}@.jpg"))
        assert name is not None and str(name.zone) == zone


@pytest.mark.parametrize(
    "text", ["@0543256.96@4178906.70@.jpg", "@0543256.96@4178906.70.png", "img_1@543256.9@4178906@.jpg"]
)
def test_only_the_first_two_fields_are_needed(text):
    name = parse_at_name(PurePath(text))
    assert name is not None and name.zone is None
    assert math.isnan(name.heading_deg) and math.isnan(name.timestamp) and math.isnan(name.height)
    assert name.position(None) is None
    assert name.position(UtmZone(10, True)) == pytest.approx((37.757, -122.509), abs=1e-2)


def test_its_own_zone_is_stronger_than_the_one_given():
    name = parse_at_name(PurePath(WHOLE))
    assert name is not None and name.position(UtmZone(33, False)) == name.position(None)


def test_latitude_and_longitude_help_where_the_zone_is_missing():
    name = parse_at_name(PurePath("@0543256.96@4178906.70@@@037.75747@-122.50896@.jpg"))
    assert name is not None and name.position(None) == (37.75747, -122.50896)


@pytest.mark.parametrize(
    "text", ["IMG_0001.jpg", "me@home.jpg", "icon@2x.png", "@@.jpg", "@1@.jpg", "@a@b@.jpg", "@nan@1@.jpg"]
)
def test_other_names(text):
    assert parse_at_name(PurePath("@0543256.96@4178906.70@10@S@", text)) is None


@pytest.mark.parametrize("number", ["0", "61", "x", ""])
def test_zones_that_do_not_exist(number):
    name = parse_at_name(PurePath(f"@0543256.96@4178906.70@{number}@S@.jpg"))
    assert name is not None and name.zone is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013", (2013, 1, 1)),
        ("201311", (2013, 11, 1)),
        ("20131107", (2013, 11, 7)),
        ("20131107_10", (2013, 11, 7, 10)),
        ("20131107_1015", (2013, 11, 7, 10, 15)),
    ],
)
def test_times_cut_from_the_right(text, moment):
    name = parse_at_name(PurePath(f"@1@2{'@' * 11}{text}@@.jpg"))
    assert name is not None and name.timestamp == datetime(*moment, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize("text", ["13", "20131399", "yesterday", "20131107-10"])
def test_times_that_are_none(text):
    name = parse_at_name(PurePath(f"@1@2{'@' * 11}{text}@@.jpg"))
    assert name is not None and math.isnan(name.timestamp)


@given(st.floats(-79, 83), st.floats(-179.9, 179.9))
def test_positions_survive_the_name_to_a_centimetre(latitude, longitude):
    zone = UtmZone.of(latitude, longitude)
    easting, northing = to_utm(latitude, longitude, zone)
    name = parse_at_name(
        PurePath(
            f"@{easting:010.2f}@{northing:010.2f}@{zone.number:02d}@X@{latitude:09.5f}@{longitude:010.5f}@@@@@@@@@.jpg"
        )
    )
    assert name is not None
    # The name's rounded latitude may say the equator where the position is a metre beside it.
    if abs(latitude) > 1e-4:
        position = name.position(None)
        assert position is not None
        np.testing.assert_allclose(to_utm(*position, zone), (easting, northing), atol=0.0051)


FIELD = st.sampled_from(
    ["", "x", "nan", "inf", "0", "-7", "37.5", "-180", "1e9", "0543256.96", "4178906.70", "10", "S"]
)


@given(st.lists(st.lists(FIELD, max_size=15).map(lambda fields: f"a@b/{'@'.join(['', *fields])}.jpg"), max_size=8))
def test_columns_say_what_single_names_say(names):
    columns = parse_at_names([*names, WHOLE, "me@home.jpg"])
    assert len(columns.utm) == len(columns.zone_numbers) == len(columns.heading_deg) == len(names) + 2
    for default in (None, UtmZone(33, False)):
        positions = columns.plain_positions(default)
        assert np.isfinite(positions[-2]).all() and np.isnan(positions[-1]).all()
        for row, name in enumerate([*names, WHOLE]):
            single = parse_at_name(PurePath(name))
            if single is None:
                assert np.isnan(columns.utm[row]).all()
                continue
            assert tuple(columns.utm[row]) == (single.easting, single.northing)
            assert columns.zones[columns.zone_numbers[row]] == single.zone
            np.testing.assert_array_equal(columns.heading_deg[row], single.heading_deg)
            if np.isfinite(positions[row]).any():
                assert single.why_unplaced(default) is None
                assert tuple(positions[row]) == single.position(default)
