"""What a mixture promises: moved and merged, the first two moments are those of what it stands for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsformer_core.localization.fusion.mixture import SAME_HEADING, Mixture

Numbers = NDArray[np.float64]

angles = st.floats(-math.pi, math.pi)
seeds = st.integers(0, 2**32 - 1)


def some(count: int, seed: int, *, across: float = 50.0) -> Mixture:
    """Hypotheses strewn over a square, of all headings from known to unknown."""
    random = np.random.default_rng(seed)
    mixture = Mixture.blank(count)
    mixture.weight = random.dirichlet(np.ones(count))
    yaw, length = random.uniform(-np.pi, np.pi, count), random.uniform(0, 1, count)
    mixture.mean[:, :2] = random.uniform(-across, across, (count, 2))
    mixture.mean[:, 2:] = length[:, None] * np.column_stack([np.cos(yaw), np.sin(yaw)])
    root = random.normal(size=(count, 4, 4)) * [5.0, 5.0, 0.3, 0.3]
    mixture.covariance = root.transpose(0, 2, 1) @ root
    mixture.rows = random.integers(0, 1000, (count, 20))
    return mixture


def turned(mean: Numbers, covariance: Numbers, variance: float) -> tuple[Numbers, Numbers]:
    """One hypothesis turned by an unknown angle, as the module's equations say it."""
    heading = mean[2:]
    square = covariance[2:, 2:] + np.outer(heading, heading)
    shrunk = heading * math.exp(-variance / 2)
    level = np.trace(square) / 2 * np.eye(2)
    square = level + math.exp(-2 * variance) * (square - level)
    after = covariance.copy()
    after[:2, 2:] *= math.exp(-variance / 2)
    after[2:, :2] *= math.exp(-variance / 2)
    after[2:, 2:] = square - np.outer(shrunk, shrunk)
    return np.concatenate([mean[:2], shrunk]), after


@given(
    seeds, st.floats(-20, 20), st.floats(-20, 20), angles, st.floats(0, 30), st.floats(0, 3)
)  # fmt: skip
def test_a_movement_is_half_the_turning_the_way_and_the_other_half(
    seed: int, x: float, y: float, yaw: float, variance: float, yaw_variance: float
) -> None:
    before = some(5, seed)
    after = before.moved(x, y, yaw, variance=variance, yaw_variance=yaw_variance)
    cosine, sine = math.cos(yaw), math.sin(yaw)
    step = np.array([[1, 0, x, -y], [0, 1, y, x], [0, 0, cosine, -sine], [0, 0, sine, cosine]])
    for number in range(5):
        mean, covariance = turned(before.mean[number], before.covariance[number], yaw_variance / 2)
        mean, covariance = turned(step @ mean, step @ covariance @ step.T, yaw_variance / 2)
        covariance[(0, 1), (0, 1)] += variance
        assert np.allclose(after.mean[number], mean, rtol=1e-9, atol=1e-9)
        assert np.allclose(after.covariance[number], covariance, rtol=1e-9, atol=1e-6)
    for kept in ("weight", "doubted", "answered", "rows"):
        assert np.array_equal(getattr(after, kept), getattr(before, kept))


def test_the_moments_are_those_of_robots_that_turn_and_drive() -> None:
    random = np.random.default_rng(0)
    robots, spread = 400_000, 0.4
    yaw = random.normal(0.7, 0.3, robots)
    place = random.multivariate_normal([10, -4], [[9, 2], [2, 4]], robots)
    heading = np.column_stack([np.cos(yaw), np.sin(yaw)])
    before = Mixture.blank(1)
    before.weight, before.mean = 1.0, np.concatenate([place, heading], axis=1).mean(axis=0)
    before.covariance = np.cov(np.concatenate([place, heading], axis=1).T)
    after = before.moved(6.0, 1.0, 0.5, variance=1.5, yaw_variance=spread)

    yaw += random.normal(0, math.sqrt(spread / 2), robots)
    place += np.column_stack([6 * np.cos(yaw) - np.sin(yaw), 6 * np.sin(yaw) + np.cos(yaw)])
    place += random.normal(0, math.sqrt(1.5), (robots, 2))
    yaw += 0.5 + random.normal(0, math.sqrt(spread / 2), robots)
    driven = np.concatenate([place, np.column_stack([np.cos(yaw), np.sin(yaw)])], axis=1)
    assert np.allclose(after.mean[0], driven.mean(axis=0), atol=0.03)
    assert np.allclose(after.covariance[0], np.cov(driven.T), atol=0.1)


@pytest.mark.parametrize("spread", [False, True])
@given(seed=seeds, count=st.integers(0, 40), across=st.floats(0.1, 100))
def test_merging_keeps_both_moments_and_joins_what_could_be_one(
    spread: bool, seed: int, count: int, across: float
) -> None:
    before = some(count, seed, across=across)
    after = before.merged(4.0, 64, spread=spread)
    assert (np.diff(after.weight) <= 1e-15).all(), "heaviest first"
    assert after.weight.sum() == pytest.approx(before.weight.sum())
    assert np.allclose(after.weight @ after.mean, before.weight @ before.mean, atol=1e-8)

    def second(mixture: Mixture) -> Numbers:
        square = mixture.covariance + mixture.mean[:, :, None] * mixture.mean[:, None, :]
        return np.einsum("m,mij->ij", mixture.weight, square)

    assert np.allclose(second(after), second(before), rtol=1e-9, atol=1e-6)
    if len(before) and len(after) == len(before):
        # Nothing joined: then whatever is near another one looks another way.
        apart = np.hypot(*(after.mean[:, None, :2] - after.mean[:, :2]).transpose(2, 0, 1))
        length = np.hypot(after.mean[:, 2], after.mean[:, 3])
        alike = after.mean[:, 2:] @ after.mean[:, 2:].T >= SAME_HEADING * length[:, None] * length + 1e-12
        assert not ((apart < 4.0 - 1e-9) & alike & ~np.eye(len(after), dtype=bool)).any()


def test_no_more_than_asked_for_are_kept_and_these_the_heaviest() -> None:
    mixture = some(30, 3, across=10_000.0)
    kept = mixture.merged(4.0, 8, spread=False)
    assert np.array_equal(kept.weight, np.sort(mixture.weight)[::-1][:8])
    assert len(mixture.merged(4.0, 8, spread=False, least=2.0)) == 0


def test_changing_a_copy_changes_nothing_else() -> None:
    mixture = some(4, 1)
    table = mixture.table.copy()
    copy = mixture.copy()
    copy.weight *= 0.5
    copy.covariance = np.eye(4)
    copy.moved(1.0, 2.0, 0.5, variance=1.0, yaw_variance=0.1)
    mixture.moved(1.0, 2.0, 0.5, variance=1.0, yaw_variance=0.1)
    mixture.merged(4.0, 2, spread=True)
    assert np.array_equal(mixture.table, table)
    assert np.array_equal(copy.weight, 0.5 * mixture.weight) and np.array_equal(copy.covariance[2], np.eye(4))
