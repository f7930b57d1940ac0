"""A build that is killed at any moment, runs out of disk or is damaged goes on to the very map it would have made."""

import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map import MapError, PlaceMap, add_to_place_map, build_place_map
from dsformer_core.place_map import place_map as place_map_module
from dsformer_core.place_map.building import shards as shards_module
from dsformer_core.place_map.building.build import Progress
from dsformer_core.place_map.building.work_folder import unfinished_build
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.sources import Skipped, open_source
from tests.stub_network import stub_extractor
from tests.synthetic import write_pictures

COUNT = 60
SHARD = 8

# Processes that are forked from one which has imported everything, and computed nothing.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["dsformer_core.place_map", "tests.stub_network", "tests.synthetic"])


@pytest.fixture(autouse=True)
def small_shards_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "SMALLEST_SHARD", SHARD)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a disk: these tests wait for fsync some thousand times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pictures(tmp_path_factory.mktemp("resume") / "drive", COUNT)
    (folder / "017.jpg").write_bytes((folder / "017.jpg").read_bytes()[:900])
    return folder


@pytest.fixture(scope="module")
def other_drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("resume") / "other", 20)


@pytest.fixture
def expected(tmp_path: Path, drive: Path) -> dict[str, bytes]:
    return contents(build(drive, tmp_path / "expected" / "a.map"))


def build(drive: Path, output: Path, **options: Any) -> Path:
    output.parent.mkdir(exist_ok=True)
    return build_place_map(open_source(drive), stub_extractor(), output, batch_size=3, workers=1, **options).directory


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def build_until(killed: dict[str, float], drive: Path, output: Path, options: dict[str, Any]) -> None:
    """In a process of its own: builds until its end comes, after some processor time or instead of the n-th fsync."""
    shards_module.SMALLEST_SHARD = SHARD
    os.environ["SOURCE_DATE_EPOCH"] = "1750000000"
    done = 0
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal done
        if done == killed.get("fsync"):
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        fsync(descriptor)

    os.fsync = counted
    if "file_size" in killed:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(killed["file_size"]),) * 2)
    if "seconds" in killed:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process at once, as SIGKILL does
        signal.setitimer(signal.ITIMER_PROF, killed["seconds"])
    start = time.process_time()
    try:
        build(drive, output, **options)
        said, status = str(time.process_time() - start), 0
    except DsformerError as error:
        said, status = str(error), 1
    (output.parent / "said").write_text(said)
    os._exit(status)


def built_until(killed: dict[str, float], drive: Path, output: Path, **options: Any) -> int | None:
    process = _forks.Process(target=build_until, args=(killed, drive, output, options))
    process.start()
    process.join(60)
    return process.exitcode


def maps_that_open(folder: Path) -> Iterator[PlaceMap]:
    for path in folder.rglob("*"):
        if path.is_dir():
            try:
                yield PlaceMap.open(path, verify="full")
            except MapError:
                continue


def test_killed_at_fifty_moments_it_always_resumes_to_the_same_map(
    tmp_path: Path, drive: Path, expected: dict[str, bytes]
) -> None:
    """And until then there is nothing that opens."""
    assert built_until({}, drive, tmp_path / "timed" / "a.map") == 0
    whole = float((tmp_path / "timed" / "said").read_text())
    unfinished = 0
    for moment in np.random.default_rng(0).uniform(0.1, 1.1, 50):
        work = tmp_path / "work"
        work.mkdir()
        code = built_until({"seconds": float(moment) * whole}, drive, work / "a.map")
        assert code in (0, -signal.SIGPROF)
        if code == 0:  # a machine with less to do than before needs less for the same
            whole = float((work / "said").read_text())
        unfinished += unfinished_build(work / "a.map") is not None
        for place_map in maps_that_open(work):
            assert contents(place_map.directory) == expected
        (work / "said").unlink(missing_ok=True)
        if code:
            build(drive, work / "a.map", resume=True)
        assert contents(work / "a.map") == expected
        assert [path.name for path in work.iterdir()] == ["a.map"]
        shutil.rmtree(work)
    assert unfinished > 5, "most were killed before or after there was anything to go on with"


def test_killed_at_each_fsync_an_old_map_stays_or_the_new_one_is_whole(
    tmp_path: Path, drive: Path, other_drive: Path
) -> None:
    """Nor does a second kill, of the build that is resumed, change anything."""
    old = contents(build(other_drive, tmp_path / "old" / "a.map"))
    options = {"overwrite": True, "thumbnails": False}
    expected = contents(build(drive, tmp_path / "expected" / "a.map", thumbnails=False))
    number, code = 0, None
    while code != 0:
        work = tmp_path / "work"
        work.mkdir()
        shutil.copytree(tmp_path / "old" / "a.map", work / "a.map")
        code = built_until({"fsync": number}, drive, work / "a.map", **options)
        assert contents(work / "a.map") in (old, expected)
        if code:
            if number % 4 == 0:
                built_until({"fsync": 2}, drive, work / "a.map", resume=True, **options)
                assert contents(work / "a.map") in (old, expected)
            build(drive, work / "a.map", resume=True, **options)
        assert contents(work / "a.map") == expected
        assert {path.name for path in work.iterdir()} <= {"a.map", "said"}
        shutil.rmtree(work)
        number += 1
    assert number > 2 * COUNT // SHARD, "there were fewer fsyncs than shards"


@pytest.mark.parametrize("limit", [2_000, 7_500])
def test_a_full_disk_loses_nothing_that_was_described(tmp_path: Path, drive: Path, limit: int) -> None:
    """A limit on file size makes writes fail as a full disk does: in the plan or a shard, or in the map's own files."""
    code = built_until({"file_size": limit}, drive, tmp_path / "a.map", thumbnails=False)
    assert code == 1, "everything fitted: the limit is too large for this test"
    assert "a.map was not written: File too large; free some space" in (tmp_path / "said").read_text()
    assert not (tmp_path / "a.map").exists()
    begun = unfinished_build(tmp_path / "a.map")
    assert (begun is not None and begun.described == COUNT) == (limit == 7_500)
    build(drive, tmp_path / "a.map", resume=True, thumbnails=False)
    assert contents(tmp_path / "a.map") == contents(build(drive, tmp_path / "expected" / "a.map", thumbnails=False))


def test_only_what_is_missing_is_described_again(tmp_path: Path, drive: Path, expected: dict[str, bytes]) -> None:
    built_until({"fsync": 12}, drive, tmp_path / "a.map")
    begun = unfinished_build(tmp_path / "a.map")
    assert begun is not None and 0 < begun.described < COUNT
    for path in sorted(drive.glob("*.jpg"))[: begun.described]:
        os.utime(path, (0, 0))
    steps: list[Any] = []
    skipped: list[Skipped] = []
    build(drive, tmp_path / "a.map", resume=True, on_progress=steps.append, on_skipped=skipped.append)
    described = [step.done for step in steps if step.step == "describing"]
    assert described == list(range(begun.described, COUNT + 1))
    assert [Path(one.image).name for one in skipped] == ["017.jpg"]
    assert contents(tmp_path / "a.map") == expected


def test_a_damaged_shard_is_made_again(tmp_path: Path, drive: Path, expected: dict[str, bytes]) -> None:
    built_until({"fsync": 14}, drive, tmp_path / "a.map")
    first, second, *_ = sorted((tmp_path / ".a.map.building").rglob("*.parquet"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0x10
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-100])
    build(drive, tmp_path / "a.map", resume=True)
    assert contents(tmp_path / "a.map") == expected


def test_what_was_interrupted_is_neither_forgotten_nor_mixed_with_something_else(
    tmp_path: Path, drive: Path, other_drive: Path, expected: dict[str, bytes]
) -> None:
    built_until({"fsync": 12}, drive, tmp_path / "a.map")
    with pytest.raises(UsageError, match=r"interrupted here, with \d+ of 60 .* --resume goes on .* --overwrite begins"):
        build(drive, tmp_path / "a.map")
    with pytest.raises(UsageError, match=r"cannot be resumed: its pictures or their positions are no longer the same"):
        build(other_drive, tmp_path / "a.map", resume=True)
    with pytest.raises(UsageError, match=r"cannot be resumed: .* keeps descriptors of another type"):
        build(drive, tmp_path / "a.map", resume=True, index="flat")
    assert unfinished_build(tmp_path / "a.map") is not None
    build(drive, tmp_path / "a.map", resume=True)
    assert contents(tmp_path / "a.map") == expected

    built_until({"fsync": 12}, drive, tmp_path / "b.map")
    build(drive, tmp_path / "b.map", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.map", "b.map", "expected"]


def test_of_two_int8_files_neither_goes_on_with_what_the_other_began(tmp_path: Path, drive: Path) -> None:
    """Nothing but their digests tells them apart."""

    def build_by(graph: str, **options: Any) -> None:
        extractor = stub_extractor()
        extractor.arithmetic = Arithmetic("onnx", "int8", 0.04, graph)
        build_place_map(open_source(drive), extractor, tmp_path / "a.map", workers=1, **options)

    def interrupted(progress: Progress) -> None:
        if progress.step == "finishing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_by("first", on_progress=interrupted)
    with pytest.raises(UsageError, match=r"cannot be resumed: it was begun .* with another INT8 file"):
        build_by("second", resume=True)
    build_by("first", resume=True)
    assert PlaceMap.open(tmp_path / "a.map").arithmetic.graph_sha256 == "first"


def test_resuming_what_was_never_begun_builds_it_and_what_is_finished_is_left(
    tmp_path: Path, drive: Path, other_drive: Path, expected: dict[str, bytes]
) -> None:
    """So a script may say --resume until it succeeds."""
    assert contents(build(drive, tmp_path / "a.map", resume=True)) == expected
    made = (tmp_path / "a.map").stat()
    steps: list[Any] = []
    build(drive, tmp_path / "a.map", resume=True, on_progress=steps.append)
    assert (tmp_path / "a.map").stat() == made
    assert {step.step for step in steps} == {"scanning"}
    with pytest.raises(UsageError, match="exists"):
        build(other_drive, tmp_path / "a.map", resume=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_one_build_at_a_time(tmp_path: Path, drive: Path) -> None:
    def meddle(progress: Any) -> None:
        if progress.step == "describing" and progress.done == 20:
            with pytest.raises(DsformerError, match=r"another run is building a\.map"):
                build(drive, tmp_path / "a.map", resume=True)

    build(drive, tmp_path / "a.map", on_progress=meddle)
    assert PlaceMap.open(tmp_path / "a.map", verify="full").count == COUNT - 1


def test_a_drive_is_added_behind_what_was_there(tmp_path: Path, drive: Path, other_drive: Path) -> None:
    before = PlaceMap.open(build(drive, tmp_path / "a.map"))
    queries = np.array(before.descriptors[:5], np.float32)
    after = add_to_place_map(before, open_source(other_drive), stub_extractor(), batch_size=3)
    assert (before.count, after.count) == (59, 79)
    np.testing.assert_array_equal(after.descriptors[:59], before.descriptors)
    assert after.frame == before.frame
    assert list(after.ids)[:59] == list(before.ids)
    assert len(set(after.ids)) == 79 and after.ids[59] == "other/000.jpg", "the names were taken"
    assert after.thumbnail_path(59) is not None
    np.testing.assert_array_equal(before.search(queries, k=1).indices[:, 0], np.arange(5), "the old map is still open")
    PlaceMap.open(tmp_path / "a.map", verify="full")
    made = (tmp_path / "a.map").stat()
    assert add_to_place_map(after, open_source(other_drive), stub_extractor()).count == 79
    assert (tmp_path / "a.map").stat() == made, "there was nothing to add"


def test_shards_of_something_else_are_never_used(
    tmp_path: Path, drive: Path, other_drive: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
) -> None:
    """Although a folder that cannot be removed, as on a share that another machine reads, leaves them there."""
    built_until({"fsync": 12}, other_drive, tmp_path / "a.map")
    remove = shutil.rmtree

    def stubborn(path: Path, *arguments: Any, **options: Any) -> None:
        if not Path(path).name.startswith("shards"):
            remove(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", stubborn)
    build(drive, tmp_path / "a.map", overwrite=True)
    assert contents(tmp_path / "a.map") == expected


def test_pictures_that_vanish_are_not_left_out(tmp_path: Path, drive: Path, expected: dict[str, bytes]) -> None:
    """A share that goes while its pictures are described ends the build; nothing is lost."""
    copy = shutil.copytree(drive, tmp_path / "share" / "drive")

    def unmount(progress: Any) -> None:
        if progress.step == "describing" and progress.done == 20:
            copy.rename(tmp_path / "share" / "gone")

    with pytest.raises(DsformerError, match=r"No such file .* is its disk still there\? .* --resume goes on"):
        build(copy, tmp_path / "a.map", on_progress=unmount)
    (tmp_path / "share" / "gone").rename(copy)
    build(copy, tmp_path / "a.map", resume=True)
    resumed = contents(tmp_path / "a.map")
    assert resumed["descriptors.npy"] == expected["descriptors.npy"]


def test_what_came_under_the_name_meanwhile_is_left_alone(tmp_path: Path, drive: Path, other_drive: Path) -> None:
    def meddle(progress: Any) -> None:
        if progress.step == "finishing":
            (tmp_path / "a.map").mkdir()
            (tmp_path / "a.map" / "thesis.txt").write_text("no map")

    with pytest.raises(UsageError, match="exists: choose another name"):
        build(drive, tmp_path / "a.map", on_progress=meddle)
    assert (tmp_path / "a.map" / "thesis.txt").read_text() == "no map"


def test_a_map_that_is_replaced_while_it_is_opened_is_one_of_the_two(
    tmp_path: Path, drive: Path, other_drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(other_drive, tmp_path / "a.map")
    original, times = place_map_module.read_description, []

    def replaced_behind(directory: Path) -> dict[str, Any]:
        description = original(directory)
        if not times:
            times.append(1)
            build(drive, tmp_path / "a.map", overwrite=True)
        return description

    monkeypatch.setattr(place_map_module, "read_description", replaced_behind)
    opened = PlaceMap.open(tmp_path / "a.map")
    assert opened.count == COUNT - 1 and not opened.replaced


def test_what_was_asked_of_the_index_is_asked_again(tmp_path: Path, drive: Path, other_drive: Path) -> None:
    build(drive, tmp_path / "a.map", index=IndexRequest("auto", memory_limit=10_000))
    before = PlaceMap.open(tmp_path / "a.map")
    after = add_to_place_map(before, open_source(other_drive), stub_extractor())
    assert after.index_request == before.index_request == IndexRequest("auto", memory_limit=10_000)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (IndexRequest("flat", memory_limit=1_000), "the memory limit"),
        (IndexRequest("ivf_pq", factory="nonsense"), "factory 'nonsense' is no index of 64 numbers"),
    ],
)
def test_an_index_that_cannot_be_had_is_refused_before_anything_is_described(
    tmp_path: Path, drive: Path, index: IndexRequest, said: str
) -> None:
    steps: list[Any] = []
    with pytest.raises(UsageError, match=said):
        build(drive, tmp_path / "a.map", index=index, on_progress=steps.append)
    assert {step.step for step in steps} == {"scanning"}
    assert not list(tmp_path.iterdir())


def test_what_was_described_finely_can_become_coarser(tmp_path: Path, drive: Path, expected: dict[str, bytes]) -> None:
    built_until({"fsync": 12}, drive, tmp_path / "a.map", index="flat")
    build(drive, tmp_path / "a.map", resume=True, index="flat_fp16")
    assert contents(tmp_path / "a.map")["descriptors.npy"] == expected["descriptors.npy"]
