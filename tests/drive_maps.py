"""Maps of made-up drives whose references can be told apart wherever they end up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.place_map.building.build import add_to_place_map
from dsformer_core.sources import GeotaggedPicture, Skipped
from tests.synthetic import ORIGIN, ArrayExtractor, ArraySource, unit

DIMENSION = 16


class DriveSource(ArraySource):
    """A drive with a name, whose pictures have a colour each."""

    def __init__(self, name: str, utm: np.ndarray, yaw: np.ndarray) -> None:
        super().__init__(utm, yaw)
        self.name = name

    def scan(self, on_progress: Any = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        pictures, skipped = super().scan(on_progress)
        return [self._own(row, picture) for row, picture in enumerate(pictures)], skipped

    def _own(self, row: int, picture: GeotaggedPicture) -> GeotaggedPicture:
        name = f"{self.name}/{row:03d}.jpg"
        colour = np.random.default_rng(len(self.name) * 1000 + row).integers(0, 256, 3).astype(np.uint8)
        pixels = np.broadcast_to(colour, (32, 32, 3))
        return replace(picture, id=name, image=f"/pictures/{name}", load=lambda *, at_least=None: pixels)


def drive(name: str, count: int, seed: int, *, side: float = 60.0) -> tuple[DriveSource, Any]:
    """References at random within a square, and what describes them; a sixth have no heading."""
    random = np.random.default_rng(seed)
    yaw = random.uniform(-np.pi, np.pi, count)
    yaw[random.random(count) < 1 / 6] = np.nan
    source = DriveSource(name, ORIGIN + random.uniform(0, side, (count, 2)), yaw)
    return source, ArrayExtractor(unit(random.normal(size=(count, DIMENSION))))


def drive_map(directory: Path, name: str, count: int = 12, seed: int = 0, **options: Any) -> PlaceMap:
    """The map of a drive."""
    source, extractor = drive(name, count, seed)
    return build_place_map(source, extractor, directory, **options)


def add_drive(place_map: PlaceMap, name: str, count: int, seed: int) -> PlaceMap:
    """The map with another drive in it."""
    source, extractor = drive(name, count, seed)
    return add_to_place_map(place_map, source, extractor)


def references(place_map: PlaceMap) -> dict[str, tuple[Any, ...]]:
    """What a map says of each picture, to the bit, by where that was: not by its id, which merging may change."""
    found = {}
    for row, image in enumerate(place_map.images):
        thumbnail = place_map.thumbnail_path(row)
        numbers = [
            *place_map.utm[row],
            *(place_map.latitude[row], place_map.longitude[row], place_map.altitude[row]),
            *(place_map.yaw[row], place_map.heading_deg[row], place_map.timestamps[row]),
        ]
        content = None if thumbnail is None else thumbnail.read_bytes()
        found[image] = (np.array(numbers).tobytes(), place_map.descriptors[row].tobytes(), content)
    assert len(found) == place_map.count
    return found
