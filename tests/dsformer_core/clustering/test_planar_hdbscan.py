"""The compiled HDBSCAN: the right tree, the package's clusters, and a single street as one of them."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from dsformer_core.clustering.planar_hdbscan import (
    NOISE,
    _spanning_tree,
    _squared_core_distances,
    cluster_strip,
    hdbscan_labels,
)
from dsformer_core.clustering.strips import EAST, NORTH, strips

# Decimetres: coarse enough for duplicates and for many equal distances.
points = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 99)).map(lambda cell: (cell[0] / 10, cell[1] / 10)),
    min_size=2,
    max_size=80,
).map(lambda cells: np.array(sorted(cells)))


def columns(strip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(strip[:, 0]), np.ascontiguousarray(strip[:, 1])


@settings(deadline=None, max_examples=60)
@given(points, st.integers(1, 20))
def test_core_distances_are_those_to_the_kth_other_point(strip: np.ndarray, k: int) -> None:
    k = min(k, len(strip) - 1)
    expected = np.sort(cdist(strip, strip), axis=1)[:, k]
    np.testing.assert_allclose(np.sqrt(_squared_core_distances(*columns(strip), k)), expected, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(points, st.integers(1, 20))
def test_the_spanning_tree_is_minimal(strip: np.ndarray, k: int) -> None:
    """All minimum spanning trees of a graph have the same edge lengths, whichever way ties went."""
    along, across = columns(strip)
    core = _squared_core_distances(along, across, min(k, len(strip) - 1))
    ends, reach, plain = _spanning_tree(along, across, core)
    heights = np.sqrt(reach)
    mutual = np.maximum(cdist(strip, strip), np.sqrt(np.maximum.outer(core, core)))
    # scipy takes zeros for missing edges.
    expected = np.sort(minimum_spanning_tree(mutual + 1.0).data) - 1.0
    np.testing.assert_allclose(np.sort(heights), expected, atol=1e-9)
    np.testing.assert_allclose(heights, mutual[ends[:, 0], ends[:, 1]], atol=1e-9)
    np.testing.assert_allclose(plain, cdist(strip, strip, "sqeuclidean")[ends[:, 0], ends[:, 1]], atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(points, st.integers(2, 20), st.integers(1, 20))
def test_labels_are_numbers_of_clusters_large_enough(strip: np.ndarray, smallest: int, k: int) -> None:
    labels = cluster_strip(*columns(strip), smallest, k, 40.0)
    found = np.unique(labels[labels != NOISE])
    np.testing.assert_array_equal(found, np.arange(len(found)))
    assert all((labels == label).sum() >= smallest for label in found)
    # Points at the same place share their fate.
    _, place = np.unique(strip, axis=0, return_inverse=True)
    for number in range(place.max() + 1):
        assert len(set(labels[place == number])) == 1


@pytest.mark.parametrize("allow_single_cluster", [False, True])
@pytest.mark.parametrize(("count", "seed"), [(3000, 3), (10000, 1), (30000, 0)])
def test_agrees_with_the_package(make_city, count: int, seed: int, allow_single_cluster: bool) -> None:
    """Adjusted Rand index 0.99: over all strips with the package's exact tree, the strips' mean with its default."""
    hdbscan = pytest.importorskip("hdbscan")
    from sklearn.metrics import adjusted_rand_score

    utm = make_city(count, seed).utm
    ours, exact, default = [], [], []
    for axis in (EAST, NORTH):
        for strip in strips(utm, axis, 10.0, 5):
            if len(strip.rows) <= 15:
                continue
            ours.append(hdbscan_labels(strip.along, strip.across, 15, 15, allow_single_cluster))
            together = np.stack([strip.along, strip.across], axis=-1)
            for results, approximate in ((exact, False), (default, True)):
                package = hdbscan.HDBSCAN(
                    min_cluster_size=15,
                    min_samples=15,
                    allow_single_cluster=allow_single_cluster,
                    approx_min_span_tree=approximate,
                    core_dist_n_jobs=1,
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    results.append(package.fit_predict(together))
    assert np.mean([adjusted_rand_score(*pair) for pair in zip(default, ours, strict=True)]) >= 0.99
    assert adjusted_rand_score(pooled(exact), pooled(ours)) >= 0.99


def pooled(strips_labels: list[np.ndarray]) -> np.ndarray:
    """Labels of several strips: clusters and noise of one are not those of another."""
    return np.concatenate([labels + 10_000 * strip for strip, labels in enumerate(strips_labels)])


@pytest.mark.parametrize("length", [20.0, 60.0, 400.0])
def test_a_strip_across_one_street_is_one_cluster(length: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        way = np.concatenate([np.arange(random.uniform(0, 2.5), length, 2.5) for _ in range(4)])
        strip = np.stack([way, random.uniform(0, 10, len(way))], axis=-1) + random.normal(0, 0.5, (len(way), 2))
        labels = cluster_strip(*columns(strip[np.argsort(strip[:, 0])]), 15, 15, 40.0)
        assert (labels == 0).all()


def test_streets_far_apart_are_clusters_of_their_own() -> None:
    random = np.random.default_rng(1)
    way = np.sort(np.concatenate([start + random.uniform(0, 20, 40) for start in (0.0, 100.0, 200.0)]))
    labels = cluster_strip(way, random.uniform(0, 10, len(way)), 15, 15, 40.0)
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], 40))


@pytest.mark.parametrize("count", [0, 1, 2, 14])
def test_too_few_points_are_noise(count: int) -> None:
    labels = cluster_strip(np.arange(float(count)), np.zeros(count), 15, 15, 40.0)
    assert labels.shape == (count,)
    assert (labels == NOISE).all()


def test_stacked_points_are_one_cluster() -> None:
    labels = cluster_strip(np.repeat([0.0, 50.0], 40), np.zeros(80), 15, 15, 40.0)
    np.testing.assert_array_equal(labels, np.repeat([0, 1], 40))
