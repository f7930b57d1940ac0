"""Drives through rendered towns as a network sees them, kept on disk: a second run of a benchmark renders nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import Described
from dsformer_core.extractor import Extractor
from dsformer_core.geodesy import UtmZone, grid_convergence, to_latlon, yaw_to_heading
from dsformer_core.sample_world import Camera, CameraPose, Town, make_town, parse_condition, render
from dsformer_core.sources import GeotaggedPicture, Skipped

ZONE = UtmZone(33, True)
CAMERA = Camera(320, 240)
REPEATED_FACADES = 0.6
"""Share of houses of a few designs that their district repeats to the brick; the renderer's own default is 0.25."""

TOWN_M = 330.0
BETWEEN_TOWNS_M = 1_000.0
AT_ONCE = 16


@dataclass(frozen=True)
class Route:
    """A drive to be rendered.

    Attributes:
        town: its seed; towns lie side by side, so that several make one map.
        condition: light, weather, traffic.
        seed: of the drive's jitter and traffic.
        spacing: metres between pictures.
        count: of pictures.
        start: metres along the town's loop.
        aside: metres to the right of the lane's middle.
    """

    town: int
    condition: str
    seed: int
    spacing: float
    count: int
    start: float = 0.0
    aside: float = 0.0

    def poses(self) -> list[CameraPose]:
        """Of the camera, in the order of driving."""
        return _town(self.town).drive(
            self.seed, self.spacing, lateral_offset=self.aside, count=self.count, start=self.start
        )


@dataclass(frozen=True, eq=False)
class Drive:
    """N pictures of a drive.

    Attributes:
        descriptors: (N, D) float32.
        utm: (N, 2) metres, the truth.
        yaw: (N,) radians.
        stamps: (N,) seconds.
    """

    descriptors: np.ndarray
    utm: np.ndarray
    yaw: np.ndarray
    stamps: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps)


def described(
    route: Route, extractor: Extractor, folder: Path, on_progress: Callable[[int], None] = lambda count: None
) -> Drive:
    """Renders and describes a drive, or reads what an earlier run left in `folder`."""
    name = "_".join(str(value) for value in asdict(route).values())
    path = folder / f"{name}_{extractor.weights_sha256[:8]}.npz"
    if not path.exists():
        town, condition, poses = _town(route.town), parse_condition(route.condition), route.poses()
        rows = []
        for first in range(0, len(poses), AT_ONCE):
            some = poses[first : first + AT_ONCE]
            rows.append(extractor.extract([render(town, pose, condition, CAMERA, route.seed) for pose in some]))
            on_progress(len(some))
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            descriptors=np.vstack(rows),
            utm=np.array([pose.utm for pose in poses]),
            yaw=np.array([pose.yaw for pose in poses]),
            stamps=np.array([pose.timestamp for pose in poses]),
        )
        part.rename(path)
    else:
        on_progress(route.count)
    with np.load(path) as kept:
        return Drive(kept["descriptors"], kept["utm"], kept["yaw"], kept["stamps"])


@cache
def _town(seed: int) -> Town:
    utm = (412_000.0 + BETWEEN_TOWNS_M * (seed % 100), 5_543_000.0)
    return make_town(seed, TOWN_M, repeated_facades=REPEATED_FACADES, utm=utm)


class DescribedReferences:
    """Source and extractor in one of pictures that are described already: what `build_place_map` makes a map of."""

    name = "rendered drives"
    precision = "float32"
    arithmetic = Arithmetic()
    decode_size = (1, 1)
    code_bytes = 0

    def __init__(self, drives: Sequence[Drive], extractor: Extractor, *, position_std: float, seed: int = 0) -> None:
        """`position_std`: metres by which the positions of references are off, along each axis."""
        self.model_name, self.weights_sha256, self.weights = (
            extractor.model_name,
            extractor.weights_sha256,
            extractor.weights,
        )
        self.descriptors = np.vstack([drive.descriptors for drive in drives])
        self.descriptor_dim = self.descriptors.shape[1]
        self.utm = np.vstack([drive.utm for drive in drives])
        self.utm = self.utm + np.random.default_rng(seed).normal(0, position_std, self.utm.shape)
        self.yaw = np.concatenate([drive.yaw for drive in drives])

    def scan(self, on_progress: object = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """As `Source.scan`."""
        latitude, longitude = to_latlon(self.utm, ZONE)
        heading = yaw_to_heading(self.yaw, grid_convergence(latitude, longitude, ZONE))
        black = np.zeros((1, 1, 3), np.uint8)
        pictures = [
            GeotaggedPicture(
                id=f"{row:06d}.jpg",
                latitude=float(latitude[row]),
                longitude=float(longitude[row]),
                image=f"{row:06d}.jpg",
                load=lambda *, at_least=None: black,
                heading_deg=float(heading[row]),
            )
            for row in range(len(self.utm))
        ]
        return pictures, []

    def extract_pictures(self, loaders: Iterable[object], **_: object) -> Iterator[tuple[int, Described]]:
        """As `Extractor.extract_pictures`."""
        for row, _loader in enumerate(loaders):
            yield row, Described(self.descriptors[row : row + 1])
