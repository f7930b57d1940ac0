"""Equation 7: which strip and which group a location falls into."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.clustering.strips import EAST, NORTH, strips

# Quarter metres are exact in binary, so edges are hit exactly.
positions = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(lambda cell: (cell[0] / 4, cell[1] / 4)),
    min_size=1,
    max_size=60,
).map(lambda cells: np.array(cells) + np.array([548_000.0, 4_179_000.0]))


@given(positions, st.sampled_from([EAST, NORTH]), st.sampled_from([0.25, 2.5, 10.0]), st.integers(1, 7))
def test_every_location_is_in_one_strip_and_the_group_of_equation_7(
    utm: np.ndarray, axis: int, width: float, groups: int
) -> None:
    cut = list(strips(utm, axis, width, groups))
    rows = np.concatenate([strip.rows for strip in cut])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(utm)))
    group = np.empty(len(utm), int)
    for strip in cut:
        group[strip.rows] = strip.group
        assert (strip.across >= 0).all()
        assert (strip.across < width).all()
        assert (np.diff(strip.along) >= 0).all()
    relative = utm[:, axis] - utm[:, axis].min()
    np.testing.assert_array_equal(group, np.floor(np.mod(relative, width * groups) / width))


def test_an_edge_belongs_to_the_strip_above_it() -> None:
    utm = np.array([[0.0, 0.0], [9.99, 0.0], [10.0, 0.0], [20.0, 0.0]])
    assert [strip.rows.tolist() for strip in strips(utm, EAST, 10.0, 5)] == [[0, 1], [2], [3]]


@pytest.mark.parametrize("axis", [EAST, NORTH])
def test_coordinates_are_small(axis: int) -> None:
    """Millions of metres squared would leave no digits for centimetres."""
    utm = np.array([548_000.0, 4_179_000.0]) + np.random.default_rng(0).uniform(0, 100, (50, 2))
    for strip in strips(utm, axis, 10.0, 5):
        assert max(strip.along.max(), strip.across.max()) <= 100
