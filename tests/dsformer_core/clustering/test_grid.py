"""The squares of CosPlace and EigenPlaces."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.clustering import GridConfig, cluster_blocks, grid_partition
from dsformer_core.clustering.statistics import statistics_of_groups

from .conftest import CORNER, town


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=30, max_size=200),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_classes_are_squares_and_neighbours_are_in_other_groups(
    cells: list[tuple[int, int]], groups: int, random
) -> None:
    utm = CORNER + np.array(cells) / 4 + np.arange(len(cells))[:, None] * 1e-3
    config = GridConfig(cell_size=10.0, groups=groups, min_images=2)
    partition = grid_partition(utm, config)
    assert len(partition) == groups**2
    square = np.floor(utm / 10.0).astype(int)
    wanted = {
        tuple(one): set(np.flatnonzero((square == one).all(axis=1)).tolist()) for one in np.unique(square, axis=0)
    }
    found = {}
    for number, group in enumerate(partition):
        for rows in group.classes:
            one = tuple(square[rows[0]])
            found[one] = set(rows.tolist())
            assert number == one[0] % groups * groups + one[1] % groups
    assert found == {one: rows for one, rows in wanted.items() if len(rows) >= 2}

    order = list(range(len(utm)))
    random.shuffle(order)
    again = grid_partition(utm[order], config)
    for group, other in zip(partition, again, strict=True):
        np.testing.assert_array_equal(group.lateral, other.lateral)
        assert [set(rows) for rows in group.classes] == [set(np.array(order)[rows]) for rows in other.classes]


def test_a_grid_keeps_more_images_in_less_even_classes() -> None:
    streets = town(30.0, (0.0, 80.0), passes=8)
    squares, blocks = (
        statistics_of_groups(groups, len(streets.utm))
        for groups in (
            grid_partition(streets.utm),
            cluster_blocks(streets.utm, headings_deg=streets.headings_deg),
        )
    )
    assert squares["share"] > blocks["share"] + 0.05
    assert squares["sizes"]["variation"] > 2 * blocks["sizes"]["variation"]
