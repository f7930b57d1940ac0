"""Classes that lie too close together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.clustering.exclusion import far_from, greedy, without_neighbours

classes = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(10, 14)), max_size=40).map(
    lambda rows: (np.array([row[:2] for row in rows], float).reshape(-1, 2), np.array([row[2] for row in rows], int))
)


def gaps(peaks: np.ndarray) -> np.ndarray:
    apart = np.linalg.norm(peaks[:, None] - peaks, axis=-1)
    np.fill_diagonal(apart, np.inf)
    return apart


@given(classes)
def test_greedy_keeps_the_larger_and_as_many_as_fit(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    peaks, sizes = drawn
    kept = greedy(peaks, sizes, 40.0)
    if len(kept):
        assert gaps(peaks[kept]).min() >= 40
    for number in set(range(len(peaks))) - set(kept.tolist()):
        near = kept[np.linalg.norm(peaks[kept] - peaks[number], axis=1) < 40]
        # Whatever goes, goes because of one that is at least as good.
        assert sizes[near].max() >= sizes[number]


@given(classes, st.randoms(use_true_random=False))
def test_the_order_of_classes_does_not_matter(drawn: tuple[np.ndarray, np.ndarray], random) -> None:
    peaks, sizes = drawn
    shuffled = list(range(len(peaks)))
    random.shuffle(shuffled)
    kept = greedy(peaks, sizes, 40.0)
    again = greedy(peaks[shuffled], sizes[shuffled], 40.0)
    np.testing.assert_array_equal(peaks[kept], peaks[shuffled][again])


@given(classes)
def test_the_official_rule_within_a_direction_keeps_what_has_no_neighbour(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    peaks, _ = drawn
    alone = np.flatnonzero((gaps(peaks) >= 40).all(axis=1)) if len(peaks) else []
    np.testing.assert_array_equal(without_neighbours(peaks, 40.0), alone)


@given(classes, classes)
def test_the_official_rule_at_the_merge_keeps_what_is_far_from_the_others(
    drawn: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray]
) -> None:
    apart = np.linalg.norm(drawn[0][:, None] - others[0], axis=-1)
    np.testing.assert_array_equal(far_from(drawn[0], others[0], 40.0), np.flatnonzero((apart >= 40).all(axis=1)))


def test_exactly_the_least_distance_is_far_enough() -> None:
    corner = np.array([548_000.25, 4_179_000.5])
    peaks = corner + np.array([[0.0, 0.0], [24.0, 32.0], [0.0, 0.0], [0.0, -39.75]])
    kept = greedy(peaks, np.array([10, 20, 15, 12]), 40.0)
    # Forty metres are enough; a duplicate at distance 0, and what is a hand too near, are not.
    assert kept.tolist() == [1, 2]
