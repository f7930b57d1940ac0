"""A map through its life: whatever is done to it, its references stay what they are, and who has it open is safe."""

import resource
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsformer_core.described import Described
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.place_map.building.build import add_to_place_map
from dsformer_core.place_map.building.work_folder import WorkFolder
from dsformer_core.place_map.changes.merging import merge_place_maps
from dsformer_core.place_map.changes.rewriting import keep_rows
from dsformer_core.place_map.changes.splitting import tiles, write_pieces
from dsformer_core.place_map.changes.thinning import Thinning, rows_to_keep
from dsformer_core.place_map.indexes.request import IndexRequest
from tests.drive_maps import add_drive, drive, drive_map, references

steps = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 9)),
    st.tuples(st.just("merge"), st.integers(1, 9)),
    st.tuples(st.just("remove"), st.integers(1, 9)),
    st.tuples(st.just("thin"), st.integers(1, 30)),
    st.tuples(st.just("split"), st.integers(10, 40)),
    st.tuples(st.just("reindex"), st.sampled_from(["flat_fp16", "binary", "hnsw"])),
)


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(life=st.lists(steps, min_size=2, max_size=6), thumbnails=st.booleans())
def test_whatever_happens_references_stay_what_they_are(
    tmp_path_factory: pytest.TempPathFactory, life: list[tuple[str, int | str]], thumbnails: bool
) -> None:
    folder = tmp_path_factory.mktemp("life")
    place_map = drive_map(folder / "town.map", "first", 12, thumbnails=thumbnails)
    frame, known = place_map.frame, references(place_map)
    expected = set(known)
    for number, (step, size) in enumerate(life):
        name = f"drive{'x' * number}"
        if step == "add":
            place_map = add_drive(place_map, name, int(size), number)
            added = references(place_map).keys() - known.keys()
            assert len(added) == size
            known |= {image: references(place_map)[image] for image in added}
            expected |= added
        elif step == "merge":
            # It shares half of its references with the map.
            other = keep_rows(place_map, np.arange(0, place_map.count, 2), folder / f"half{number}.map")
            other = add_drive(other, name, int(size), number)
            added = references(other).keys() - known.keys()
            known |= {image: references(other)[image] for image in added}
            merged = merge_place_maps([place_map, other], place_map.directory, overwrite=True)
            assert merged.repeated == other.count - size
            place_map, expected = merged.place_map, expected | added
        elif step == "remove":
            kept = np.flatnonzero(np.arange(place_map.count) % 10 != size)
            expected &= {place_map.images[row] for row in kept}
            place_map = keep_rows(place_map, kept)
        elif step == "thin":
            kept = rows_to_keep(place_map, Thinning(float(size), 180.0, -1.0))
            expected &= {place_map.images[row] for row in kept}
            place_map = keep_rows(place_map, kept)
        elif step == "split":
            pieces = tiles(place_map, float(size))
            assert sorted(np.concatenate([piece.rows for piece in pieces])) == list(range(place_map.count))
            write_pieces(place_map, pieces, folder / f"tiles{number}")
            parts = [PlaceMap.open(path) for path in sorted((folder / f"tiles{number}").glob("*.map"))]
            if len(parts) > 1:
                place_map = merge_place_maps(parts, place_map.directory, overwrite=True).place_map
        else:
            place_map = keep_rows(place_map, np.arange(place_map.count), index=IndexRequest(str(size)))
            assert place_map.index_kind == size
        place_map = PlaceMap.open(place_map.directory, verify="full")
        assert place_map.frame == frame
        now = references(place_map)
        assert set(now) == expected
        assert all(now[image] == known[image] for image in now)
        assert len(set(place_map.ids)) == place_map.count
        own = place_map.search(np.asarray(place_map.descriptors, np.float32), k=1).indices[:, 0]
        np.testing.assert_array_equal(own, np.arange(place_map.count))
    assert not [path.name for path in folder.rglob(".*")]


def test_codes_of_the_network_go_with_their_references(tmp_path: Path) -> None:
    """Also through maps whose index needs none, so that pictures are never needed again."""
    codes = np.random.default_rng(0).integers(0, 256, (20, 64), np.uint8)
    source, extractor = drive("first", 20, 0)
    extractor.code_bytes = 64
    extractor.extract_pictures = lambda loaders, **_: (
        (row, Described(extractor.descriptors[row : row + 1], codes[row : row + 1])) for row, _ in enumerate(loaders)
    )
    place_map = build_place_map(source, extractor, tmp_path / "town.map", index="flat_fp16", thumbnails=False)
    kept = np.array([1, 2, 5, 8, 13])
    fewer = keep_rows(place_map, kept, tmp_path / "fewer.map")
    merged = merge_place_maps([fewer, place_map], tmp_path / "all.map").place_map
    binary = keep_rows(merged, np.arange(20), index=IndexRequest("binary"))
    order = [*kept, *np.setdiff1d(np.arange(20), kept)]
    for found, rows in ((fewer, kept), (merged, order), (binary, order)):
        np.testing.assert_array_equal(found.codes, codes[rows])
    assert binary.index.details()["codes"] == "hash branch"
    # A map without codes beside it: then there are none, rather than some.
    without = drive_map(tmp_path / "b.map", "other", 4, seed=1)
    assert merge_place_maps([binary, without], tmp_path / "c.map").place_map.codes is None


def test_who_has_a_map_open_goes_on_with_the_old_one(tmp_path: Path) -> None:
    opened = drive_map(tmp_path / "town.map", "first", 30)
    queries = np.asarray(opened.descriptors, np.float32).copy()
    before, names = opened.search(queries, k=3), list(opened.ids)
    near = {"near": opened.utm[3], "radius": 30.0}
    nearby = PlaceMap.open(opened.directory).search(queries, k=3, **near)
    thumbnail = opened.thumbnail_path(7)
    assert thumbnail is not None and not opened.replaced
    colour = thumbnail.read_bytes()

    now = keep_rows(opened, np.arange(5, 30))

    assert now.ids[0] == names[5]
    np.testing.assert_array_equal(opened.search(queries, k=3).indices, before.indices)
    np.testing.assert_array_equal(opened.search(queries, k=3).similarities, before.similarities)
    np.testing.assert_array_equal(opened.search(queries, k=3, **near).indices, nearby.indices)
    np.testing.assert_array_equal(opened.search(queries, k=3, **near).similarities, nearby.similarities)
    assert list(opened.ids) == names and opened.count == 30
    assert opened.utm.shape == (30, 2)
    # Row 7 of the directory is another reference now: rather no picture than a wrong one.
    assert opened.replaced and opened.thumbnail_path(7) is None
    moved = now.thumbnail_path(2)
    assert moved is not None and moved.read_bytes() == colour


@pytest.mark.parametrize("index", ["flat", "flat_fp16", "binary", "hnsw"])
def test_searches_go_on_while_a_map_is_replaced_again_and_again(tmp_path: Path, index: str) -> None:
    opened = drive_map(tmp_path / "town.map", "first", 40, index=index)
    queries = np.asarray(opened.descriptors, np.float32).copy()
    done, wrong = threading.Event(), []

    def search() -> None:
        while not done.is_set():
            if not np.array_equal(opened.search(queries, k=1).indices[:, 0], np.arange(40)):
                wrong.append("another answer")

    thread = threading.Thread(target=search)
    thread.start()
    try:
        current = PlaceMap.open(opened.directory)
        for _ in range(4):
            current = keep_rows(current, np.arange(1, current.count))
    finally:
        done.set()
        thread.join()
    assert not wrong and current.count == 36


def test_ctrl_c_leaves_the_old_map(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 20)
    before = references(place_map)

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_rows(place_map, np.arange(10), on_progress=interrupt)
    assert references(PlaceMap.open(place_map.directory, verify="full")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["town.map"]


def test_what_a_killed_process_left_stands_in_nobodys_way(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 10)
    shutil.copytree(place_map.directory, tmp_path / ".town.map.building" / "map")
    (tmp_path / ".town.map.building/lock").touch()
    assert keep_rows(place_map, np.arange(3)).count == 3
    assert [path.name for path in tmp_path.iterdir()] == ["town.map"], "nor does it stay"


def test_two_do_not_rewrite_a_map_at_once(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 10)
    with WorkFolder(place_map.directory).entered(), pytest.raises(DsformerError, match="another run is building"):
        keep_rows(place_map, np.arange(5))
    first, second = PlaceMap.open(place_map.directory), PlaceMap.open(place_map.directory)
    keep_rows(first, np.arange(1, 10))
    with pytest.raises(DsformerError, match=r"town\.map was replaced while it was read: do it again"):
        keep_rows(second, np.arange(5))
    with pytest.raises(DsformerError, match=r"town\.map was replaced since it was opened: do it again"):
        add_drive(second, "second", 3, 1)
    assert PlaceMap.open(place_map.directory, verify="full").count == 9


def test_a_card_that_was_recorded_over_holds_other_pictures(tmp_path: Path) -> None:
    """The same paths at another time are added, under other names; at the same time they are left out."""
    place_map = drive_map(tmp_path / "town.map", "card", 5)
    source, extractor = drive("card", 7, 1)
    scan = source.scan
    source.scan = lambda on_progress=None: (
        [replace(one, timestamp=one.timestamp + 3600 * (row > 3)) for row, one in enumerate(scan(on_progress)[0])],
        [],
    )
    after = add_to_place_map(place_map, source, extractor)
    assert after.ids[5:] == ["card/card/004.jpg", "card/card/005.jpg", "card/card/006.jpg"]
    np.testing.assert_array_equal(after.timestamps[5:] - place_map.timestamps[0], [3604, 3605, 3606])


class InterruptedByTestError(Exception):
    pass


def test_an_interrupted_addition_is_not_lost_to_other_work(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 10)

    source, extractor = drive("second", 130, 1)

    def interrupt(progress: object) -> None:
        if getattr(progress, "done", 0) == 70:
            raise InterruptedByTestError

    with pytest.raises(InterruptedByTestError):
        add_to_place_map(place_map, source, extractor, on_progress=interrupt)
    with pytest.raises(UsageError, match="work on it was interrupted, with 64 of 130 pictures described"):
        keep_rows(place_map, np.arange(5))
    assert add_to_place_map(place_map, source, extractor, resume=True).count == 140


def test_nothing_would_be_left(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 3)
    with pytest.raises(DsformerError, match="none of its 3 references would be left"):
        keep_rows(place_map, np.array([], dtype=np.int64))


def test_a_full_disk_leaves_the_old_map(tmp_path: Path) -> None:
    place_map = drive_map(tmp_path / "town.map", "first", 200)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(DsformerError, match="File too large; free some space"):
            keep_rows(place_map, np.arange(190))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert PlaceMap.open(place_map.directory, verify="full").count == 200
    assert [path.name for path in tmp_path.iterdir()] == ["town.map"]
