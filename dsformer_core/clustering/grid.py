"""The partition of CosPlace and EigenPlaces, for comparison: squares of a grid are classes ("Remove BC")."""

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.config import GridConfig
from dsformer_core.clustering.directions import look_from, street_directions
from dsformer_core.clustering.group import Group
from dsformer_core.clustering.heading_checks import refuse_one_heading
from dsformer_core.clustering.positions import check_headings, check_positions


def grid_partition(
    utm: npt.ArrayLike, config: GridConfig | None = None, *, headings_deg: npt.ArrayLike | None = None
) -> list[Group]:
    """Partitions locations by the squares of a grid; neighbouring squares are in different groups.

    Args:
        utm: (N, 2) metres, easting and northing in one zone.
        config: settings; EigenPlaces' by default.
        headings_deg: (N,) where each vehicle headed, degrees clockwise from north; NaN where unknown.

    Returns:
        `config.groups`² groups, classes ordered by square from west to east, then south to north. A class's peak is
        its mean position.

    Raises:
        UsageError: positions or headings cannot be used; see `check_positions` and `refuse_one_heading`.
    """
    config = config or GridConfig()
    positions = check_positions(utm, fewest=config.min_images)
    headings = check_headings(headings_deg, len(positions))
    if config.direction == "headings" and headings is not None:
        refuse_one_heading(headings, positions)
    cells = np.floor(positions / config.cell_size).astype(np.int64)
    keys = [positions[:, 1], positions[:, 0], cells[:, 1], cells[:, 0]]
    order = np.lexsort(keys if headings is None else [headings, *keys])
    starts = np.flatnonzero(np.diff(cells[order], axis=0, prepend=cells[order[:1]] - 1).any(axis=1))
    squares = [rows for rows in np.split(order, starts[1:]) if len(rows) >= config.min_images]
    streets = street_directions(positions, squares, config.direction, headings)
    group_of = np.array([cells[rows[0]] % config.groups @ [config.groups, 1] for rows in squares], np.int64)
    groups = []
    for number in range(config.groups**2):
        own = np.flatnonzero(group_of == number)
        centres = np.array([positions[squares[square]].mean(axis=0) for square in own]).reshape(-1, 2)
        lateral, frontal = look_from(centres, streets[own], config.focal_distance, config.lateral_side)
        classes = [np.sort(squares[square]) for square in own]
        groups.append(Group(classes=classes, peaks=centres, lateral=lateral, frontal=frontal))
    return groups
