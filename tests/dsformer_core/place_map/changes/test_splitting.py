"""A map divided: every reference is somewhere, and poses in one part are poses in all."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.changes.areas import read_areas
from dsformer_core.place_map.changes.splitting import districts, tiles, write_pieces
from tests.drive_maps import drive_map, references


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return drive_map(tmp_path_factory.mktemp("maps") / "town.map", "first", 40)


@settings(max_examples=40, deadline=None)
@given(metres=st.floats(5, 300), share=st.floats(0, 1))
def test_tiles_hold_what_lies_in_them_and_around(place_map: PlaceMap, metres: float, share: float) -> None:
    overlap = share * metres
    pieces = tiles(place_map, metres, overlap=overlap)
    assert len({piece.name for piece in pieces}) == len(pieces)
    members = {piece.name: set(piece.rows.tolist()) for piece in pieces}
    column, line = np.floor(place_map.utm / metres).T
    for row in range(place_map.count):
        # Within the nine tiles around it, by the definition.
        expected = set()
        for east in (-1, 0, 1):
            for north in (-1, 0, 1):
                corner = np.array([column[row] + east, line[row] + north]) * metres
                inside = (place_map.utm[row] >= corner - overlap) & (place_map.utm[row] < corner + metres + overlap)
                if inside.all():
                    expected.add(f"33N_{corner[0]:.10g}_{corner[1]:.10g}")
        assert {name for name, rows in members.items() if row in rows} == expected
        assert expected


def test_tiles_become_maps_in_one_frame(place_map: PlaceMap, tmp_path: Path) -> None:
    pieces = tiles(place_map, 25.0, overlap=5.0)
    write_pieces(place_map, pieces, tmp_path / "tiles")
    known = references(place_map)
    collection = json.loads((tmp_path / "tiles/areas.geojson").read_text())
    maps = sorted(path.name for path in (tmp_path / "tiles").iterdir() if path.is_dir())
    assert maps == sorted(feature["properties"]["map"] for feature in collection["features"]) and len(maps) > 4
    for feature, piece in zip(collection["features"], pieces, strict=True):
        part = PlaceMap.open(tmp_path / "tiles" / feature["properties"]["map"], verify="full")
        assert part.frame == place_map.frame
        assert part.count == feature["properties"]["references"] == len(piece.rows)
        assert references(part).items() <= known.items()
    # Without overlap, the areas divide the map as the tiles do.
    areas = read_areas(tmp_path / "tiles/areas.geojson")
    again, nowhere = districts(place_map, areas)
    alone = {piece.name: piece.rows.tolist() for piece in tiles(place_map, 25.0)}
    assert {piece.name: piece.rows.tolist() for piece in again if len(piece.rows)} == alone
    assert nowhere == 0


def test_areas_may_overlap_and_need_not_cover(place_map: PlaceMap, tmp_path: Path) -> None:
    west, east = float(place_map.longitude.min()), float(place_map.longitude.max())
    south, north = float(place_map.latitude.min()), float(place_map.latitude.max())
    third = (east - west) / 3

    def box(name: str, left: float, right: float) -> dict[str, object]:
        ring = [[left, south], [right, south], [right, north], [left, north], [left, south]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}

    features = [box("Old Town/1", west, west + 2 * third), box("New", west + third, west + 2 * third), box("Sea", 0, 1)]
    path = tmp_path / "areas.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    pieces, nowhere = districts(place_map, read_areas(path))
    assert [piece.name for piece in pieces] == ["Old_Town_1", "New"]
    assert set(pieces[1].rows) < set(pieces[0].rows)
    assert nowhere == place_map.count - len(pieces[0].rows) > 0

    path.write_text(json.dumps({"type": "FeatureCollection", "features": [box("..", 0, 1)]}))
    with pytest.raises(UsageError, match="area 1 has no name"):
        districts(place_map, read_areas(path))
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [box("A b", 0, 1), box("a_b", 0, 1)]}))
    with pytest.raises(UsageError, match="two areas are called"):
        districts(place_map, read_areas(path))
    with pytest.raises(DsformerError, match="none of its references lies in any of the areas"):
        write_pieces(place_map, [], tmp_path / "nothing")


def test_a_directory_of_maps_is_made_whole_or_not_at_all(place_map: PlaceMap, tmp_path: Path) -> None:
    pieces = tiles(place_map, 25.0)
    calls = []

    def interrupt(count: int) -> None:
        calls.append(count)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pieces(place_map, pieces, tmp_path / "tiles", on_progress=interrupt)
    assert not list(tmp_path.iterdir())
    write_pieces(place_map, pieces[:1], tmp_path / "tiles")
    with pytest.raises(UsageError, match="exists"):
        write_pieces(place_map, pieces, tmp_path / "tiles")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="is not a directory of maps"):
        write_pieces(place_map, pieces, tmp_path / "mine", overwrite=True)


@pytest.mark.parametrize(("metres", "overlap"), [(0.0, 0.0), (float("inf"), 0.0), (10.0, -1.0), (10.0, 11.0)])
def test_numbers_out_of_range_are_refused(place_map: PlaceMap, metres: float, overlap: float) -> None:
    with pytest.raises(UsageError):
        tiles(place_map, metres, overlap=overlap)
