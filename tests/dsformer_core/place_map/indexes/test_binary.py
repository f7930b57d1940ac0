"""Codes of maps: written, read and searched."""

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsformer_core.described import CODE_BYTES, Described
from dsformer_core.errors import DsformerError
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.codes import CANDIDATES
from dsformer_core.place_map.stored_rows import StoredRows
from tests.binary_maps import BINARY, places, spots
from tests.synthetic import unit, write_map


@pytest.fixture(scope="module")
def by_signs(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    directory = tmp_path_factory.mktemp("maps") / "signs.map"
    return write_map(directory, places(2_000), spots(2_000), index="binary")


def copy(place_map: PlaceMap, folder: Path) -> Path:
    return Path(shutil.copytree(place_map.directory, folder / "copy.map", dirs_exist_ok=True))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 60),
    seed=st.integers(0, 1000),
    dimension=st.sampled_from([64, 512, 768]),
    k=st.integers(1, 70),
    codes=st.booleans(),
)
def test_with_every_reference_a_candidate_it_is_exact(
    tmp_path: Path, count: int, seed: int, dimension: int, k: int, codes: bool
) -> None:
    random = np.random.default_rng(seed)
    descriptors = places(count, seed, dimension)
    descriptors[count // 2] = descriptors[0]  # equally similar to everything
    np.save(tmp_path / "descriptors.npy", descriptors.astype(np.float16))
    stored = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    known = random.integers(0, 256, (count, CODE_BYTES), np.uint8) if codes else None
    index = BinaryIndex.open(tmp_path, BinaryIndex.write(tmp_path, stored, known, BINARY), stored)
    queries = unit(random.normal(size=(4, dimension)))
    asked = Described(queries, random.integers(0, 256, (4, CODE_BYTES), np.uint8) if codes else None)

    similarities, rows = index.search(asked, min(k, count))

    exact = np.einsum("nd,qd->qn", stored.astype(np.float64), queries)
    expected = np.argsort(-exact.round(12), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(similarities, np.take_along_axis(exact, expected, 1), atol=1e-6)


def test_it_finds_what_an_exact_search_finds(by_signs: PlaceMap) -> None:
    """Views of mapped places, as a robot sees them; six in seven references are no candidates."""
    known = np.asarray(by_signs.descriptors, np.float32)
    queries = unit(known[::20] + 0.3 * unit(np.random.default_rng(2).normal(size=(100, 512))))
    exact = np.argsort(-queries @ known.T, axis=1)[:, :20]
    matches = by_signs.search(queries, k=20)
    assert (matches.indices[:, 0] == exact[:, 0]).mean() >= 0.99
    shared = [np.isin(first[:5], found).mean() for first, found in zip(exact, matches.indices, strict=True)]
    assert np.mean(shared) > 0.95
    similar = np.einsum("qd,qkd->qk", queries, known[matches.indices])
    np.testing.assert_allclose(matches.similarities, similar, atol=1e-5)
    assert (np.diff(matches.similarities) <= 0).all()
    alone = by_signs.search(queries[3], k=20)
    np.testing.assert_array_equal(alone.indices[0], matches.indices[3])


def test_as_many_as_are_asked_for_come_however_few_are_candidates(by_signs: PlaceMap) -> None:
    query = np.asarray(by_signs.descriptors[:1], np.float32)
    assert CANDIDATES < 1_500
    rows = by_signs.search(query, k=1_500).indices[0]
    assert len(set(rows.tolist())) == 1_500 and rows[0] == 0


def test_equal_similarities_come_in_the_order_of_rows(tmp_path: Path) -> None:
    same = np.tile(places(1), (600, 1))
    place_map = write_map(tmp_path / "a.map", same, spots(600), index="binary")
    for _ in range(3):
        np.testing.assert_array_equal(place_map.search(same[0], k=50).indices, [np.arange(50)])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux to tell what is mapped")
def test_what_is_asked_leaves_no_page_of_the_descriptors_in_memory(by_signs: PlaceMap, tmp_path: Path) -> None:
    directory = copy(by_signs, tmp_path)
    place_map = PlaceMap.open(directory)
    place_map.search(np.asarray(by_signs.descriptors[::10], np.float32), k=20)
    lines = rf"{re.escape(str(directory))}/descriptors\.npy\n(?:.*\n)*?Rss: +(\d+) kB"
    (mapped,) = re.findall(lines, Path("/proc/self/smaps").read_text())
    assert int(mapped) <= 64, f"{mapped} of 2000 kB"


def test_a_gpu_is_not_asked(by_signs: PlaceMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    place_map = PlaceMap.open(by_signs.directory)
    place_map.search_on("cuda:1")
    assert place_map.search(np.asarray(place_map.descriptors[:3], np.float32), k=1).indices[:, 0].tolist() == [0, 1, 2]


def test_a_map_that_is_replaced_while_it_is_open_stays_as_it_was(tmp_path: Path) -> None:
    first, second = places(700, seed=3), places(700, seed=4)
    place_map = write_map(tmp_path / "a.map", first, spots(700), index="binary")
    write_map(tmp_path / "a.map", second, spots(700), index="binary", overwrite=True)
    assert place_map.search(first[:50], k=1).similarities.min() > 0.999


def test_a_file_that_is_cut_off_while_it_is_open_is_an_error(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / "a.map", places(700), spots(700), index="binary")
    os.truncate(tmp_path / "a.map/descriptors.npy", 100_000)
    with pytest.raises(DsformerError, match=r"descriptors\.npy was cut off while it was in use"):
        place_map.search(np.full(512, 512**-0.5), k=5)


@pytest.mark.parametrize("system", ["POSIX", "Windows"])
def test_stored_rows_are_those_of_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    if system == "Windows":
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "posix_fadvise")
    np.save(tmp_path / "a.npy", places(90).astype(np.float16))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    rows = np.array([3, 89, 0, 3])
    np.testing.assert_array_equal(StoredRows(mapped)[rows], mapped[rows])
    assert StoredRows(mapped)[rows[:0]].shape == (0, 512)
    np.testing.assert_array_equal(StoredRows(mapped).span(80, 95), mapped[80:])


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs a system that can be told what is read next")
def test_the_disk_hears_of_all_rows_before_the_first_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", places(90).astype(np.float16))
    rows = StoredRows(np.load(tmp_path / "a.npy", mmap_mode="r"))
    advise, read = os.posix_fadvise, os.pread
    steps: list[tuple[str, int]] = []

    def advised(file: int, offset: int, length: int, advice: int) -> None:
        assert (length, advice) == (1024, os.POSIX_FADV_WILLNEED)
        steps.append(("announced", offset))
        advise(file, offset, length, advice)

    def was_read(file: int, length: int, offset: int) -> bytes:
        steps.append(("read", offset))
        return read(file, length, offset)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "pread", was_read)
    rows[np.array([3, 89, 0])]
    offsets = [128 + 1024 * row for row in (3, 89, 0)]
    assert steps == [(step, offset) for step in ("announced", "read") for offset in offsets]


def test_without_codes_it_compares_every_descriptor_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsformer_core.place_map.indexes.binary._AT_ONCE", 128)
    random = np.random.default_rng(0)
    descriptors = places(700)
    np.save(tmp_path / "descriptors.npy", descriptors.astype(np.float16))
    stored = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    fields = BinaryIndex.write(tmp_path, stored, random.integers(0, 256, (700, CODE_BYTES), np.uint8), BINARY)
    index = BinaryIndex.open(tmp_path, fields, stored)
    queries = unit(random.normal(size=(5, 512)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            similarities, rows = index.search(Described(queries), 30)
    exact = queries @ stored.astype(np.float32).T
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :30])
    np.testing.assert_allclose(similarities, np.take_along_axis(exact, rows, 1), atol=1e-6)
    assert len(caplog.messages) == 1 and "asked without" in caplog.messages[0]


@pytest.mark.parametrize("codes", [True, False])
def test_the_file_of_codes_is_what_faiss_writes(tmp_path: Path, codes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsformer_core.place_map.indexes.binary._AT_ONCE", 128)
    np.save(tmp_path / "descriptors.npy", places(700).astype(np.float16))
    stored = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    known = np.random.default_rng(0).integers(0, 256, (700, CODE_BYTES), np.uint8) if codes else None
    opened = BinaryIndex.open(tmp_path, BinaryIndex.write(tmp_path, stored, known, BINARY), stored)
    index = faiss.IndexBinaryFlat(512)
    index.add(opened.codes)
    assert (tmp_path / "index.faiss").read_bytes() == faiss.serialize_index_binary(index).tobytes()
    if codes:
        np.testing.assert_array_equal(opened.codes, known)


_PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.request import IndexRequest

BINARY = IndexRequest("binary")

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

folder = Path(sys.argv[1])
for name in ("small", "large"):
    stored = np.load(folder / f"{name}.npy", mmap_mode="r")
    known = np.zeros((len(stored), 64), np.uint8)
    known[:] = 1
    before = peak()
    fields = BinaryIndex.write(folder, stored, known, BINARY)
    written = peak()
    del known
    index = BinaryIndex.open(folder, fields, stored)
print(written - before, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell what memory a process had")
def test_codes_are_in_memory_once_while_they_are_written_and_read(tmp_path: Path) -> None:
    count = 500_000
    for name, rows in (("small", 100), ("large", count)):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float16, (rows, 8))
    done = subprocess.run([sys.executable, "-c", _PEAK, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    writing, reading = (int(size) / (count * CODE_BYTES) for size in done.stdout.split())
    assert writing < 0.3 and reading < 0.3, "of the codes that are given, or were"
