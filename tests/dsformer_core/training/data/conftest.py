"""Panoramas on two streets of a town, and the partition of them."""

from pathlib import Path

import numpy as np
import pytest

from dsformer_core.clustering.config import BlockClusteringConfig
from dsformer_core.clustering.group import Group
from dsformer_core.clustering.partition import write_partition
from dsformer_core.geodesy import UtmZone
from tests.compass_panoramas import write_panorama

ZONE = UtmZone(33, True)
# West of the central meridian by two degrees: grid north is 1.6 degrees off true north.
ORIGIN = np.array([380_000.0, 6_170_000.0])
WIDTH, HEIGHT = 832, 128
PER_CLASS = 4
ACROSS, ALONG = np.array([3.0, 15.0]), np.array([-15.0, 3.0])


def write_town(folder: Path) -> Path:
    """Two groups of three and two classes; the first panorama of group 0 is in a class of group 1, too."""
    random = np.random.default_rng(0)
    count = 5 * PER_CLASS
    utm = ORIGIN + np.repeat([(0, 0), (60, 0), (120, 10), (0, 70), (80, 90)], PER_CLASS, axis=0)
    utm = utm + random.uniform(-4, 4, (count, 2))
    headings = random.uniform(0, 360, count).round(1)
    names = [f"{number % 2}/@{east:.2f}@{north:.2f}@.jpg" for number, (east, north) in enumerate(utm)]
    for name, heading in zip(names, headings, strict=True):
        write_panorama(folder / "panoramas" / name, WIDTH, HEIGHT, heading)
    classes = np.arange(count).reshape(5, PER_CLASS)
    groups = []
    for members in (list(classes[:3]), [classes[3], np.concatenate([[0], classes[4]])]):
        peaks = np.array([utm[rows[-1]] for rows in members])
        groups.append(Group(members, peaks, lateral=peaks + ACROSS, frontal=peaks + ALONG))
    write_partition(
        folder / "town.partition",
        groups,
        utm=utm,
        config=BlockClusteringConfig(),
        images=names,
        images_root="../panoramas",
        headings_deg=headings,
        zone=ZONE,
    )
    return folder / "town.partition"


@pytest.fixture(scope="session")
def shared_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partition that tests only read."""
    return write_town(tmp_path_factory.mktemp("town"))


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """A partition that a test may spoil."""
    return write_town(tmp_path)
