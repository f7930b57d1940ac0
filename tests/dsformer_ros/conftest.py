"""What the tests of the node share: a small drive and its map."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from dsformer_core.extractor import Extractor
from dsformer_core.place_map import build_place_map
from dsformer_core.sources import open_source
from dsformer_ros.domains import private_domain

# pytest's importlib mode leaves helper modules beside the tests out of sight.
sys.path.insert(0, str(Path(__file__).parent))

from ros_processes import street


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain for this test alone."""
    with private_domain() as domain:
        yield domain


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve views, 20 m apart, in a manifest with positions and headings."""
    folder = tmp_path_factory.mktemp("drive")
    rows = ["path,latitude,longitude,altitude,heading_deg"]
    for number in range(12):
        name = f"{number:02d}.jpg"
        PillowImage.fromarray(street(number)).save(folder / name, quality=92)
        rows.append(f"{name},{55.7 + number * 20 / 111_200:.8f},13.2,{30 + number},0")
    (folder / "drive.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="session")
def place_map_directory(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("maps") / "drive.map"
    build_place_map(open_source(drive / "drive.csv"), Extractor("gem_mobilenet_v2"), directory, name="drive")
    return directory
