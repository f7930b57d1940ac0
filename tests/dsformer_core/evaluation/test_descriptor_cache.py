"""Descriptors are computed once, survive whatever ends a run, and are never taken for those of other pictures."""

import os
import signal
import textwrap
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.errors import DsformerError
from dsformer_core.evaluation import Pictures
from dsformer_core.evaluation.descriptor_cache import KeptDescriptors, describe
from dsformer_core.extractor import Extractor
from dsformer_core.pictures import read_picture
from tests.synthetic import write_picture, write_pictures
from tests.uncovered import uncovered_environment
from tests.warm_python import WarmCode

# Bits that may flip with the size of the batch: what is rounded differently is now and then next to zero.
ROUNDED_BITS = 3


def pictures_in(folder: Path) -> Pictures:
    return Pictures(folder, sorted(path.name for path in folder.iterdir()))


class Counting:
    """An extractor that counts the pictures it is given."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.seen = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.extractor, name)

    def extract_pictures(self, loaders, **options):  # type: ignore[no-untyped-def]
        for item in self.extractor.extract_pictures(loaders, **options):
            self.seen += 1
            yield item


@pytest.fixture
def counting(extractor: Extractor) -> Counting:
    return Counting(extractor)


@pytest.fixture
def hashing(hashing_extractor: Extractor) -> Counting:
    return Counting(hashing_extractor)


def bits_apart(codes: np.ndarray, others: np.ndarray) -> int:
    """The most bits by which the two codes of one picture differ."""
    return int(np.unpackbits(codes ^ others, axis=1).sum(axis=1).max())


def test_the_second_time_nothing_is_computed(tmp_path: Path, counting: Counting) -> None:
    pictures = pictures_in(write_pictures(tmp_path / "drive", 7))
    in_memory = describe(pictures, counting, None).descriptors
    kept = describe(pictures, counting, tmp_path / "cache").descriptors
    assert counting.seen == 14
    told: list[int] = []
    again = describe(pictures, counting, tmp_path / "cache", on_progress=told.append).descriptors
    assert counting.seen == 14 and sum(told) == 7
    assert isinstance(again, np.memmap) and not again.flags.writeable
    np.testing.assert_array_equal(again, kept)
    np.testing.assert_allclose(in_memory, kept, atol=1e-5)
    np.testing.assert_allclose(kept, counting.extract_files(pictures.paths), atol=1e-5)


@pytest.mark.parametrize("change", ["content", "time", "gone", "more"])
def test_a_changed_file_makes_them_stale(tmp_path: Path, counting: Counting, change: str) -> None:
    drive = write_pictures(tmp_path / "drive", 4)
    pictures = pictures_in(drive)
    before = np.array(describe(pictures, counting, tmp_path / "cache").descriptors)
    changed = drive / "002.jpg"
    if change == "content":
        write_picture(changed, latitude=50, seed=99)
    elif change == "time":
        os.utime(changed, (1, 1))
    elif change == "gone":
        changed.unlink()
    else:
        write_picture(drive / "004.jpg", latitude=50, seed=99)
        pictures = pictures_in(drive)
    after = describe(pictures, counting, tmp_path / "cache").descriptors
    assert counting.seen == 4 + len(pictures)
    same = np.isclose(after[:4], before, atol=1e-5).all(axis=1)
    assert same.tolist() == [True, True, change in ("time", "more"), True]
    assert len(list((tmp_path / "cache").iterdir())) == (2 if change == "more" else 1), "stale ones do not pile up"


def test_codes_are_kept_beside_descriptors(tmp_path: Path, hashing: Counting) -> None:
    drive = write_pictures(tmp_path / "drive", 5)
    pictures = pictures_in(drive)
    expected = hashing.describe([read_picture(path) for path in pictures.paths])
    in_memory = describe(pictures, hashing, None)
    first = describe(pictures, hashing, tmp_path / "cache")
    assert hashing.seen == 10
    again = describe(pictures, hashing, tmp_path / "cache")
    assert np.unpackbits(first.codes[0] ^ first.codes[1]).sum() > 50, "codes of this network tell pictures apart"
    assert hashing.seen == 10 and isinstance(again.codes, np.memmap) and not again.codes.flags.writeable
    for described in (in_memory, first, again):
        assert described.codes.shape == (5, 64) and described.codes.dtype == np.uint8
        assert bits_apart(described.codes, expected.codes) <= ROUNDED_BITS
    np.testing.assert_array_equal(first.codes, again.codes)
    write_picture(drive / "002.jpg", latitude=50, seed=99)
    changed = describe(pictures, hashing, tmp_path / "cache")
    assert hashing.seen == 15
    apart = np.unpackbits(changed.codes ^ in_memory.codes, axis=1).sum(axis=1)
    assert (apart <= ROUNDED_BITS).tolist() == [True, True, False, True, True]


def test_without_a_hash_branch_there_is_no_file_of_codes(tmp_path: Path, extractor: Extractor) -> None:
    pictures = pictures_in(write_pictures(tmp_path / "drive", 2))
    assert describe(pictures, extractor, tmp_path / "cache").codes is None
    assert {path.name for path in (tmp_path / "cache").glob("*/*.npy")} == {"descriptors.npy"}


@pytest.mark.parametrize("left", ["fewer codes", "fewer descriptors", "one renamed", "codes lost"])
def test_of_two_files_the_rows_that_both_have_are_gone_on_from(tmp_path: Path, hashing: Counting, left: str) -> None:
    pictures = pictures_in(write_pictures(tmp_path / "drive", 6))
    before = describe(pictures, hashing, tmp_path / "cache")
    descriptors, codes = np.array(before.descriptors), np.array(before.codes)
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "descriptors.npy").rename(folder / "descriptors.part.npy")
    if left in ("fewer codes", "fewer descriptors"):
        (folder / "codes.npy").rename(folder / "codes.part.npy")
        shorter, row = ("codes", 64) if left == "fewer codes" else ("descriptors", 2048)
        os.truncate(folder / f"{shorter}.part.npy", 128 + 2 * row + 7)
    elif left == "codes lost":
        (folder / "codes.npy").unlink()
    hashing.seen = 0
    after = describe(pictures, hashing, tmp_path / "cache")
    assert hashing.seen == {"one renamed": 0, "codes lost": 6}.get(left, 4)
    np.testing.assert_allclose(after.descriptors, descriptors, atol=1e-5)
    assert bits_apart(after.codes, codes) <= ROUNDED_BITS
    assert {path.name for path in folder.glob("*.npy")} == {"descriptors.npy", "codes.npy"}


def test_what_could_not_be_read_gets_its_code_once_it_can(tmp_path: Path, hashing: Counting) -> None:
    drive = write_pictures(tmp_path / "drive", 3)
    pictures, picture = pictures_in(drive), (drive / "001.jpg").read_bytes()
    whole = np.array(describe(pictures, hashing, None).codes)
    status = (drive / "001.jpg").stat()
    (drive / "001.jpg").write_bytes(b"x" * len(picture))
    os.utime(drive / "001.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    torn = describe(pictures, hashing, tmp_path / "cache")
    assert np.isnan(torn.descriptors[:, 0]).tolist() == [False, True, False] and not torn.codes[1].any()
    (drive / "001.jpg").write_bytes(picture)
    os.utime(drive / "001.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    hashing.seen = 0
    mended = describe(pictures, hashing, tmp_path / "cache")
    assert hashing.seen == 1 and np.isfinite(mended.descriptors).all()
    assert bits_apart(mended.codes, whole) == 0


def test_other_weights_have_descriptors_of_their_own(tmp_path: Path, extractor: Extractor) -> None:
    import torch

    from dsformer_core.models import create_model

    pictures = pictures_in(write_pictures(tmp_path / "drive", 2))
    first = describe(pictures, extractor, tmp_path / "cache").descriptors
    torch.manual_seed(7)
    other = Extractor.of_model(create_model("gem_mobilenet_v2"), "gem_mobilenet_v2")
    assert not np.allclose(describe(pictures, other, tmp_path / "cache").descriptors, first, atol=1e-3)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_two_int8_files_have_descriptors_of_their_own(tmp_path: Path, counting: Counting) -> None:
    """Of the same weights, the same runtime and the same precision."""
    pictures = pictures_in(write_pictures(tmp_path / "drive", 2))
    for graph in ("first", "second", "first"):
        counting.arithmetic = Arithmetic("onnx", "int8", 0.04, graph)  # type: ignore[attr-defined]
        describe(pictures, counting, tmp_path / "cache")  # type: ignore[arg-type]
    assert counting.seen == 4 and len(list((tmp_path / "cache").iterdir())) == 2


def test_unreadable_pictures_are_rows_of_nan(tmp_path: Path, extractor: Extractor) -> None:
    drive = write_pictures(tmp_path / "drive", 3)
    (drive / "001.jpg").write_bytes(b"no picture")
    told: list[DsformerError] = []
    described = describe(pictures_in(drive), extractor, tmp_path / "cache", on_unreadable=told.append).descriptors
    assert np.isnan(described).all(axis=1).tolist() == [False, True, False]
    assert len(told) == 1 and "001.jpg" in str(told[0])


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_could_not_be_read_is_tried_again_until_it_can(
    tmp_path: Path, counting: Counting, interrupted: bool
) -> None:
    drive = write_pictures(tmp_path / "drive", 8)
    (drive / "000.jpg").write_bytes(b"no picture")
    pictures = pictures_in(drive)

    def lose_the_disk(count: int) -> None:
        if counting.seen == 2:
            drive.rename(tmp_path / "away")
        if counting.seen == 7 and interrupted:
            raise KeyboardInterrupt

    told: list[DsformerError] = []

    def run(**options: object) -> np.ndarray:
        told.clear()
        counting.seen = 0
        return describe(
            pictures, counting, tmp_path / "cache", batch_size=1, on_unreadable=told.append, **options
        ).descriptors

    with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
        run(workers=1, on_progress=lose_the_disk)
    lost = len(told) - 1
    assert lost >= 3
    (tmp_path / "away").rename(drive)
    finished: list[int] = []
    described = np.array(run(on_progress=finished.append))
    assert counting.seen == 1 + lost + interrupted
    assert [error for error in told if "000.jpg" not in str(error)] == [] and len(told) == 1
    assert sum(finished) == 8
    np.testing.assert_allclose(described, counting.extract_files(pictures.paths), atol=1e-5)
    np.testing.assert_array_equal(run(), described)
    assert counting.seen == len(told) == 1, "named whenever it counts as not found"


UNTRAINED = ("gem_mobilenet_v2", "untrained")


def describing(drive: Path, cache: Path, before: str = "", model: tuple[str, str] = UNTRAINED) -> WarmCode:
    """A process that describes a folder."""
    script = textwrap.dedent(before) + textwrap.dedent(f"""
        from pathlib import Path
        from dsformer_core.evaluation import Pictures
        from dsformer_core.evaluation import descriptor_cache
        from dsformer_core.extractor import Extractor
        from dsformer_core.errors import DsformerError
        descriptor_cache._CHUNK = 8
        drive = Path({str(drive)!r})
        pictures = Pictures(drive, sorted(path.name for path in drive.iterdir()))
        extractor = Extractor(*{model!r}, device="cpu", threads=1)
        try:
            descriptor_cache.describe(pictures, extractor, Path({str(cache)!r}), batch_size=1)
        except DsformerError as error:
            raise SystemExit(str(error))
    """)
    return WarmCode(script, environment=uncovered_environment())


def wait_for_rows(cache: Path, process: WarmCode) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(part.stat().st_size > 8 * 2048 for part in cache.glob("*/descriptors.part.npy")):
            return
        time.sleep(0.01)
    pytest.fail(f"no rows were written: {process.communicate()[1]}")


@pytest.mark.parametrize("has_codes", [False, True])
def test_a_killed_run_is_gone_on_with(
    tmp_path: Path, counting: Counting, hashing: Counting, hashing_weights: Path, has_codes: bool
) -> None:
    drive, cache = write_pictures(tmp_path / "drive", 60), tmp_path / "cache"
    process = describing(drive, cache, model=("dsformer_tiny", str(hashing_weights)) if has_codes else UNTRAINED)
    wait_for_rows(cache, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    (part,) = cache.glob("*/descriptors.part.npy")
    rows = (part.stat().st_size - 128) // 2048
    assert 8 <= rows < 60
    # A write that was cut in the middle of a row.
    with part.open("ab") as file:
        file.write(b"x" * 100)
    going_on = hashing if has_codes else counting
    described = describe(pictures_in(drive), going_on, cache)
    assert going_on.seen == 60 - rows
    assert not list(cache.glob("*/*.part.npy"))
    expected = describe(pictures_in(drive), going_on, None)
    np.testing.assert_allclose(described.descriptors, expected.descriptors, atol=1e-5)
    assert not has_codes or bits_apart(described.codes, expected.codes) <= ROUNDED_BITS


def test_an_interruption_keeps_every_finished_row(tmp_path: Path, counting: Counting) -> None:
    pictures = pictures_in(write_pictures(tmp_path / "drive", 12))

    def interrupt(count: int) -> None:
        if counting.seen == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe(pictures, counting, tmp_path / "cache", batch_size=2, on_progress=interrupt)
    counting.seen = 0
    described = describe(pictures, counting, tmp_path / "cache").descriptors
    assert counting.seen == 6
    np.testing.assert_allclose(described, counting.extract_files(pictures.paths), atol=1e-5)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, counting: Counting) -> None:
    drive, cache = write_pictures(tmp_path / "drive", 30), tmp_path / "cache"
    limit = 128 + 20 * 2048 + 1000
    full = f"""
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import dsformer_core.evaluation
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    """
    process = describing(drive, cache, full)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large; what is described so far is kept: free some space and run again" in words
    assert "Traceback" not in words
    describe(pictures_in(drive), counting, cache)
    assert counting.seen <= 30 - 16, "two chunks of eight were on the disk"


def test_two_runs_do_not_write_the_same_file(tmp_path: Path, extractor: Extractor) -> None:
    pictures = pictures_in(write_pictures(tmp_path / "drive", 2))
    with (
        KeptDescriptors(tmp_path / "cache", pictures, extractor).unfinished(),
        pytest.raises(DsformerError, match="another run is describing these pictures"),
    ):
        describe(pictures, extractor, tmp_path / "cache")


def test_a_damaged_description_means_starting_over(tmp_path: Path, counting: Counting) -> None:
    pictures = pictures_in(write_pictures(tmp_path / "drive", 2))
    describe(pictures, counting, tmp_path / "cache")
    (description,) = (tmp_path / "cache").glob("*/description.json")
    description.write_text("{")
    describe(pictures, counting, tmp_path / "cache")
    assert counting.seen == 4
