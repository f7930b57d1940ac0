"""The data sets' layouts, small, with real JPEGs."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from tests.synthetic import write_picture


def write_at_pictures(
    folder: Path, positions: Sequence[tuple[float, float]], *, zone: str = "10@S", seed: int = 0
) -> list[Path]:
    """Pictures with '@' names; without a zone where it is empty."""
    fields = zone or "@"
    return [
        write_picture(
            folder / f"@{east:010.2f}@{north:010.2f}@{fields}@@@{number:04d}@@@@@@@@.jpg",
            latitude=None,
            seed=seed + number,
        )
        for number, (east, north) in enumerate(positions)
    ]


def street(
    count: int, *, step: float = 10.0, east: float = 548_000.0, north: float = 4_180_000.0
) -> list[tuple[float, float]]:
    """Positions along a street that runs east."""
    return [(east + step * number, north) for number in range(count)]


def write_nordland(
    folder: Path,
    references: int,
    queries: Sequence[int],
    *,
    first: int = 0,
    names: tuple[str, str] = ("database", "queries"),
) -> Path:
    """Two seasons; a query frame looks like the reference of the same frame."""
    for frame in range(references):
        write_picture(folder / names[0] / f"{first + 2 * frame}.jpg", latitude=None, seed=frame)
    for frame in queries:
        write_picture(folder / names[1] / f"{first + 3 * frame}.jpg", latitude=None, seed=frame)
    return folder


def write_msls_city(root: Path, part: str, city: str, kind: str, pictures: Sequence[dict[str, object]]) -> None:
    """One side of one city; each picture with key, east, and whether it is a panorama and in the sub-task."""
    folder = root / part / city / kind
    for number, picture in enumerate(pictures):
        write_picture(
            folder / "images" / f"{picture['key']}.jpg", latitude=None, seed=int(str(picture.get("seed", number)))
        )
    tables = {
        "seq_info.csv": ("key", "sequence_key", "frame_number"),
        "subtask_index.csv": ("key", "all", "s2w"),
    }
    if part == "train_val":
        tables["raw.csv"] = ("key", "lon", "lat", "ca", "captured_at", "pano")
    if part == "train_val" or any("east" in picture for picture in pictures):
        tables["postprocessed.csv"] = (
            "key", "easting", "northing", "unique_cluster", "night", "control_panel", "view_direction",
        )  # fmt: skip
    for name, columns in tables.items():
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["", *columns])
            for number, picture in enumerate(pictures):
                values = {
                    "key": picture["key"],
                    "sequence_key": "s",
                    "frame_number": number,
                    "all": picture.get("all", True),
                    "s2w": False,
                    "pano": picture.get("pano", False),
                    "easting": picture.get("east", 0.0),
                    "northing": 1000.0,
                    "view_direction": "Forward",
                }
                writer.writerow([number, *(values.get(column, "False") for column in columns)])


def write_netvlad_table(
    path: Path, references: Sequence[str], reference_utm: np.ndarray, queries: Sequence[str], query_utm: np.ndarray
) -> None:
    """`dbStruct` as MATLAB writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def cells(names: Sequence[str]) -> np.ndarray:
        column = np.empty((len(names), 1), object)
        column[:, 0] = names
        return column

    struct = {
        "whichSet": "test",
        "dbImageFns": cells(references),
        "utmDb": reference_utm.T,
        "qImageFns": cells(queries),
        "utmQ": query_utm.T,
        "numImages": len(references),
        "numQueries": len(queries),
        "posDistThr": 25,
        "posDistSqThr": 625,
        "nonTrivPosDistSqThr": 100,
    }
    scipy.io.savemat(path, {"dbStruct": struct})
