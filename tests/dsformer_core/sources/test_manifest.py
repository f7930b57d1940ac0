"""Tables of pictures: good ones in both formats, and every way a row or a table can be wrong."""

import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone, to_utm
from dsformer_core.sources import open_source
from dsformer_core.sources.source import off_the_grid

NOON = datetime(2024, 5, 6, 12, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (4, 3)).save(tmp_path / f"pictures/{name}.jpg")
    return tmp_path


def csv(folder: Path, text: str) -> Path:
    path = folder / "drive.csv"
    path.write_text(text, encoding="utf-8")
    return path


def scan(folder: Path, text: str, **options):
    return open_source(csv(folder, text), **options).scan()


def test_a_whole_row(folder):
    progress = []
    source = open_source(
        csv(
            folder,
            "note,path,latitude,longitude,altitude,heading_deg,timestamp\n"
            f"x,pictures/b.jpg,55.7,13.2,31.5,-90,{NOON}\n"
            "7,pictures/a.jpg,55.8,13.3,,,\n",
        )
    )
    pictures, skipped = source.scan(progress.append)
    assert source.name == "drive" and not skipped and sum(progress) == 2
    first, second = pictures
    assert (first.id, first.latitude, first.longitude) == ("pictures/b.jpg", 55.7, 13.2)
    assert (first.altitude, first.heading_deg, first.timestamp) == (31.5, 270, NOON)
    assert first.image == (folder / "pictures/b.jpg").as_posix()
    assert first.load().shape == (3, 4, 3)
    assert math.isnan(second.altitude) and math.isnan(second.heading_deg) and math.isnan(second.timestamp)


def test_eastings_and_northings_of_several_zones(folder):
    places = {"a": (55.7, 13.2, "33N"), "b": (-33.9, 151.2, "56S"), "c": (55.6, 13.1, "33N")}
    rows = ["path,easting,northing,zone"]
    for name, (latitude, longitude, zone) in places.items():
        easting, northing = to_utm(latitude, longitude, UtmZone.parse(zone))
        rows.append(f"pictures/{name}.jpg,{easting},{northing},{zone}")
    pictures, skipped = scan(folder, "\n".join(rows))
    assert not skipped
    found = [(picture.latitude, picture.longitude) for picture in pictures]
    np.testing.assert_allclose(found, [place[:2] for place in places.values()], atol=1e-8)


def test_the_zone_given_serves_rows_and_tables_without_one(folder):
    easting, northing = to_utm(55.7, 13.2, UtmZone(33, True))
    for text in (
        f"path,easting,northing\npictures/a.jpg,{easting},{northing}\n",
        f"path,easting,northing,zone\npictures/a.jpg,{easting},{northing},\n",
    ):
        ((picture,), _) = scan(folder, text, zone=UtmZone(33, True))
        assert picture.latitude == pytest.approx(55.7)
    _, (skipped,) = scan(folder, text)
    assert "no UTM zone" in skipped.reason


@pytest.mark.parametrize(
    "text",
    [str(NOON), "2024-05-06T12:00:00", "2024-05-06 12:00:00Z", "2024-05-06T14:00:00+02:00", "2024-05-06T12:00:00.000"],
)
def test_timestamps(folder, text):
    ((picture,), _) = scan(folder, f"path,latitude,longitude,timestamp\npictures/a.jpg,55.7,13.2,{text}\n")
    assert picture.timestamp == NOON


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("pictures/a.jpg,,13.2,,", "no position"),
        ("pictures/a.jpg,NaN,13.2,,", "no position"),
        ("pictures/a.jpg,inf,13.2,,", "no position"),
        ("pictures/a.jpg,91,13.2,,", "out of range"),
        ("pictures/a.jpg,55.7,190,,", "out of range"),
        ("pictures/a.jpg,86,13.2,,", "too near a pole"),
        ("pictures/a.jpg,0,0.0,,", "0, 0"),
        ("pictures/a.jpg,north,13.2,,", "are not numbers: 'north', '13.2'"),
        ("pictures/a.jpg,55.7,13.2,east,", "heading_deg 'east' is not a number"),
        ("pictures/a.jpg,55.7,13.2,inf,", "heading_deg 'inf'"),
        ("pictures/a.jpg,55.7,13.2,,yesterday", "timestamp 'yesterday' is not"),
        ("pictures/a.jpg,55.7,13.2,,1714996800000", "is not in seconds since 1970"),
        ("pictures/z.jpg,55.7,13.2,,", "no such file"),
        ("pictures,55.7,13.2,,", "no such file"),
        ("pictures/c.jpg,55.7,13.2,,", "listed already in row 1"),
        ("./pictures/c.jpg,55.7,13.2,,", "listed already in row 1"),
        (",55.7,13.2,,", "no path"),
    ],
)
def test_a_bad_row_is_listed_and_the_others_stay(folder, row, reason):
    rows = [
        "path,latitude,longitude,heading_deg,timestamp",
        "pictures/c.jpg,55.7,13.2,,",
        row,
        "pictures/b.jpg,55.7,13.2,,",
    ]
    pictures, (skipped,) = scan(folder, "\n".join(rows))
    assert [picture.id for picture in pictures] == ["pictures/c.jpg", "pictures/b.jpg"]
    assert reason in skipped.reason and "row 2" in f"{skipped.image} {skipped.reason}"


def test_a_zone_that_is_none(folder):
    _, (skipped,) = scan(folder, "path,easting,northing,zone\npictures/a.jpg,386700,6173300,33\n")
    assert "'33' is not a UTM zone" in skipped.reason


def test_paths_may_be_absolute(folder):
    path = folder / "pictures/a.jpg"
    elsewhere = folder / "lists"
    elsewhere.mkdir()
    pictures, _ = scan(elsewhere, f"path,latitude,longitude\n{path},55.7,13.2\n../pictures/b.jpg,55.7,13.2\n")
    assert [picture.id for picture in pictures] == [path.as_posix(), "../pictures/b.jpg"]
    assert pictures[1].load().shape == (3, 4, 3)


def test_headers_of_spreadsheets(folder):
    """A byte order mark, capitals, blanks, and lines that end as Windows ends them."""
    pictures, _ = scan(folder, "\ufeffPath, Latitude ,LONGITUDE\r\npictures/a.jpg,55.7,13.2\r\n")
    assert len(pictures) == 1


def test_an_unknown_column_may_hold_anything(folder):
    rows = "".join(f"pictures/a.jpg,55.7,13.2,{number}\n" for number in range(100_000))
    pictures, skipped = scan(folder, f"path,latitude,longitude,note\n{rows}pictures/b.jpg,55.7,13.2,text\n")
    assert len(pictures) == 2 and len(skipped) == 99_999


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("path,latitude", "latitude and longitude (or easting, northing and zone); found: path, latitude"),
        ("path,easting,northing", "lacks the columns zone (or give one for all rows: --zone 33N); found:"),
        ("image,latitude,longitude", "lacks the columns path; found: image, latitude, longitude"),
        ("path;latitude;longitude", "found: path;latitude;longitude"),
    ],
)
def test_missing_columns_are_named_with_those_found(folder, header, missing):
    with pytest.raises(UsageError) as caught:
        scan(folder, f"{header}\n1,2,3\n")
    assert missing in str(caught.value) and "\n" not in str(caught.value)


def test_two_columns_of_one_name(folder):
    with pytest.raises(UsageError, match="two columns path"):
        scan(folder, "path,Path,latitude,longitude\na,b,1,2\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as a table"),
        (b"path,latitude,longitude\n", "lists no pictures"),
        (b"path,latitude,longitude\n1,2\n", "cannot be read as a table"),
        (b"path,latitude,longitude\n\xff\xfe.jpg,2,3\n", "cannot be read as a table"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_damaged_tables(folder, content, reason, suffix):
    path = folder / f"drive.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DsformerError) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert suffix == "parquet" or reason in str(caught.value)


def test_parquet_with_its_own_types(folder):
    path = folder / "drive.parquet"
    moment = datetime(2024, 5, 6, 12, tzinfo=timezone.utc)
    table = pa.table(
        {
            "path": ["pictures/a.jpg", "pictures/b.jpg", "pictures/c.jpg"],
            "latitude": pa.array([55.7, None, 55.9], pa.float32()),
            "longitude": pa.array([13, 13, 14], pa.int16()),
            "heading_deg": pa.array([10.0, math.nan, math.nan]),
            "timestamp": pa.array(
                [int(moment.timestamp()) * 10**9 + 1, None, None], pa.timestamp("ns", "Europe/Stockholm")
            ),
            "other": [[1], [2], [3]],
        }
    )
    pa_parquet.write_table(table, path)
    pictures, (skipped,) = open_source(path).scan()
    assert [picture.id for picture in pictures] == ["pictures/a.jpg", "pictures/c.jpg"]
    assert pictures[0].latitude == pytest.approx(55.7, abs=1e-5) and pictures[0].longitude == 13
    assert pictures[0].timestamp == pytest.approx(NOON)
    assert math.isnan(pictures[1].heading_deg) and math.isnan(pictures[1].timestamp)
    assert skipped.reason == "row 2: no position"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("easting, northing", [("1e8", "1e8"), ("386700", "1e12"), ("-1e12", "0"), ("inf", "6173300")])
def test_utm_that_is_nowhere_spoils_its_row_only(folder, easting, northing):
    good = "pictures/b.jpg,386700,6173300,33N"
    pictures, (skipped,) = scan(
        folder, f"path,easting,northing,zone\npictures/a.jpg,{easting},{northing},33N\n{good}\n"
    )
    assert [picture.id for picture in pictures] == ["pictures/b.jpg"]
    assert "are not in UTM zone 33N" in skipped.reason


@given(latitude=st.floats(-80, 84), east=st.floats(-30, 30))
def test_whatever_can_be_forced_into_a_zone_is_on_its_grid(latitude, east):
    for zone in (UtmZone(31, True), UtmZone(31, False)):
        assert not off_the_grid(*to_utm(latitude, zone.central_meridian + east, zone), zone)
