"""What two maps differ in."""

from pathlib import Path

import numpy as np

from dsformer_core.place_map import build_place_map
from dsformer_core.place_map.building.build import add_to_place_map
from dsformer_core.place_map.changes.difference import difference
from dsformer_core.place_map.changes.rewriting import keep_rows
from dsformer_core.place_map.indexes.request import IndexRequest
from tests.drive_maps import add_drive, drive, drive_map


def test_a_map_does_not_differ_from_itself(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "a.map", "a", 10)
    assert difference(place_map, place_map).none
    other = keep_rows(place_map, np.arange(10), tmp_path / "b.map", index=IndexRequest("binary"))
    found = difference(place_map, other)
    assert set(found.properties) == {"index"} and not (found.added or found.removed or found.moved)
    assert found.properties["index"][0].startswith("flat_fp16")
    assert found.properties["index"][1].startswith("binary, codes signs")


def test_added_removed_moved_and_described_anew(tmp_path: Path) -> None:
    source, extractor = drive("a", 10, 0)
    before = build_place_map(source, extractor, tmp_path / "a.map")
    source.latitude = source.latitude.copy()
    source.latitude[3] += 5 / 111_195
    source.heading = source.heading.copy()
    source.heading[4] = np.nan if np.isfinite(source.heading[4]) else 90.0
    source.heading[5] = (source.heading[5] + 20) % 360 if np.isfinite(source.heading[5]) else 90.0
    extractor.descriptors = extractor.descriptors.copy()
    extractor.descriptors[6] *= -1
    extractor.weights_sha256 = "1" * 64
    after = build_place_map(source, extractor, tmp_path / "b.map")
    after = keep_rows(after, np.arange(1, 10))
    added, other = drive("bb", 2, 1)
    other.weights_sha256 = extractor.weights_sha256
    after = add_to_place_map(after, added, other)

    found = difference(before, after)

    assert (found.before, found.after) == (10, 11)
    assert found.removed == ["a/000.jpg"]
    assert found.added == ["bb/000.jpg", "bb/001.jpg"]
    assert found.moved == ["a/003.jpg", "a/004.jpg", "a/005.jpg"]
    np.testing.assert_allclose(found.moved_m, [5.0, 0.0, 0.0], atol=0.02)
    assert found.described_anew == ["a/006.jpg"]
    assert found.properties["weights"] == ("made up (000000000000)", "made up (111111111111)")


def test_descriptors_of_other_length_are_described_anew(tmp_path: Path) -> None:
    before = drive_map(tmp_path / "a.map", "a", 4)
    source, extractor = drive("a", 4, 0)
    extractor.descriptors, extractor.descriptor_dim = extractor.descriptors[:, :8], 8
    after = build_place_map(source, extractor, tmp_path / "b.map")
    assert difference(before, after).described_anew == before.ids


def test_a_map_that_grew(tmp_path: Path) -> None:
    before = drive_map(tmp_path / "a.map", "a", 4)
    after = add_drive(before, "bb", 3, 1)
    found = difference(before, after)
    assert len(found.added) == 3 and not found.properties and not found.removed
