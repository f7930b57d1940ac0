"""Block clustering as a whole, on cities and towns of which every street is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.clustering import BlockClusteringConfig, Group, blocks, cluster_blocks
from dsformer_core.errors import UsageError
from dsformer_core.ordered_map import ordered_map

from .conftest import CORNER, City, town

ANGLES = range(0, 180, 5)


def as_places(groups: list[Group], utm: np.ndarray) -> list[list[list[tuple[float, float]]]]:
    """Classes as sorted positions, which do not depend on the order of rows."""
    return [[sorted(map(tuple, utm[rows])) for rows in group.classes] for group in groups]


def check_promises(groups: list[Group], utm: np.ndarray, config: BlockClusteringConfig) -> None:
    assert len(groups) == config.groups
    for group in groups:
        assert group.peaks.shape == group.lateral.shape == group.frontal.shape == (len(group.classes), 2)
        for rows, peak in zip(group.classes, group.peaks, strict=True):
            assert rows.dtype == np.int64
            assert (np.diff(rows) > 0).all()
            assert len(rows) >= config.min_images
            assert np.linalg.norm(utm[rows] - peak, axis=1).max() <= config.radius + 1e-6
            # A class lies within one strip of either axis.
            assert np.ptp(utm[rows], axis=0).min() < config.block_width
        rows = np.concatenate(group.classes) if group.classes else np.empty(0, int)
        assert len(np.unique(rows)) == len(rows)
        apart = np.linalg.norm(group.peaks[:, None] - group.peaks, axis=-1) + np.diag(np.full(len(group.peaks), 1e9))
        if group.classes:
            assert apart.min() >= config.min_distance


@pytest.mark.parametrize(("count", "seed"), [(3000, 3), (10000, 1), (30000, 0)])
@pytest.mark.parametrize("exclusion", ["greedy", "remove_both"])
def test_a_citys_classes_keep_their_promises(
    make_city: Callable[[int, int], City], count: int, seed: int, exclusion: str
) -> None:
    city = make_city(count, seed)
    config = BlockClusteringConfig(exclusion=exclusion)
    groups = cluster_blocks(city.utm, config, headings_deg=city.headings_deg)
    check_promises(groups, city.utm, config)
    assert sum(group.images for group in groups) > 0.4 * count


def test_greedy_keeps_more_than_removing_both(make_city: Callable[[int, int], City]) -> None:
    utm = make_city(30000, 0).utm
    greedy, both = (
        sum(len(group.classes) for group in cluster_blocks(utm, BlockClusteringConfig(exclusion=rule)))
        for rule in ("greedy", "remove_both")
    )
    assert greedy > both


def test_the_answer_does_not_depend_on_order_or_workers(make_city: Callable[[int, int], City]) -> None:
    city = make_city(10000, 1)
    # Exact duplicates, and some locations on edges between strips.
    utm = np.concatenate([city.utm, city.utm[::7], np.round(city.utm[::11])])
    headings = np.concatenate([city.headings_deg, city.headings_deg[::7], city.headings_deg[::11]])
    groups = cluster_blocks(utm, headings_deg=headings, workers=1)
    shuffled = np.random.default_rng(0).permutation(len(utm))
    again = cluster_blocks(utm[shuffled], headings_deg=headings[shuffled], workers=3)
    assert as_places(groups, utm) == as_places(again, utm[shuffled])
    for one, other in zip(groups, again, strict=True):
        np.testing.assert_array_equal(one.peaks, other.peaks)
        np.testing.assert_array_equal(one.lateral, other.lateral)
        np.testing.assert_array_equal(one.frontal, other.frontal)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), min_size=15, max_size=150).filter(
        lambda cells: len(set(cells)) > 1
    ),
    st.integers(2, 15),
    st.integers(1, 15),
    st.sampled_from([0.0, 10.0, 40.0]),
    st.randoms(use_true_random=False),
)
def test_any_locations_keep_the_promises(
    cells: list[tuple[int, int]], smallest: int, samples: int, least: float, random
) -> None:
    """Lattices of half metres: duplicates, equal distances, points on edges, classes that would overlap."""
    utm = CORNER + np.array(cells) / 2
    config = BlockClusteringConfig(
        min_cluster_size=smallest, min_samples=samples, min_images=3, min_distance=least, groups=2
    )
    groups = cluster_blocks(utm, config, workers=1)
    check_promises(groups, utm, config)
    order = list(range(len(utm)))
    random.shuffle(order)
    assert as_places(groups, utm) == as_places(cluster_blocks(utm[order], config, workers=2), utm[order])


@pytest.mark.parametrize("lane", [1.75, 5.25])
def test_no_class_spans_two_parallel_streets(lane: float) -> None:
    for angle in ANGLES:
        streets = town(angle, (0.0, 20.0, 40.0), lane=lane, passes=8, seed=angle)
        groups = cluster_blocks(streets.utm)
        assert sum(len(group.classes) for group in groups) > 20
        for group in groups:
            for rows in group.classes:
                assert len(set(streets.street[rows])) == 1, angle


def test_every_strip_counts_the_last_cluster_too() -> None:
    """A street due north: one cluster in each of its strips, and none of them is lost."""
    street = town(0.0, length=200.0, passes=6)
    groups = cluster_blocks(street.utm, BlockClusteringConfig(min_distance=0.0))
    classes = [rows for group in groups for rows in group.classes]
    # 20 strips of 10 m across the street, each with a class; the last may be cut short by the street's end.
    assert len(classes) >= 20


def test_a_strip_of_one_point_and_groups_without_a_class() -> None:
    street = town(90.0, length=100.0)
    lonely = street.utm[0] + [1234.5, 777.7]
    groups = cluster_blocks(np.concatenate([street.utm, [lonely]]), BlockClusteringConfig(groups=60))
    assert any(group.classes for group in groups)
    empty = [group for group in groups if not group.classes]
    assert empty
    assert all(group.peaks.shape == group.lateral.shape == group.frontal.shape == (0, 2) for group in empty)
    assert not any(len(street.utm) in rows for group in groups for rows in group.classes)


def test_locations_too_sparse_give_no_class() -> None:
    sparse = CORNER + np.random.default_rng(0).uniform(0, 10_000, (100, 2))
    assert not any(group.classes for group in cluster_blocks(sparse))


def test_peaks_are_where_most_locations_are_near() -> None:
    random = np.random.default_rng(0)
    middle = CORNER + np.array([52.0, 5.0])
    crowd = middle + random.normal(0, 1.0, (30, 2))
    trail = CORNER + np.stack([np.linspace(0, 100, 60), np.full(60, 5.0)], axis=-1)
    utm = np.concatenate([crowd, trail])
    groups = cluster_blocks(utm, BlockClusteringConfig(block_width=200.0, groups=1))
    assert len(groups[0].classes) >= 1
    assert np.linalg.norm(groups[0].peaks[0] - middle) < 3.0


def test_there_are_as_many_threads_as_cores_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container or `taskset` may leave fewer cores than the machine has."""
    used = []

    def counted(*arguments: Any, workers: int, **options: Any) -> Any:
        used.append(workers)
        return ordered_map(*arguments, workers=workers, **options)

    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(3)))
    monkeypatch.setattr(blocks, "ordered_map", counted)
    cluster_blocks(town(30.0).utm)
    assert set(used) == {3}


def test_progress_counts_every_strip() -> None:
    seen = []
    cluster_blocks(town(30.0).utm, on_progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


@pytest.mark.parametrize(
    ("utm", "words"),
    [
        (np.empty((0, 2)), "empty"),
        (CORNER + np.arange(28).reshape(14, 2), "14 locations are too few"),
        (np.repeat([CORNER], 100, axis=0), "the same"),
        (np.array([37.77, -122.42]) + np.random.default_rng(0).uniform(0, 0.05, (100, 2)), "latitude and longitude"),
        (np.array([-122.42, 37.77]) + np.random.default_rng(0).uniform(0, 0.05, (100, 2)), "latitude and longitude"),
        (np.zeros((100, 3)), "shape"),
        ([["a", "b"]] * 20, "not numbers"),
    ],
)
def test_what_cannot_be_clustered_is_said_in_one_line(utm: np.ndarray, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        cluster_blocks(utm)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_row_that_is_no_position_is_named(value: float) -> None:
    utm = town(0.0).utm
    utm[17, 1] = utm[30, 0] = value
    with pytest.raises(UsageError, match="2 positions are not finite, the first in row 17"):
        cluster_blocks(utm)


def test_headings_must_be_as_many_as_locations() -> None:
    with pytest.raises(UsageError, match="one for each"):
        cluster_blocks(town(0.0).utm, headings_deg=[1.0, 2.0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"block_width": 0.0}, "out of range"),
        ({"groups": 2.5}, "not a whole number"),
        ({"radius": float("nan")}, "not a number"),
        ({"exclusion": "random"}, "greedy, remove_both"),
        ({"blockwidth": 3.0}, "no setting 'blockwidth'"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BlockClusteringConfig.from_dict(settings)
