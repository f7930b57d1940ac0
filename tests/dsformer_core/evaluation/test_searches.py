"""Search by floats, by codes and by both, against what a page of NumPy makes of the same numbers."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.described import Described
from dsformer_core.evaluation.search_cost import search_costs
from dsformer_core.evaluation.searches import search_all, with_sign_codes
from dsformer_core.extractor import Extractor
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.request import IndexRequest
from tests.synthetic import unit
from tests.unseen_town import RIGHT_M, Drive


def whole_numbers(random: np.random.Generator, count: int, unreadable: float = 0.1) -> Described:
    """Descriptors whose products are exact, and codes of which many are equally far from each other."""
    descriptors = random.integers(-2, 3, (count, 8)).astype(np.float32)
    descriptors[random.random(count) < unreadable] = np.nan
    codes = np.zeros((count, 64), np.uint8)
    codes[:, :2] = random.integers(0, 256, (count, 2))
    return Described(descriptors, codes)


def transcribed(queries: Described, references: Described, k: int, candidates: int) -> dict[str, np.ndarray]:
    """Rows of every search, one comparison at a time."""
    assert queries.codes is not None and references.codes is not None
    found: dict[str, list[list[int]]] = {"float": [], "binary": [], "re-ranked": []}
    readable = [row for row in range(len(references)) if not np.isnan(references.descriptors[row, 0])]
    for asked, code in zip(queries.descriptors, queries.codes, strict=True):
        similarity = {row: float(asked @ references.descriptors[row]) for row in readable}
        bits = {row: int(np.unpackbits(code ^ references.codes[row]).sum()) for row in readable}
        rows = [] if np.isnan(asked[0]) else readable
        nearest = sorted(rows, key=lambda row: (bits[row], row))
        found["float"].append(sorted(rows, key=lambda row: (-similarity[row], row))[:k])
        found["binary"].append(nearest[:k])
        found["re-ranked"].append(sorted(nearest[:candidates], key=lambda row: (-similarity[row], row))[:k])
    width = {"float": k, "binary": k, "re-ranked": min(k, candidates)}
    return {
        search: np.array([row + [-1] * (width[search] - len(row)) for row in rows]) for search, rows in found.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 80), st.integers(1, 90), st.integers(1, 90))
def test_every_search_finds_what_its_transcription_finds(
    seed: int, queries: int, references: int, k: int, candidates: int
) -> None:
    random = np.random.default_rng(seed)
    asked, database = whole_numbers(random, queries), whole_numbers(random, references)
    expected = transcribed(asked, database, k, candidates)
    found = search_all(asked, database, k, candidates)
    assert list(found) == ["float", "binary", "re-ranked"]
    for search, matches in found.items():
        np.testing.assert_array_equal(matches.rows, expected[search], err_msg=search)
        assert (np.isinf(matches.similarities) == (matches.rows < 0)).all()
        assert matches.unreadable == np.isnan(database.descriptors[:, 0]).sum()
    everything = search_all(asked, database, k, 10**12)
    np.testing.assert_array_equal(everything["re-ranked"].rows, everything["float"].rows)
    np.testing.assert_array_equal(everything["re-ranked"].similarities, everything["float"].similarities)


def test_similarities_are_cosines_of_codes_and_of_descriptors() -> None:
    random = np.random.default_rng(0)
    described = Described(unit(random.standard_normal((30, 16))), random.integers(0, 256, (30, 64)).astype(np.uint8))
    found = search_all(described[3], described, 30, 30)
    signs = 2.0 * np.unpackbits(described.codes, axis=1) - 1
    cosines = {"binary": signs @ signs[3] / 512, "re-ranked": described.descriptors @ described.descriptors[3]}
    for search, cosine in cosines.items():
        assert found[search].rows[0, 0] == 3 and found[search].similarities[0, 0] == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(found[search].similarities[0], cosine[found[search].rows[0]], atol=1e-6)


def test_without_codes_there_is_one_search() -> None:
    described = Described(unit(np.random.default_rng(0).standard_normal((4, 16))))
    assert list(search_all(described, described, 2, 3)) == ["float"]
    (cost,) = search_costs(described, described, 3).values()
    assert cost.bytes_per_reference == 64 and cost.bytes_read_per_query == 0 and cost.seconds_per_query > 0


@pytest.mark.parametrize("fitted", [64, 150, 199, 16_384])
def test_sign_codes_are_those_of_a_binary_map_and_unreadable_pictures_have_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitted: int
) -> None:
    """However many of its references a map looks at to see what is usual."""
    monkeypatch.setattr("dsformer_core.place_map.indexes.codes._FITTED_ROWS", fitted)
    random = np.random.default_rng(0)
    descriptors = unit(random.standard_normal((300, 512)) + 0.5)
    torn = np.insert(descriptors, [0, 17, 300], np.nan, axis=0)
    np.save(tmp_path / "descriptors.npy", torn)
    kept = Described(np.load(tmp_path / "descriptors.npy", mmap_mode="r"))
    asked = Described(np.vstack([descriptors[::10], np.full((1, 512), np.nan, np.float32)]))
    queries, references, signs = with_sign_codes(asked, kept)
    np.save(tmp_path / "stored.npy", descriptors.astype(np.float16))
    stored = np.load(tmp_path / "stored.npy", mmap_mode="r")
    of_map = BinaryIndex.open(tmp_path, BinaryIndex.write(tmp_path, stored, None, IndexRequest("binary")), stored)
    assert of_map.signs is not None
    np.testing.assert_array_equal(signs.thresholds, of_map.signs.thresholds)
    readable = np.isfinite(torn[:, 0])
    np.testing.assert_array_equal(references.codes[readable], of_map.codes)
    found = search_all(queries, references, 5, 20)
    for matches in found.values():
        assert matches.rows[:-1, 0].tolist() == np.flatnonzero(readable)[::10].tolist()
        assert matches.rows[-1].tolist() == [-1] * 5 and matches.unreadable == 3


def test_where_nothing_can_be_read_nothing_is_found() -> None:
    torn = Described(np.full((3, 512), np.nan, np.float32))
    queries, references, _ = with_sign_codes(torn, torn)
    for matches in search_all(queries, references, 3, 2).values():
        assert (matches.rows == -1).all() and matches.unreadable == 3
    assert np.isnan([cost.seconds_per_query for cost in search_costs(queries, references, 2).values()]).all()


def test_costs_are_of_a_search_by_one_thread() -> None:
    random = np.random.default_rng(0)
    described = Described(
        unit(random.standard_normal((50, 128))).astype(np.float32), random.integers(0, 256, (50, 64)).astype(np.uint8)
    )
    threads = []

    def encode(descriptors: np.ndarray) -> np.ndarray:
        threads.append(faiss.omp_get_max_threads())
        return np.zeros((len(descriptors), 64), np.uint8)

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        costs = search_costs(described, described, 20, encode=encode)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
    assert set(threads) == {1}
    assert [(cost.bytes_per_reference, cost.bytes_read_per_query) for cost in costs.values()] == [
        (4 * 128, 0),
        (64, 0),
        (64, 20 * 2 * 128),  # a map keeps float16
    ]
    assert all(cost.seconds_per_query > 0 for cost in costs.values())
    nothing = search_costs(described, Described(described.descriptors[:0], described.codes[:0]), 20)
    assert np.isnan([cost.seconds_per_query for cost in nothing.values()]).all()


def test_reranking_finds_again_what_codes_lost_in_a_rendered_town(unseen_town: dict[str, Drive]) -> None:
    """At night and in rain, at night, and in rain."""
    extractor = Extractor("dsformer_tiny", device="cpu")
    mapped, later = unseen_town["daylight"], [unseen_town[name] for name in ("night+rain", "night", "rain")]
    queries = Described(extractor.extract([picture for drive in later for picture in drive.pictures]))
    queries, references, _ = with_sign_codes(queries, Described(extractor.extract(mapped.pictures)))
    away = np.linalg.norm(np.concatenate([drive.utm for drive in later])[:, None] - mapped.utm, axis=-1)

    def recall(search: str, candidates: int) -> float:
        first = search_all(queries, references, 1, candidates)[search].rows  # type: ignore[index]
        return float((np.take_along_axis(away, first, axis=1) <= RIGHT_M).mean())

    exact, binary = recall("float", 1), recall("binary", 1)
    assert recall("re-ranked", 1) == binary
    assert min(recall("re-ranked", candidates) for candidates in (5, 10, 20)) >= binary
    assert recall("re-ranked", len(mapped.pictures)) == exact
