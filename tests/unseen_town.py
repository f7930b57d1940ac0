"""A rendered town that no weights and no test of this repository were trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsformer_core.sample_world import CONDITIONS, Camera, CameraPose, make_town, parse_condition, render

LATER = (*(name for name in CONDITIONS if name != "daylight"), "night+rain")
RIGHT_M, WRONG_M = 25.0, 50.0


@dataclass(frozen=True)
class Drive:
    """Pictures and where they were taken, (N, 2) UTM metres."""

    pictures: list[np.ndarray]
    utm: np.ndarray


def render_drives() -> dict[str, Drive]:
    """A daylight drive, and a later one under every other condition on another line along the road."""
    town, camera = make_town(520), Camera(160, 120)

    def seen(poses: list[CameraPose], condition: str, seed: int) -> Drive:
        pictures = [render(town, pose, parse_condition(condition), camera, seed) for pose in poses]
        return Drive(pictures, np.array([pose.utm for pose in poses]))

    drives = {"daylight": seen(town.drive(seed=0, spacing=6.0, count=40), "daylight", 0)}
    for seed, condition in enumerate(LATER, start=1):
        later = town.drive(seed=seed, spacing=24.0, count=10, lateral_offset=0.8, start=2.0)
        drives[condition] = seen(later, condition, seed)
    return drives


def write_drives(path: Path) -> None:
    """`render_drives`, as a file."""
    drives = render_drives()
    arrays = {f"{name} pictures": np.array(drive.pictures) for name, drive in drives.items()}
    np.savez(path, **arrays, **{f"{name} utm": drive.utm for name, drive in drives.items()})


def read_drives(path: Path) -> dict[str, Drive]:
    """What `write_drives` wrote."""
    with np.load(path) as kept:
        return {name: Drive(list(kept[f"{name} pictures"]), kept[f"{name} utm"]) for name in ("daylight", *LATER)}
