"""What other programs read of a map, read by other programs."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest

from dsformer_core.described import Described
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.exports.geojson import write_geojson
from dsformer_core.place_map.exports.geoparquet import CRS84, write_geoparquet
from dsformer_core.place_map.exports.hloc import (
    picture_names,
    read_descriptors,
    write_descriptors,
    write_query_pairs,
    write_reference_pairs,
)
from tests.drive_maps import drive_map
from tests.synthetic import write_picture


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return drive_map(tmp_path_factory.mktemp("maps") / "town.map", "first", 40, thumbnails=False)


def test_geopandas_reads_our_geoparquet(place_map: PlaceMap, tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    write_geoparquet(place_map, tmp_path / "town.parquet")
    frame = geopandas.read_parquet(tmp_path / "town.parquet")
    assert len(frame) == 40
    assert frame.crs == "OGC:CRS84"
    np.testing.assert_array_equal(frame.geometry.x, place_map.longitude)
    np.testing.assert_array_equal(frame.geometry.y, place_map.latitude)
    assert list(frame["id"]) == list(place_map.ids)
    assert list(frame["row"]) == list(range(40))
    np.testing.assert_array_equal(frame["heading_deg"].isna(), np.isnan(place_map.heading_deg))
    east = frame.to_crs("EPSG:32633").geometry.x
    np.testing.assert_allclose(east, place_map.utm[:, 0], atol=1e-3)


def test_geoparquet_says_what_the_specification_wants(place_map: PlaceMap, tmp_path: Path) -> None:
    write_geoparquet(place_map, tmp_path / "town.parquet")
    about = json.loads(pq.read_metadata(tmp_path / "town.parquet").metadata[b"geo"])
    assert about["version"] == "1.1.0"
    column = about["columns"][about["primary_column"]]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["Point"])
    assert column["bbox"] == [
        place_map.longitude.min(),
        place_map.latitude.min(),
        place_map.longitude.max(),
        place_map.latitude.max(),
    ]
    assert pyproj.CRS.from_json_dict(CRS84) == pyproj.CRS("OGC:CRS84")
    point = pq.read_table(tmp_path / "town.parquet")["geometry"][3].as_py()
    assert len(point) == 21 and point[:5] == b"\x01\x01\x00\x00\x00"
    assert np.frombuffer(point[5:], "<f8").tolist() == [place_map.longitude[3], place_map.latitude[3]]


def test_geojson_is_one_document_with_a_feature_a_line(place_map: PlaceMap, tmp_path: Path) -> None:
    write_geojson(place_map, tmp_path / "town.geojson")
    text = (tmp_path / "town.geojson").read_text()
    collection = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(text.splitlines()) == 40 + 2
    assert collection["type"] == "FeatureCollection" and len(collection["features"]) == 40
    assert collection["altitude_reference"] == place_map.altitude_reference
    for row, feature in enumerate(collection["features"]):
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Point"
        longitude, latitude = feature["geometry"]["coordinates"]
        assert longitude == pytest.approx(place_map.longitude[row], abs=1e-8)
        assert latitude == pytest.approx(place_map.latitude[row], abs=1e-8)
        assert feature["properties"]["id"] == place_map.ids[row]
        assert (feature["properties"]["heading_deg"] is None) == bool(np.isnan(place_map.heading_deg[row]))
        assert feature["properties"]["altitude"] is None


@pytest.mark.parametrize("index", ["flat_fp16", "binary"])
def test_pairs_of_references_are_those_that_look_most_alike(tmp_path: Path, index: str) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 40, index=index)
    count = write_reference_pairs(place_map, tmp_path / "pairs.txt", pairs=3)
    lines = [tuple(line.split(" ")) for line in (tmp_path / "pairs.txt").read_text().splitlines()]
    assert len(lines) == len(set(map(frozenset, lines))) == count
    descriptors = np.asarray(place_map.descriptors, np.float32)
    similarity = descriptors @ descriptors.T
    np.fill_diagonal(similarity, -2)
    names = [f"{row:03d}.jpg" for row in range(40)]
    expected = {
        frozenset([names[row], names[other]]) for row in range(40) for other in np.argsort(-similarity[row])[:3]
    }
    assert set(map(frozenset, lines)) == expected


def test_copies_of_a_picture_are_pairs_but_nothing_is_paired_with_itself(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 6)
    place_map.search = lambda queries, k: _Found(np.tile(np.arange(k), (len(queries.descriptors), 1)))
    write_reference_pairs(place_map, tmp_path / "pairs.txt", pairs=2)
    pairs = [line.split() for line in (tmp_path / "pairs.txt").read_text().splitlines()]
    assert ["000.jpg", "001.jpg"] in pairs and ["000.jpg", "005.jpg"] in pairs
    assert all(first != second for first, second in pairs)


class _Found:
    """The first rows, whatever is asked."""

    def __init__(self, indices: np.ndarray) -> None:
        self.indices = indices


def test_pairs_of_queries(place_map: PlaceMap, tmp_path: Path) -> None:
    queries = [(Path(f"/pictures/asked/{row}.jpg"), _described(place_map, row)) for row in (7, 20)]
    assert write_query_pairs(place_map, queries, tmp_path / "pairs.txt", pairs=4) == 8
    lines = (tmp_path / "pairs.txt").read_text().splitlines()
    assert lines[0] == "asked/7.jpg first/007.jpg"
    assert lines[4] == "asked/20.jpg first/020.jpg"
    with pytest.raises(UsageError, match=r"asked/7\.jpg is not below /pictures/first"):
        write_query_pairs(place_map, queries, tmp_path / "b.txt", pairs=4, root="/pictures/first")


@pytest.mark.parametrize("pairs", [1, 4])
def test_a_query_that_is_a_reference_is_not_paired_with_itself(place_map: PlaceMap, tmp_path: Path, pairs: int) -> None:
    queries = [(Path(place_map.images[row]), _described(place_map, row)) for row in (7, 20)]
    assert write_query_pairs(place_map, queries, tmp_path / "pairs.txt", pairs=pairs) == 2 * pairs
    found = [line.split() for line in (tmp_path / "pairs.txt").read_text().splitlines()]
    descriptors = np.asarray(place_map.descriptors, np.float32)
    for number, row in enumerate((7, 20)):
        similar = np.argsort(-(descriptors @ descriptors[row]))[1 : pairs + 1]
        assert found[number * pairs : (number + 1) * pairs] == [[f"{row:03d}.jpg", f"{one:03d}.jpg"] for one in similar]


def _described(place_map: PlaceMap, row: int) -> Described:
    return Described(np.asarray(place_map.descriptors[row : row + 1], np.float32))


def test_names_are_what_hloc_can_find_again(tmp_path: Path) -> None:
    assert picture_names(["/data/db/a.jpg", "/data/q/b.jpg"]) == ["db/a.jpg", "q/b.jpg"]
    assert picture_names(["/data/db/a.jpg"], "/data") == ["db/a.jpg"]
    with pytest.raises(UsageError, match="has a blank"):
        picture_names(["/data/db/a 1.jpg"])
    with pytest.raises(UsageError, match="is not the file of a picture"):
        picture_names(["/data/a.jpg", "drive.mcap#/camera@1.5"])
    with pytest.raises(UsageError, match="is not the file of a picture"):
        picture_names(["/data/bags/drive#/camera/image/compressed@1700000000.5"])
    picture = write_picture(tmp_path / "tour#2" / "a.jpg", latitude=50.0)
    assert picture_names([str(picture)], tmp_path) == ["tour#2/a.jpg"]


def test_descriptors_for_hloc(place_map: PlaceMap, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_descriptors(place_map, tmp_path / "feats.h5", root="/pictures")
    with h5py.File(tmp_path / "feats.h5", "r") as content:
        np.testing.assert_array_equal(content["first/005.jpg/global_descriptor"], place_map.descriptors[5])
    (found,) = read_descriptors(tmp_path / "feats.h5", ["first/011.jpg"])
    np.testing.assert_array_equal(found, place_map.descriptors[11])
    with pytest.raises(DsformerError, match=r"feats\.h5 has no global_descriptor of gone\.jpg"):
        list(read_descriptors(tmp_path / "feats.h5", ["gone.jpg"]))


def test_what_is_missing_is_named(place_map: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DsformerError, match=r"pip install 'dsformer_ros\[hloc\]'"):
        write_descriptors(place_map, tmp_path / "feats.h5")
    monkeypatch.setitem(__import__("sys").modules, "shapely.errors", None)
    from dsformer_core.place_map.changes.areas import read_areas

    with pytest.raises(DsformerError, match=r"pip install 'dsformer_ros\[geo\]'"):
        read_areas(tmp_path / "areas.geojson")
    assert not list(tmp_path.iterdir())


def test_a_file_is_written_whole_or_not_at_all(place_map: PlaceMap, tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "town.geojson").write_text("what was there")
    for write in (write_geojson, write_geoparquet, write_descriptors):
        with pytest.raises(KeyboardInterrupt):
            write(place_map, tmp_path / "town.geojson", on_progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["town.geojson"]
    assert (tmp_path / "town.geojson").read_text() == "what was there"
