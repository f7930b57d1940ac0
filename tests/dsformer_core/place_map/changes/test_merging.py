"""Maps put together: what is kept once, what is called otherwise, and what cannot be one map."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import UtmZone, grid_convergence, heading_to_yaw, to_utm
from dsformer_core.place_map import MapError, PlaceMap, build_place_map
from dsformer_core.place_map.changes.merging import merge_place_maps
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.sources import GeotaggedPicture, Skipped
from tests.drive_maps import DriveSource, drive, drive_map, references


class ChangedSource(DriveSource):
    """A drive whose pictures say something else of themselves."""

    def __init__(self, source: DriveSource, **changes: Any) -> None:
        self.source, self.changes, self.name = source, changes, source.name

    def scan(self, on_progress: Any = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        pictures, skipped = self.source.scan(on_progress)
        return [
            replace(picture, **{name: change(row, picture) for name, change in self.changes.items()})
            for row, picture in enumerate(pictures)
        ], skipped


def changed_map(directory: Path, name: str, count: int, seed: int, **changes: Any) -> PlaceMap:
    source, extractor = drive(name, count, seed)
    return build_place_map(ChangedSource(source, **changes), extractor, directory)


def test_everything_is_kept_in_order(tmp_path: Path) -> None:
    maps = [drive_map(tmp_path / f"{name}.map", name, 8, seed) for seed, name in enumerate(("a", "bb", "ccc"))]
    merged = merge_place_maps(maps, tmp_path / "all.map")
    assert (merged.repeated, merged.renamed, merged.altitudes_lost) == (0, 0, 0)
    assert merged.place_map.ids == [name for one in maps for name in one.ids]
    assert references(merged.place_map) == references(maps[0]) | references(maps[1]) | references(maps[2])
    assert merged.place_map.frame == maps[0].frame
    assert merged.place_map.name == "all"
    assert merged.place_map.sources == ["a"] * 8 + ["bb"] * 8 + ["ccc"] * 8


def test_a_picture_in_two_maps_is_kept_once_as_the_first_has_it(tmp_path: Path) -> None:
    first = drive_map(tmp_path / "first.map", "same", 10, seed=0)
    moved = changed_map(tmp_path / "moved.map", "same", 12, 0, latitude=lambda row, one: one.latitude + 1e-4)
    merged = merge_place_maps([first, moved], tmp_path / "all.map")
    assert merged.repeated == 10 and merged.place_map.count == 12
    np.testing.assert_array_equal(merged.place_map.latitude[:10], first.latitude)


def test_two_robots_may_call_their_pictures_the_same(tmp_path: Path) -> None:
    """The same path at another time is another picture."""
    first = drive_map(tmp_path / "monday.map", "camera", 5, seed=0)
    second = changed_map(tmp_path / "tuesday.map", "camera", 5, 1, timestamp=lambda row, one: one.timestamp + 86_400)
    merged = merge_place_maps([first, second], tmp_path / "all.map")
    assert (merged.repeated, merged.renamed) == (0, 5)
    assert merged.place_map.ids[4:7] == ["camera/004.jpg", "tuesday/camera/000.jpg", "tuesday/camera/001.jpg"]
    # And once more: that name is taken now.
    third = changed_map(
        (tmp_path / "b").mkdir() or tmp_path / "b/tuesday.map",
        "camera",
        5,
        2,
        timestamp=lambda row, one: one.timestamp + 2 * 86_400,
    )
    again = merge_place_maps([merged.place_map, third], tmp_path / "all.map", overwrite=True)
    assert again.place_map.ids[-1] == "tuesday-2/camera/004.jpg"
    assert len(set(again.place_map.ids)) == 15


def test_references_of_another_zone_are_projected_into_the_first_maps(tmp_path: Path) -> None:
    east = changed_map(tmp_path / "east.map", "east", 6, 0, longitude=lambda row, one: 12.01 + row * 1e-4)
    west = changed_map(tmp_path / "west.map", "west", 6, 1, longitude=lambda row, one: 11.99 - row * 1e-4)
    assert (str(east.zone), str(west.zone)) == ("33N", "32N")
    merged = merge_place_maps([east, west], tmp_path / "all.map").place_map
    zone = UtmZone(33, True)
    assert merged.zone == zone
    np.testing.assert_allclose(merged.utm[6:], to_utm(west.latitude, west.longitude, zone), atol=1e-6)
    convergence = grid_convergence(west.latitude, west.longitude, zone)
    np.testing.assert_allclose(merged.yaw[6:], heading_to_yaw(west.heading_deg, convergence), atol=1e-9)
    np.testing.assert_array_equal(merged.heading_deg[6:], west.heading_deg)


@pytest.mark.parametrize(("index", "kind"), [(None, "binary"), (IndexRequest("flat"), "flat")])
def test_the_index_is_that_of_the_first_or_another(tmp_path: Path, index: IndexRequest | None, kind: str) -> None:
    first = drive_map(tmp_path / "a.map", "a", 5, index="binary")
    merged = merge_place_maps([first, drive_map(tmp_path / "b.map", "bb", 5)], tmp_path / "all.map", index=index)
    assert merged.place_map.index_kind == kind


def test_altitudes_above_something_else_become_unknown_and_are_counted(tmp_path: Path) -> None:
    def above(reference: str, directory: str, name: str, seed: int) -> PlaceMap:
        changes = {"altitude": lambda row, one: 10.0 + row, "altitude_reference": lambda row, one: reference}
        return changed_map(tmp_path / directory, name, 4, seed, **changes)

    unknown = drive_map(tmp_path / "none.map", "none", 4, 5)
    ellipsoid, sea = above("ellipsoid", "a.map", "a", 0), above("sea level", "b.map", "bb", 1)
    merged = merge_place_maps([unknown, ellipsoid, sea], tmp_path / "all.map")
    assert merged.altitudes_lost == 4
    assert merged.place_map.altitude_reference == "ellipsoid"
    np.testing.assert_array_equal(merged.place_map.altitude[4:8], ellipsoid.altitude)
    assert np.isnan(merged.place_map.altitude[8:]).all()


def test_maps_of_different_networks_are_refused_and_both_are_named(tmp_path: Path) -> None:
    first = drive_map(tmp_path / "a.map", "a", 4)
    source, extractor = drive("bb", 4, 1)
    extractor.model_name, extractor.weights_sha256 = "dsformer_tiny", "f" * 64
    second = build_place_map(source, extractor, tmp_path / "b.map")
    expected = (
        r"a\.map was made with gem_mobilenet_v2 \(made up, 000000000000\) and .*b\.map with dsformer_tiny "
        r"\(made up, ffffffffffff\): descriptors of different networks cannot be compared"
    )
    with pytest.raises(MapError, match=expected):
        merge_place_maps([first, second], tmp_path / "all.map")
    assert not (tmp_path / "all.map").exists()


def test_maps_on_two_continents_are_not_one(tmp_path: Path) -> None:
    first = drive_map(tmp_path / "a.map", "a", 4)
    second = changed_map(tmp_path / "b.map", "bb", 4, 1, longitude=lambda row, one: -70.0)
    with pytest.raises(UsageError, match="more than 500 km from the others"):
        merge_place_maps([first, second], tmp_path / "all.map")
    with pytest.raises(UsageError, match="two maps or more"):
        merge_place_maps([first], tmp_path / "all.map")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.map", "b.map"]
