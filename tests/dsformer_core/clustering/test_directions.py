"""Which way a class's street runs, and where its views look."""

from collections.abc import Callable

import numpy as np
import pytest

from dsformer_core.clustering import BlockClusteringConfig, Group, cluster_blocks, focal_points, split_by_heading
from dsformer_core.errors import UsageError

from .conftest import CORNER, City, town


def off_by(directions: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Angles between directions (K, 2) and lines at so many degrees from east, in [0, 90]."""
    angles = np.degrees(np.arctan2(directions[:, 1], directions[:, 0]))
    return np.abs(np.mod(angles - degrees + 90, 180) - 90)


def looks(groups: list[Group], utm: np.ndarray, view: str) -> np.ndarray:
    """(K, 2) from each class's mean position to its focal point."""
    return np.array(
        [
            focal - utm[rows].mean(axis=0)
            for group in groups
            for rows, focal in zip(group.classes, getattr(group, view), strict=True)
        ]
    )


@pytest.mark.parametrize("direction", ["headings", "surroundings"])
@pytest.mark.parametrize("offsets", [(0.0,), (0.0, 20.0)])
def test_views_look_along_and_across_streets_at_every_angle(direction: str, offsets: tuple[float, ...]) -> None:
    for angle in range(0, 180, 5):
        streets = town(angle, offsets, seed=angle)
        groups = cluster_blocks(
            streets.utm, BlockClusteringConfig(direction=direction), headings_deg=streets.headings_deg
        )
        lateral, frontal = (looks(groups, streets.utm, view) for view in ("lateral", "frontal"))
        assert off_by(frontal, angle).max() < 3, angle
        assert off_by(lateral, angle + 90).max() < 3, angle
        np.testing.assert_allclose(np.linalg.norm(lateral, axis=1), 15.0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(frontal, axis=1), 15.0, atol=1e-6)


@pytest.mark.parametrize("direction", ["headings", "surroundings"])
@pytest.mark.parametrize(("count", "seed"), [(10000, 1), (30000, 0)])
def test_directions_in_a_city(make_city: Callable[[int, int], City], count: int, seed: int, direction: str) -> None:
    city = make_city(count, seed)
    groups = cluster_blocks(city.utm, BlockClusteringConfig(direction=direction), headings_deg=city.headings_deg)
    errors = np.array(
        [
            off_by((focal - city.utm[rows].mean(axis=0))[None], city.direction[rows[0]])[0]
            for group in groups
            for rows, focal in zip(group.classes, group.frontal, strict=True)
            if len(set(city.street[rows])) == 1
        ]
    )
    assert len(errors) > 100
    assert (errors > 45).mean() < 0.02
    assert np.median(errors) < 3


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_the_papers_rule_takes_the_columns(angle: int) -> None:
    """Rows and columns of U differ by a reflection wherever a library returns a proper rotation."""
    street = town(angle, length=60.0, noise=0.1)
    lateral, frontal = focal_points(street.utm, 15.0)
    centre = street.utm.mean(axis=0)
    assert off_by((frontal - centre)[None], np.array([angle]))[0] < 3
    assert off_by((lateral - centre)[None], np.array([angle + 90]))[0] < 3


@pytest.mark.parametrize("angle", range(5, 360, 15))
def test_the_side_is_explicit(angle: int) -> None:
    """Whichever way a direction points: the lateral view looks to the named side, the frontal one east."""
    locations = CORNER + np.random.default_rng(0).normal(0, 1, (20, 2))
    street = [np.cos(np.radians(angle)), np.sin(np.radians(angle))]
    centre = locations.mean(axis=0)
    for side, sign in (("north", 1), ("south", -1)):
        lateral, frontal = focal_points(locations, 10.0, street=street, lateral_side=side)
        assert sign * (lateral - centre)[1] > 0
        assert (frontal - centre)[0] > 0


@pytest.mark.parametrize("street", [(0.0, 1.0), (0.0, -1.0), (-1e-17, 1.0), (1e-17, -1.0)])
def test_on_a_street_due_north_the_north_side_is_west(street: tuple[float, float]) -> None:
    lateral, frontal = focal_points([[0.0, 0.0]], 10.0, street=street)
    np.testing.assert_allclose(lateral, [-10.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(frontal, [0.0, 10.0], atol=1e-9)


def test_where_streets_cross_the_busier_one_counts() -> None:
    busy, quiet = town(20.0, passes=6), town(80.0, passes=2, seed=1)
    utm = np.concatenate([busy.utm, quiet.utm])
    headings = np.concatenate([busy.headings_deg, quiet.headings_deg])
    groups = cluster_blocks(utm, headings_deg=headings)
    crossing = [
        (rows, focal)
        for group in groups
        for rows, focal in zip(group.classes, group.frontal, strict=True)
        if (rows < len(busy.utm)).sum() > 1.5 * (rows >= len(busy.utm)).sum() > 0
    ]
    assert crossing
    frontal = np.array([focal - utm[rows].mean(axis=0) for rows, focal in crossing])
    assert off_by(frontal, 20.0).max() < 5


def test_unknown_headings_leave_the_surroundings() -> None:
    street = town(40.0)
    groups = cluster_blocks(street.utm, headings_deg=np.full(len(street.utm), np.nan))
    assert off_by(looks(groups, street.utm, "frontal"), 40.0).max() < 3


def test_pictures_are_split_by_where_they_look() -> None:
    street = town(30.0, passes=12)
    random = np.random.default_rng(0)
    turn = random.choice([0.0, 90.0, 180.0, 270.0], len(street.utm))
    headings = np.mod(90 - 30.0 + turn + random.normal(0, 5, len(turn)), 360)
    headings[::10] = np.nan
    groups = cluster_blocks(street.utm, BlockClusteringConfig(direction="surroundings"))
    split = split_by_heading(groups, street.utm, headings, min_images=5)

    assert len(split) == len(groups)
    assert sum(len(group.classes) for group in split) > 2 * sum(len(group.classes) for group in groups)
    for group in split:
        assert group.angles is not None
        for rows, angle, lateral, frontal in zip(
            group.classes, group.angles, group.lateral, group.frontal, strict=True
        ):
            assert len(rows) >= 5
            assert len(set(turn[rows])) == 1
            assert angle == (0 if turn[rows[0]] % 180 else 90)
            # The focal point of the view lies ahead of the pictures.
            ahead = (lateral if angle == 0 else frontal) - street.utm[rows].mean(axis=0)
            compass = np.radians(90 - headings[rows])
            assert (np.stack([np.cos(compass), np.sin(compass)], axis=-1) @ ahead > 0).all()


def test_pictures_without_any_heading_cannot_be_split() -> None:
    street = town(30.0)
    with pytest.raises(UsageError, match="no picture has a heading"):
        split_by_heading(cluster_blocks(street.utm), street.utm, np.full(len(street.utm), np.nan), min_images=5)
