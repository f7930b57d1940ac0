"""Headings that cannot be what they are said to be are not believed."""

import logging

import numpy as np
import pytest

from dsformer_core.clustering import BlockClusteringConfig, GridConfig, cluster_blocks, grid_partition, split_by_heading
from dsformer_core.errors import UsageError

from .conftest import City, town

SURROUNDINGS = BlockClusteringConfig(direction="surroundings")


@pytest.fixture(scope="module")
def crossroads() -> City:
    """Streets two ways, far enough from each other to be seen apart."""
    one, other = town(20.0), town(120.0, (300.0,), seed=1)
    return City(*(np.concatenate([getattr(city, name) for city in (one, other)]) for name in City.__annotations__))


@pytest.mark.parametrize("heading", [0.0, 359.6, 120.0, -90.0])
def test_one_heading_throughout_is_refused(crossroads: City, heading: float) -> None:
    """As data sets have it whose headings were lost; here with a few that were not."""
    headings = np.full(len(crossroads.utm), heading)
    headings[::150], headings[1::150] = 77.0, np.nan
    words = rf"99.\d % of the known headings are about {round(heading) % 360} degrees, but streets run several ways"
    with pytest.raises(UsageError, match=words):
        cluster_blocks(crossroads.utm, headings_deg=headings)
    with pytest.raises(UsageError, match=words):
        grid_partition(crossroads.utm, GridConfig(direction="headings"), headings_deg=headings)
    groups = cluster_blocks(crossroads.utm, SURROUNDINGS, headings_deg=headings)
    assert any(group.classes for group in groups)
    with pytest.raises(UsageError, match=words):
        split_by_heading(groups, crossroads.utm, headings, min_images=5)


def test_a_few_headings_prove_nothing(crossroads: City) -> None:
    headings = np.full(len(crossroads.utm), np.nan)
    headings[7] = 280.0
    assert any(group.classes for group in cluster_blocks(crossroads.utm, headings_deg=headings))


def test_headings_are_compared_with_the_streets_they_are_of(crossroads: City) -> None:
    """Another street, of which no heading is known, says nothing about them."""
    headings = np.where(np.arange(len(crossroads.utm)) < len(crossroads.utm) / 2, 70.0, np.nan)
    groups = cluster_blocks(crossroads.utm, headings_deg=headings)
    assert any(group.classes for group in groups)


@pytest.mark.parametrize("heading", [1e9, -361.0, 720.0, np.inf])
def test_what_is_no_angle_is_refused(crossroads: City, heading: float) -> None:
    headings = crossroads.headings_deg.copy()
    headings[7] = heading
    words = f"1 headings are no angles, the first is {heading:g} in row 7".replace("+", r"\+")
    for partition in (cluster_blocks, grid_partition):
        with pytest.raises(UsageError, match=words):
            partition(crossroads.utm, headings_deg=headings)
    with pytest.raises(UsageError, match=words):
        split_by_heading([], crossroads.utm, headings, min_images=5)


@pytest.mark.parametrize("angle", range(0, 180, 30))
def test_one_heading_along_one_street_is_believed(angle: int, caplog: pytest.LogCaptureFixture) -> None:
    street = town(angle)
    headings = np.full(len(street.utm), 90.0 - angle)
    groups = cluster_blocks(street.utm, headings_deg=headings)
    assert split_by_heading(groups, street.utm, headings, min_images=5)
    assert not caplog.records


def test_headings_that_are_not_the_vehicles_are_warned_of(crossroads: City, caplog: pytest.LogCaptureFixture) -> None:
    cluster_blocks(crossroads.utm, headings_deg=crossroads.headings_deg)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        cluster_blocks(crossroads.utm, headings_deg=crossroads.headings_deg + 90)
    (record,) = caplog.records
    assert "in 100 % of the classes, headings lie over 30 degrees off the street" in record.getMessage()
    caplog.clear()
    cluster_blocks(crossroads.utm, SURROUNDINGS, headings_deg=crossroads.headings_deg + 90)
    assert not caplog.records


def test_true_headings_of_a_city_are_believed(make_city, caplog: pytest.LogCaptureFixture) -> None:
    for count, seed in ((3000, 3), (20000, 2)):
        city = make_city(count, seed)
        cluster_blocks(city.utm, headings_deg=city.headings_deg)
        assert not caplog.records
        with pytest.raises(UsageError, match="100 % of the known headings are about 0 degrees"):
            cluster_blocks(city.utm, headings_deg=np.zeros(count))
