"""The search in chunks finds what comparing everything with everything finds."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.evaluation.matching import best_matches
from tests.synthetic import unit


def brute_force(queries: np.ndarray, database: np.ndarray, k: int) -> np.ndarray:
    similarities = np.nan_to_num(queries) @ np.nan_to_num(database).T
    similarities[:, np.isnan(database[:, 0])] = -np.inf
    similarities[np.isnan(queries[:, 0])] = -np.inf
    numbers = np.broadcast_to(np.arange(len(database)), similarities.shape)
    order = np.lexsort((numbers, -similarities), axis=1)[:, :k]
    found = np.where(np.isinf(np.take_along_axis(similarities, order, 1)), -1, order)
    return np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=-1)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 300),
    st.sampled_from([1, 2, 5, 20, 100, 400]),
    st.integers(1, 301),
)
def test_small_whole_numbers_tie_everywhere_and_come_by_row(
    seed: int, queries: int, references: int, k: int, chunk_rows: int
) -> None:
    random = np.random.default_rng(seed)
    database = random.integers(-1, 2, (references, 8)).astype(np.float32)
    asked = random.integers(-1, 2, (queries, 8)).astype(np.float32)
    database[random.random(references) < 0.05] = np.nan
    asked[random.random(queries) < 0.05] = np.nan
    found = best_matches(asked, database, k, chunk_rows=chunk_rows)
    np.testing.assert_array_equal(found.rows, brute_force(asked, database, k))
    assert found.unreadable == np.isnan(database[:, 0]).sum()
    assert (np.isinf(found.similarities) == (found.rows < 0)).all()


def test_real_descriptors_from_a_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    database = unit(random.standard_normal((3000, 512)))
    database[[701, 2903]] = database[5]
    queries = unit(database[::100] + 0.05 * random.standard_normal((30, 512)))
    np.save(tmp_path / "descriptors.npy", database)
    kept = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    found = best_matches(queries, kept, 20, chunk_rows=1000)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(0, 3000, 100))
    similarities = np.take_along_axis(queries @ database.T, found.rows, 1)
    np.testing.assert_allclose(found.similarities, similarities, atol=1e-6)
    np.testing.assert_allclose(found.similarities, -np.sort(-(queries @ database.T), axis=1)[:, :20], atol=1e-6)
    part = best_matches(queries, kept[500:], 3, chunk_rows=1000)
    np.testing.assert_array_equal(
        part.rows[5:, 0], np.arange(0, 2500, 100), "a part of a file is searched as that part"
    )
    copies = best_matches(database[5:6], kept, 3, chunk_rows=1000)
    assert copies.rows.tolist() == [[5, 701, 2903]]


def test_nothing_to_search_or_to_ask() -> None:
    something = np.ones((2, 4), np.float32)
    assert best_matches(something, np.zeros((0, 4), np.float32), 3).rows.tolist() == [[-1] * 3] * 2
    assert best_matches(np.zeros((0, 4), np.float32), something, 3).rows.shape == (0, 3)
