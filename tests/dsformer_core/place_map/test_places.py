"""Spacing and grouping must not depend on how long a robot stood somewhere, nor chain places together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.place_map.places import (
    COMPATIBLE_YAW,
    LONE_SPACING,
    SAME_SPOT,
    compatible_yaw,
    place_leaders,
    spacing,
    thin,
)
from tests.synthetic import ORIGIN


def line(count: int, step: float) -> np.ndarray:
    return ORIGIN + np.column_stack([step * np.arange(count), np.zeros(count)])


def test_spacing_is_the_median_step() -> None:
    assert spacing(line(5, 4.0)) == pytest.approx(4.0)
    assert spacing(np.repeat(line(5, 4.0), 5, axis=0)) == pytest.approx(4.0)
    assert spacing(line(1, 4.0)) == spacing(np.repeat(line(1, 4.0), 5, axis=0)) == LONE_SPACING


def test_a_stop_in_the_drive_leaves_the_spacing_as_it_is() -> None:
    drive = line(100, 4.0)
    red_light = drive[50] + np.random.default_rng(0).normal(0, 0.05, (150, 2))
    assert spacing(np.vstack([drive[:50], red_light, drive[50:]])) == pytest.approx(4.0, abs=0.3)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(0, 60), known=st.booleans())
def test_the_thinned_rows_are_apart_and_stand_for_all(seed: int, count: int, known: bool) -> None:
    random = np.random.default_rng(seed)
    utm = ORIGIN + random.uniform(0, 6, (count, 2))
    yaw = random.uniform(-np.pi, np.pi, count) if known else None
    rows = thin(utm, yaw=yaw)
    near = np.linalg.norm(utm[:, None] - utm[rows], axis=-1) <= SAME_SPOT
    if yaw is not None:
        near &= compatible_yaw(yaw[:, None], yaw[rows])
    assert near.any(axis=1).all()
    assert (near[rows].sum(axis=1) == 1).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), columns=st.integers(1, 20))
def test_a_place_is_what_lies_around_its_best(seed: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    utm = random.uniform(0, 120, (7, columns, 2))
    yaw = np.where(random.random((7, columns)) < 0.2, np.nan, random.uniform(-np.pi, np.pi, (7, columns)))
    leader = place_leaders(utm, yaw, 25.0)
    for query in range(7):
        leads = np.unique(leader[query])
        assert (leader[query, leads] == leads).all() and leads[0] == 0
        to_leader = np.linalg.norm(utm[query] - utm[query, leader[query]], axis=1)
        assert (to_leader <= 25.0).all()
        assert compatible_yaw(yaw[query], yaw[query, leader[query]]).all()
        apart = np.linalg.norm(utm[query, leads, None] - utm[query, leads], axis=-1) > 25.0
        apart |= ~compatible_yaw(yaw[query, leads, None], yaw[query, leads])
        assert (apart | np.eye(len(leads), dtype=bool)).all()
        alone = place_leaders(utm[query : query + 1], yaw[query : query + 1], 25.0)
        np.testing.assert_array_equal(alone[0], leader[query])


def test_an_unknown_direction_fits_any() -> None:
    yaw = np.array([0.0, np.nan, COMPATIBLE_YAW + 0.01])
    np.testing.assert_array_equal(compatible_yaw(yaw, np.zeros(3)), [True, True, False])
