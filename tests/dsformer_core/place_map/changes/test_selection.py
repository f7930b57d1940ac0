"""Which references somebody means: by id, source, area and time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.errors import UsageError
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.changes.areas import read_areas
from dsformer_core.place_map.changes.selection import Selection, read_ids
from tests.drive_maps import add_drive, drive_map


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    """Rows 0 to 11 of the drive "monday", 12 to 19 of "tuesday"; both a second apart from the same time on."""
    first = drive_map(tmp_path_factory.mktemp("maps") / "town.map", "monday", 12, thumbnails=False)
    return add_drive(first, "tuesday", 8, 1)


def square(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def write_areas(path: Path, *geometries: dict[str, Any]) -> Path:
    features = [{"type": "Feature", "properties": {"name": str(n)}, "geometry": g} for n, g in enumerate(geometries)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_by_id_source_and_time(place_map: PlaceMap) -> None:
    def rows(**meant: Any) -> list[int]:
        return Selection(**meant).rows(place_map).tolist()

    assert rows(match=["monday/00[1-3]*", "*7.jpg"]) == [1, 2, 3, 7, 19]
    assert rows(match=["tues*"]) == list(range(12, 20))
    assert rows(match=["MONDAY/*"]) == []
    assert rows(ids=frozenset(["monday/004.jpg", "nowhere.jpg"])) == [4]
    assert rows(ids=frozenset()) == []
    assert rows(sources=["tuesday"]) == list(range(12, 20))
    assert rows(after=1.7e9 + 10) == [10, 11]
    assert rows(before=1.7e9 + 2) == [0, 1, 12, 13]
    assert rows(after=1.7e9 + 1, before=1.7e9 + 2, sources=["monday"]) == [1]


def test_by_box_and_area(place_map: PlaceMap, tmp_path: Path) -> None:
    longitude, latitude = place_map.longitude, place_map.latitude
    middle = float(np.median(longitude)), float(np.median(latitude))
    west = np.flatnonzero(longitude < middle[0])
    box = Selection(bbox=(middle[0] - 1, middle[1] - 1, middle[0], middle[1] + 1))
    np.testing.assert_array_equal(box.rows(place_map), west)
    halves = square(middle[0] - 1, middle[1] - 1, middle[0], middle[1] + 1), square(0, 0, 1, 1)
    areas = read_areas(write_areas(tmp_path / "areas.geojson", *halves))
    assert [area.name for area in areas] == ["0", "1"]
    np.testing.assert_array_equal(Selection(within=areas).rows(place_map), west)
    # A hole in it: an area with nothing of the map.
    hole = square(middle[0] - 1, middle[1] - 1, middle[0] + 1, middle[1] + 1)
    hole["coordinates"].append(
        square(middle[0] - 0.9, middle[1] - 0.9, middle[0] + 0.9, middle[1] + 0.9)["coordinates"][0]
    )
    assert not len(Selection(within=read_areas(write_areas(tmp_path / "hole.geojson", hole))).rows(place_map))


def test_a_box_over_the_date_line_is_what_lies_on_both_sides(place_map: PlaceMap) -> None:
    longitude = float(place_map.longitude.mean())
    assert not len(Selection(bbox=(longitude + 1, -80, longitude - 1, 80)).rows(place_map))
    assert len(Selection(bbox=(longitude - 1, -80, longitude - 2, 80)).rows(place_map)) == place_map.count


@pytest.mark.parametrize(
    ("meant", "words"),
    [
        ({}, "say which references"),
        ({"bbox": (0, 1, 1, 0)}, "is empty"),
        ({"bbox": (0, float("nan"), 1, 0)}, "is empty"),
        ({"before": 1.0, "after": 2.0}, "the time before which"),
    ],
)
def test_what_makes_no_sense_is_refused(meant: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Selection(**meant)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "is no GeoJSON"),
        ('{"type": "FeatureCollection", "features": []}', "holds no areas"),
        ('{"type": "Point", "coordinates": [1, 2]}', "area 1 is a Point, not a Polygon"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "area 1 is no polygon"),
        (json.dumps(square(380_000, 6_170_000, 380_100, 6_170_100)), "is not in degrees"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}', "crosses itself"),
        ("[1, 2]", "is no GeoJSON of polygons"),
    ],
)
def test_what_is_no_area_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "areas.geojson").write_text(content)
    with pytest.raises(UsageError, match=words) as raised:
        read_areas(tmp_path / "areas.geojson")
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "areas.geojson") in str(raised.value)


def test_lists_of_ids(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a b.jpg\n\nc.jpg\n")
    assert read_ids(tmp_path / "ids.txt") == {"a b.jpg", "c.jpg"}
    for content, words in ((b"\n", "names no ids"), (b"\xff\xfe\x00", "no list of ids")):
        (tmp_path / "ids.txt").write_bytes(content)
        with pytest.raises(UsageError, match=words):
            read_ids(tmp_path / "ids.txt")
    with pytest.raises(UsageError, match="no such file"):
        read_ids(tmp_path / "none.txt")
