"""What of the ground a map covers: squares, directions, streets, gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.place_map.inspection.coverage import Cells, cells, gaps, squares, street_length, stretches

CORNER = np.array([380_000.0, 6_170_000.0])


def straight(length: float, step: float, angle: float = 0.0) -> np.ndarray:
    along = np.arange(0, length, step)[:, None]
    return CORNER + along * [np.cos(angle), np.sin(angle)]


@given(st.integers(0, 1000), st.integers(1, 60))
def test_every_reference_lies_in_its_square(seed: int, count: int) -> None:
    utm = CORNER + np.random.default_rng(seed).uniform(-200, 200, (count, 2))
    divided = cells(utm, np.full(count, np.nan))
    inside = utm - divided.low[divided.of_reference]
    assert ((inside >= 0) & (inside < divided.size)).all()
    assert divided.count.tolist() == np.bincount(divided.of_reference).tolist()
    assert len(np.unique(divided.low, axis=0)) == len(divided.low)
    assert np.isnan(divided.directions).all()
    assert not divided.one_way.any()


def test_squares_grow_until_they_are_few() -> None:
    utm = CORNER + np.random.default_rng(0).uniform(0, 1000, (5000, 2))
    side, grid, square = squares(utm, 1.0, most=300)
    assert len(grid) <= 300
    assert side == 64
    assert (np.floor(utm / side) == grid[square]).all()


@pytest.mark.parametrize(
    ("yaws", "share", "one_way"),
    [
        ([0.3], 1 / 3, True),
        ([0.3, 0.4], 1 / 3, True),
        ([0.3, 0.3 + np.pi], 2 / 3, False),
        ([0.1, 0.1 + 2 * np.pi / 3, 0.1 - 2 * np.pi / 3], 1.0, False),
        ([0.3, np.nan], 1 / 3, True),
    ],
)
def test_directions_known(yaws: list[float], share: float, one_way: bool) -> None:
    divided = cells(np.tile(CORNER + 1, (len(yaws), 1)), np.array(yaws))
    assert divided.directions[0] == pytest.approx(share, abs=0.05)
    assert divided.one_way.tolist() == [one_way]


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.2])
@pytest.mark.parametrize("passes", [1, 4])
def test_streets_are_as_long_as_they_are(angle: float, passes: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, (passes, 250, 2))
    utm = (straight(1000, 4, angle) + noise).reshape(-1, 2)
    assert street_length(utm) == pytest.approx(1000, rel=0.12)


def test_streets_apart_are_not_linked() -> None:
    utm = np.concatenate([straight(200, 4), straight(200, 4) + np.array([0, 400])])
    assert street_length(utm) == pytest.approx(400, rel=0.1)
    assert street_length(CORNER[None]) == 0


def test_gaps_are_where_a_drive_left_out_ground() -> None:
    utm = straight(600, 4)
    left = np.concatenate([utm[:50], utm[70:100], utm[104:]])
    times = np.full(len(left), np.nan)
    one = np.zeros(len(left), np.int64)
    found = gaps(left, one, times, 25.0)
    assert [(gap.before, gap.after, round(gap.length)) for gap in found] == [(49, 50, 84)]
    assert len(gaps(left, one, times, 15.0)) == 2
    assert len(gaps(left, one, np.arange(len(left)) * 2.0, 25.0)) == 1
    # Within a second nobody drives 84 m.
    assert not gaps(left, one, np.arange(len(left)) * 1.0, 25.0)
    # Another drive along the same street fills it; a new drive far away is no gap.
    both = np.concatenate([left, utm[::-1]])
    assert not gaps(both, np.repeat([0, 1], [len(left), len(utm)]), np.full(len(both), np.nan), 25.0)
    jumped = np.concatenate([utm, utm + np.array([0, 2000])])
    assert not gaps(jumped, np.zeros(len(jumped), np.int64), np.full(len(jumped), np.nan), 25.0)
    beside = np.concatenate([utm, utm + np.array([0, 100])])
    assert not gaps(beside, np.repeat([0, 1], len(utm)), np.full(len(beside), np.nan), 25.0)
    assert not gaps(utm[:1], np.zeros(1, np.int64), np.zeros(1), 25.0)


def test_stretches_are_cells_that_touch() -> None:
    low = np.array([[0, 0], [25, 0], [50, 25], [300, 0], [325, 0], [600, 0]], dtype=float)
    divided = Cells(25.0, low, np.ones(6, np.int64), np.full(6, 0.3), np.arange(6))
    assert [sorted(group) for group in stretches(divided, np.array([1, 1, 1, 1, 1, 0], bool))] == [[0, 1, 2], [3, 4]]
    assert stretches(divided, np.zeros(6, bool)) == []
