"""Positions, headings and times as cameras write them into EXIF blocks, and as broken cameras do."""

import math
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dsformer_core.pictures import PictureError
from dsformer_core.sources.exif import parse_exif, read_exif

LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE, ALTITUDE_REF, ALTITUDE, TIME, DIRECTION_REF, DIRECTION, DATE = (
    1, 2, 3, 4, 5, 6, 7, 16, 17, 29,
)  # fmt: skip
VERSION, ORIGINAL, OFFSET, SUBSECOND = 0x9000, 0x9003, 0x9011, 0x9291

SYDNEY = {LATITUDE_REF: "S", LATITUDE: (33.0, 51.0, 25.2), LONGITUDE_REF: "E", LONGITUDE: (151.0, 12.0, 54.0)}


def utc(*moment: float) -> float:
    return datetime(*moment, tzinfo=timezone.utc).timestamp()


def test_a_whole_block_through_a_file(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(
        {**SYDNEY, ALTITUDE_REF: b"\x00", ALTITUDE: 58.25, DIRECTION_REF: "T", DIRECTION: 271.5}
    )
    exif.get_ifd(0x8769).update({ORIGINAL: "2024:05:06 07:08:09", OFFSET: "+10:00", SUBSECOND: "25"})
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 4)).save(path, exif=exif)
    tags = read_exif(path)
    assert tags.latitude == pytest.approx(-33.857, abs=1e-9)
    assert tags.longitude == pytest.approx(151.215, abs=1e-9)
    assert (tags.altitude, tags.heading_deg) == (58.25, 271.5)
    assert tags.timestamp == utc(2024, 5, 5, 21, 8, 9) + 0.25


def test_nothing_is_nothing(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    tags = read_exif(path)
    assert tags.altitude_reference == "unknown"
    assert all(math.isnan(value) for name, value in vars(tags).items() if name != "altitude_reference")


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        ({LATITUDE_REF: "N", LATITUDE: (55.0, 30.0, 36.0)}, 55.51),
        ({LATITUDE_REF: "N\0", LATITUDE: (55.0, 30.6, 0.0)}, 55.51),
        ({LATITUDE_REF: b"s", LATITUDE: (55.51,)}, -55.51),
        ({LATITUDE_REF: "S", LATITUDE: 55.51}, -55.51),
        ({LATITUDE: (55.0, 30.0, 36.0)}, math.nan),
        ({LATITUDE_REF: "?", LATITUDE: (55.0, 30.0, 36.0)}, math.nan),
        ({LATITUDE_REF: "N"}, math.nan),
        ({LATITUDE_REF: "N", LATITUDE: ()}, math.nan),
        ({LATITUDE_REF: "N", LATITUDE: "55.5"}, 55.5),
        ({LATITUDE_REF: "N", LATITUDE: (IFDRational(0, 0),) * 3}, math.nan),
        ({LATITUDE_REF: 7, LATITUDE: "north"}, math.nan),
    ],
)
def test_latitudes(gps, expected):
    assert parse_exif(gps, {}).latitude == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("reference", "expected"), [(b"\x00", 12.5), (b"\x01", -12.5), (1, -12.5), (None, 12.5), (b"", 12.5)]
)
def test_altitudes(reference, expected):
    assert parse_exif({ALTITUDE_REF: reference, ALTITUDE: 12.5}, {}).altitude == expected


@pytest.mark.parametrize(
    ("code", "version", "altitude", "reference"),
    [
        (0, b"0232", 12.5, "sea level"),
        (1, b"0232", -12.5, "sea level"),
        (0, None, 12.5, "sea level"),
        (0, b"0300", 12.5, "ellipsoid"),
        (1, b"0300", -12.5, "ellipsoid"),
        (2, b"0300", 12.5, "sea level"),
        (3, b"0300", -12.5, "sea level"),
        (9, b"0300", 12.5, "unknown"),
    ],
)
def test_what_an_altitude_is_measured_from(code, version, altitude, reference):
    tags = parse_exif({ALTITUDE_REF: bytes([code]), ALTITUDE: 12.5}, {} if version is None else {VERSION: version})
    assert (tags.altitude, tags.altitude_reference) == (altitude, reference)


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        ({DIRECTION: 90.0}, 90.0),
        ({DIRECTION: 360.0, DIRECTION_REF: "T"}, 0.0),
        ({DIRECTION: 12.0, DIRECTION_REF: "M"}, 12.0),
        ({DIRECTION: IFDRational(0, 0)}, math.nan),
        ({DIRECTION: 5000.0}, math.nan),
        ({DIRECTION: -1.0}, math.nan),
    ],
)
def test_headings(gps, expected):
    assert parse_exif(gps, {}).heading_deg == pytest.approx(expected, nan_ok=True)


SATELLITES = {DATE: "2024:05:06", TIME: (7.0, 8.0, 9.5)}


@pytest.mark.parametrize(
    ("gps", "details", "expected"),
    [
        ({}, {ORIGINAL: "2024:05:06 07:08:09"}, utc(2024, 5, 6, 7, 8, 9)),
        ({}, {ORIGINAL: "2024:05:06 07:08:09", SUBSECOND: "5  "}, utc(2024, 5, 6, 7, 8, 9) + 0.5),
        ({}, {ORIGINAL: "2024:05:06 07:08:09", OFFSET: "-03:30"}, utc(2024, 5, 6, 10, 38, 9)),
        ({}, {ORIGINAL: "2024:05:06 07:08:09", OFFSET: "Z"}, utc(2024, 5, 6, 7, 8, 9)),
        ({}, {ORIGINAL: "2024:05:06 07:08:09", OFFSET: "   :  "}, utc(2024, 5, 6, 7, 8, 9)),
        (SATELLITES, {ORIGINAL: "2024:05:06 09:08:11"}, utc(2024, 5, 6, 7, 8, 9) + 0.5),
        (SATELLITES, {ORIGINAL: "2024:05:06 09:08:11", OFFSET: "+02:00"}, utc(2024, 5, 6, 7, 8, 11)),
        (SATELLITES, {}, utc(2024, 5, 6, 7, 8, 9) + 0.5),
        ({TIME: (7.0, 8.0, 9.5)}, {}, math.nan),
        ({DATE: "2024-05-06", TIME: (99.0, 0.0, 0.0)}, {}, math.nan),
        ({DATE: "2024-05-06", TIME: (1.0, 0.0, 0.0)}, {}, utc(2024, 5, 6, 1)),
        ({}, {ORIGINAL: "0000:00:00 00:00:00"}, math.nan),
        ({}, {ORIGINAL: "    :  :     :  :  "}, math.nan),
        ({}, {ORIGINAL: b"\xff\xfe"}, math.nan),
    ],
)
def test_times(gps, details, expected):
    assert parse_exif(gps, details).timestamp == pytest.approx(expected, nan_ok=True)


@given(
    year=st.sampled_from([1, 2, 1652, 2287, 9998, 9999]),
    day=st.sampled_from(["01:01 00:00:00", "12:31 23:59:59"]),
    offset=st.sampled_from(["", "+14:00", "-12:00", "+99:99", "-99:99"]),
    subsecond=st.sampled_from(["", "999999999999999999999", "²"]),
)
def test_a_clock_that_was_never_set_is_no_time_and_no_crash(year, day, offset, subsecond):
    details = {ORIGINAL: f"{year:04d}:{day}", OFFSET: offset, SUBSECOND: subsecond}
    assert math.isnan(parse_exif({}, details).timestamp)
    assert math.isnan(parse_exif({DATE: f"{year:04d}:{day[:5]}", TIME: (1.0, 0.0, 0.0)}, {}).timestamp)
    assert parse_exif(SATELLITES, details).timestamp == utc(2024, 5, 6, 7, 8, 9) + 0.5


def test_the_file_time_stands_in_for_the_original():
    assert parse_exif({}, {}, "2024:05:06 07:08:09").timestamp == utc(2024, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"text", "not a picture")])
def test_no_picture(tmp_path, data, reason):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=reason):
        read_exif(path)
