"""Hamming search, re-ranking and sign codes against plain numpy."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.described import CODE_BYTES
from dsformer_core.place_map.indexes.codes import SignCodes, nearest_codes, rerank
from dsformer_core.place_map.stored_rows import StoredRows
from tests.synthetic import unit


def by_hand(queries: np.ndarray, references: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances = np.unpackbits(queries[:, None] ^ references[None], axis=2).sum(axis=2, dtype=np.int32)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, rows, 1), rows


def codes_with_ties(seed: int, count: int, used: int) -> np.ndarray:
    """Codes that differ in a few bytes at most: the fewer, the more are equally far from a query."""
    codes = np.zeros((count, CODE_BYTES), np.uint8)
    codes[:, :used] = np.random.default_rng(seed).integers(0, 4, (count, used))
    return codes


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(0, 5),
    references=st.integers(1, 300),
    k=st.integers(1, 320),
    used=st.integers(0, CODE_BYTES),
)
def test_nearest_codes_are_those_of_a_full_sort(seed: int, queries: int, references: int, k: int, used: int) -> None:
    asked, known = codes_with_ties(seed, queries, used), codes_with_ties(seed + 1, references, used)
    distances, rows = nearest_codes(asked, known, k)
    expected_distances, expected_rows = by_hand(asked, known, k)
    assert distances.dtype == np.int32 and rows.dtype == np.int64
    np.testing.assert_array_equal(distances, expected_distances)
    np.testing.assert_array_equal(rows, expected_rows)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equally_distant_codes_beyond_one_block_are_cut_by_row(threads: int) -> None:
    known = codes_with_ties(0, 70_000, 2)  # FAISS goes through 65,536 at a time
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        _, rows = nearest_codes(known[:4], known, 5_000)
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(rows, by_hand(known[:4], known, 5_000)[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_reranking_computes_what_the_descriptors_say(tmp_path: Path, dtype: type) -> None:
    random = np.random.default_rng(0)
    descriptors, queries = unit(random.normal(size=(500, 96))).astype(dtype), unit(random.normal(size=(3, 96)))
    rows = random.integers(0, 500, (3, 150))
    np.save(tmp_path / "descriptors.npy", descriptors)
    expected = np.einsum("qnd,qd->qn", descriptors[rows].astype(np.float64), queries)
    for source in (descriptors, StoredRows(np.load(tmp_path / "descriptors.npy", mmap_mode="r"))):
        np.testing.assert_allclose(rerank(queries, source, rows), expected, atol=1e-6)


@pytest.mark.parametrize("dimension", [32, 512, 768, 2048, 8448])
def test_sign_codes_keep_neighbours(dimension: int) -> None:
    """Whatever the dimension, and although all descriptors share most of what they say, as those of GeM do."""
    random = np.random.default_rng(dimension)
    shared = 3 * random.normal(size=dimension)
    references = unit(shared + random.normal(size=(400, dimension)))
    queries = unit(references[:40] + 0.3 * random.normal(size=(40, dimension)) / np.sqrt(dimension))
    codes = SignCodes.fit(references)
    known = codes.encode(references)
    assert known.shape == (400, CODE_BYTES) and known.dtype == np.uint8
    bits = np.unpackbits(known, axis=1).mean(axis=0)
    assert bits.min() > 0.3 and bits.max() < 0.7, "a bit that is nearly always the same says nothing"
    _, rows = nearest_codes(codes.encode(queries), known, 5)
    exact = np.argmax(queries @ references.T, axis=1)
    assert (rows == exact[:, None]).any(axis=1).mean() > 0.9
