"""Place maps of as many made-up references as a benchmark needs, without a picture or a network."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.place_map import PlaceMap, SimilarityCalibration
from dsformer_core.place_map.format import (
    COLUMNS,
    DESCRIPTORS_FILE,
    FORMAT_VERSION,
    MAP_FILE,
    REFERENCES_FILE,
    ROWS_PER_GROUP,
    file_digest,
    write_description,
)
from dsformer_core.place_map.index import index_class

MIDDLE = {"latitude": 55.68, "longitude": 12.57, "altitude": 10.0}
EXTENT_M = 10_000.0
CALIBRATION = SimilarityCalibration(0.0, 1.0, 1.0, 0.5, 0.1, 0.99, 100, 100)


def write_map(directory: Path, index: str, chunks: Iterable[np.ndarray], count: int, dimension: int) -> None:
    """Writes what `dsformer map build` would have written of a drive.

    Args:
        directory: to make.
        index: kind of search.
        chunks: (n, dimension) float32 each, `count` rows together.
        count: of references.
        dimension: of descriptors.
    """
    directory.mkdir(parents=True)
    kind = index_class(index)
    shape = (count, dimension)
    descriptors = np.lib.format.open_memmap(directory / DESCRIPTORS_FILE, "w+", kind.storage, shape)
    start = 0
    for chunk in chunks:
        descriptors[start : start + len(chunk)] = chunk
        start += len(chunk)
    descriptors.flush()
    with (directory / DESCRIPTORS_FILE).open("rb") as file:
        os.fsync(file.fileno())
    _write_references(directory / REFERENCES_FILE, count)
    fields = {"kind": index} | kind.write(directory, descriptors, None)
    description = {
        "format": FORMAT_VERSION,
        "name": directory.stem,
        "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "none", "weights_sha256": "0" * 64, "weights": "made up"},
        "descriptors": {"dimension": dimension, "dtype": kind.storage},
        "count": count,
        "utm_zone": "33N",
        "datum": MIDDLE,
        "spacing": 3.0,
        "index": fields,
        "calibration": CALIBRATION.to_dict(),
        "files": {
            name: file_digest(directory / name) for name in (REFERENCES_FILE, DESCRIPTORS_FILE, *kind.files(fields))
        },
    }
    write_description(directory / MAP_FILE, description)
    PlaceMap.open(directory)


def _write_references(path: Path, count: int) -> None:
    """Names as long as those of a drive that was recorded in several folders."""
    random = np.random.default_rng(0)
    columns = {name: random.uniform(0, EXTENT_M, count) for name in COLUMNS.names}
    columns["yaw"] = random.uniform(-np.pi, np.pi, count)
    columns["id"] = [f"drive_2024_05_17/camera_front/{row:08d}.jpg" for row in range(count)]
    columns["image"] = [f"/data/copenhagen/{name}" for name in columns["id"]]
    columns["source"] = ["/data/copenhagen"] * count
    table = pa.table(columns, schema=COLUMNS)
    pq.write_table(table, path, ROWS_PER_GROUP, compression="zstd", use_dictionary=["source"], write_statistics=False)
