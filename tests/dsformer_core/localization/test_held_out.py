"""References that are asked of their own map do not find themselves."""

from pathlib import Path

import numpy as np
import pytest

from dsformer_core.localization.held_out import HeldOut, hold_out
from dsformer_core.place_map import PlaceMap
from tests.synthetic import ORIGIN, unit, write_map


def positions(count: int) -> np.ndarray:
    """A street with a picture every four metres."""
    return ORIGIN + np.stack([np.arange(count) * 4.0, np.zeros(count)], axis=1)


def looks(count: int, seed: int = 0) -> np.ndarray:
    """What changes slowly along a street: neighbours are alike, places fifty metres apart are not."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal((count + 12, 128))
    return unit(np.stack([steps[row : row + 12].sum(axis=0) for row in range(count)]))


@pytest.mark.parametrize("index", ["flat_fp16", "binary"])
def test_a_good_map_finds_held_out_references(tmp_path: Path, index: str) -> None:
    place_map = write_map(tmp_path / "a.map", looks(250), positions(250), np.zeros(250), index=index)
    heard: list[tuple[int, int]] = []
    held_out = hold_out(place_map, sample=80, on_progress=lambda done, total: heard.append((done, total)))
    assert len(np.unique(held_out.rows)) == 80
    assert heard[-1] == (80, 80)
    assert held_out.in_reach.all()
    assert held_out.right.mean() > 0.95
    assert held_out.localized.mean() > 0.5
    # Nobody finds itself: it and at least a metre around it are gone.
    assert held_out.error.min() > 0.01
    again = hold_out(place_map, sample=80)
    assert np.array_equal(again.rows, held_out.rows)
    assert np.array_equal(again.error, held_out.error)
    assert not np.array_equal(hold_out(place_map, sample=80, seed=2).rows, held_out.rows)


def test_pictures_that_are_like_no_other_are_not_found(tmp_path: Path) -> None:
    """Did references find themselves, this map would be perfect."""
    descriptors = unit(np.random.default_rng(0).standard_normal((250, 128)))
    place_map = write_map(tmp_path / "a.map", descriptors, positions(250), np.zeros(250), index="flat_fp16")
    held_out = hold_out(place_map, sample=60)
    assert held_out.right.mean() < 0.3
    assert held_out.localized.mean() < 0.1


def test_a_street_that_is_there_twice_is_found_at_random(tmp_path: Path) -> None:
    descriptors = looks(120)
    both = unit(np.concatenate([descriptors, descriptors + 0.02 * looks(120, 1)]))
    utm = np.concatenate([positions(120), positions(120) + np.array([0, 3000.0])])
    place_map = write_map(tmp_path / "a.map", both, utm, np.zeros(240), index="flat_fp16")
    held_out = hold_out(place_map, sample=60)
    assert held_out.right.mean() < 0.5
    assert held_out.localized.mean() < 0.2


def test_alone_at_its_place_a_reference_is_out_of_reach(tmp_path: Path) -> None:
    utm = ORIGIN + np.stack([np.arange(40) * 200.0, np.zeros(40)], axis=1)
    place_map = write_map(
        tmp_path / "a.map", unit(np.random.default_rng(0).standard_normal((40, 32))), utm, index="flat_fp16"
    )
    held_out = hold_out(place_map)
    assert len(held_out.rows) == 40
    assert not held_out.in_reach.any()
    assert not len(held_out.errors())


def test_one_reference_has_nobody_to_find_it(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / "a.map", unit(np.ones((1, 8))), ORIGIN[None], index="flat_fp16")
    held_out = hold_out(place_map)
    assert held_out.error.tolist() == [np.inf]
    assert not held_out.localized.any()
    assert [step.count for step in held_out.reliability()] == [1, 0, 0, 0, 0, 0]


def test_who_stands_still_is_asked_once(tmp_path: Path) -> None:
    utm = np.concatenate([positions(50), np.tile(positions(1), (200, 1))])
    place_map = write_map(
        tmp_path / "a.map", unit(np.concatenate([looks(50), np.tile(looks(1), (200, 1))])), utm, index="flat_fp16"
    )
    rows = hold_out(place_map, sample=50).rows
    assert ((rows == 0) | (rows >= 50)).sum() == 1


def test_reliability_counts_what_was_promised_and_kept() -> None:
    probability = np.array([0.1, 0.61, 0.79, 0.8, 1.0])
    error = np.array([3.0, 3.0, 90.0, 25.0, np.inf])
    held_out = HeldOut(np.arange(5), np.ones(5, bool), probability, error, probability >= 0.6)
    steps = {(step.low, step.high): step for step in held_out.reliability()}
    assert [step.count for step in held_out.reliability()] == [1, 0, 0, 2, 1, 1]
    assert steps[0.6, 0.8].promised == pytest.approx(0.7)
    assert steps[0.6, 0.8].kept == 0.5
    assert steps[0.8, 0.95].kept == 1
    assert steps[0.95, 1.0].kept == 0
    assert np.isnan(steps[0.2, 0.4].kept)
    assert held_out.errors().tolist() == [3.0, 90.0, 25.0, np.inf]


def test_a_map_says_the_same_of_itself_opened_anew(tmp_path: Path) -> None:
    write_map(tmp_path / "a.map", looks(60), positions(60), index="flat_fp16")
    first, second = (hold_out(PlaceMap.open(tmp_path / "a.map")) for _ in range(2))
    assert np.array_equal(first.probability, second.probability)
