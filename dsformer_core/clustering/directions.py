"""Which way a class's street runs, and the two focal points that follow from it (equation 9)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.group import Rows

Array = npt.NDArray[np.float64]


def street_directions(
    utm: Array, classes: Sequence[Rows], rule: str, headings_deg: npt.ArrayLike | None, workers: int = 1
) -> Array:
    """Directions of the streets that classes lie on.

    Args:
        utm: (N, 2) metres, all locations.
        classes: rows of each class.
        rule: ``headings``, ``surroundings`` or ``singular_vectors``; see `BlockClusteringConfig`.
        headings_deg: (N,) degrees clockwise from north, NaN where unknown; None where all are.
        workers: threads.

    Returns:
        (K, 2) unit vectors (east, north), pointing east, on a street due north north.
    """
    if rule == "singular_vectors":
        return eastward(np.array([principal_axis(utm[rows]) for rows in classes]).reshape(-1, 2))
    angles: Array = np.full(len(classes), np.nan)
    if not classes:
        return angles.reshape(0, 2)
    if rule == "headings" and headings_deg is not None:
        from dsformer_core.clustering.headings import heading_directions

        starts = np.cumsum([0, *map(len, classes)])
        angles = heading_directions(np.asarray(headings_deg, np.float64)[np.concatenate(classes)], starts)
    if (blind := np.flatnonzero(np.isnan(angles))).size:
        from dsformer_core.clustering.surroundings import surrounding_directions

        centres = np.array([utm[classes[number]].mean(axis=0) for number in blind])
        angles[blind] = surrounding_directions(utm, centres, workers)
    return eastward(np.stack([np.cos(angles), np.sin(angles)], axis=-1))


def principal_axis(locations: Array) -> Array:
    """(2,) the paper's street direction: the first left singular vector of the centred positions, as columns.

    Args:
        locations: (n, 2) metres.
    """
    centred = (locations - locations.mean(axis=0)).T
    # U's columns are the directions. Its rows are too only while its determinant is -1, which no library promises.
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, 0]


def focal_points(
    locations: npt.ArrayLike,
    distance: float = 15.0,
    *,
    street: npt.ArrayLike | None = None,
    lateral_side: str = "north",
) -> tuple[Array, Array]:
    """The points that a class's views look at: c = E[X] + F V (equation 9).

    Args:
        locations: (n, 2) metres, the class's positions.
        distance: F, metres.
        street: (2,) direction of the street; by default the paper's, `principal_axis`.
        lateral_side: on which side of the street the lateral point lies, ``north`` or ``south``. For streets due north,
            ``north`` means west.

    Returns:
        Lateral and frontal focal point, each (2,) metres. The frontal one lies towards the street's eastern end.
    """
    locations = np.asarray(locations, np.float64)
    direction = eastward(np.asarray(principal_axis(locations) if street is None else street, np.float64))
    return look_from(locations.mean(axis=0), direction, distance, lateral_side)


def look_from(centres: Array, streets: Array, distance: float, lateral_side: str) -> tuple[Array, Array]:
    """Equation 9 for many classes: lateral and frontal focal points, each (..., 2), of `centres` (..., 2).

    `streets` (..., 2) are unit vectors as `eastward` makes them.
    """
    left = np.stack([-streets[..., 1], streets[..., 0]], axis=-1)
    return centres + distance * (left if lateral_side == "north" else -left), centres + distance * streets


def eastward(directions: Array) -> Array:
    """Directions (..., 2) as unit vectors, turned round where they point west, or due south."""
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    # A hair west of north counts as north: what rounding decides must not decide on which side a camera looks.
    west = (unit[..., :1] < -1e-9) | ((np.abs(unit[..., :1]) <= 1e-9) & (unit[..., 1:] < 0))
    return np.where(west, -unit, unit)
