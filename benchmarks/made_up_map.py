"""Place maps of as many made-up references as a benchmark needs, without a picture or a network."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.geodesy import UtmZone, grid_convergence, to_latlon, to_utm, wrap_angle, yaw_to_heading
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
from dsformer_core.place_map.indexes.index import choose_index, write_index
from dsformer_core.place_map.indexes.request import IndexRequest

MIDDLE = {"latitude": 55.68, "longitude": 12.57, "altitude": 10.0}
ZONE = UtmZone(33, True)
# A town of streets every hundred metres, so large that a reference has a hundred square metres; GPS as good as usual.
BLOCK_M = 100.0
STEP_M = 3.0
SQUARE_METRES = 100.0
GPS_STD_M = 1.5
CALIBRATION = SimilarityCalibration(0.0, 1.0, 1.0, 0.5, 0.1, 0.99, 100, 100)


def write_map(
    directory: Path, index: str | IndexRequest, chunks: Iterable[np.ndarray], count: int, dimension: int
) -> None:
    """Writes what `dsformer map build` would have written of a drive.

    Args:
        directory: to make.
        index: how it is searched, or the name of a kind.
        chunks: (n, dimension) float32 each, `count` rows together.
        count: of references.
        dimension: of descriptors.
    """
    directory.mkdir(parents=True)
    request = IndexRequest.of(index)
    kind, _ = choose_index(request, count, dimension, has_codes=False)
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
    fields, index_files = write_index(kind, directory, descriptors, None, request)
    description = {
        "format": FORMAT_VERSION,
        "name": directory.stem,
        "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "none", "weights_sha256": "0" * 64, "weights": "made up"},
        "descriptors": {"dimension": dimension, "dtype": kind.storage},
        "count": count,
        "utm_zone": str(ZONE),
        "datum": MIDDLE,
        "spacing": 3.0,
        "index": fields,
        "calibration": CALIBRATION.to_dict(),
        "files": {name: file_digest(directory / name) for name in (REFERENCES_FILE, DESCRIPTORS_FILE, *index_files)},
    }
    write_description(directory / MAP_FILE, description)
    PlaceMap.open(directory)


def streets(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A drive up and down the streets of a town: (count, 2) UTM metres and (count,) yaw, in the order of driving."""
    random = np.random.default_rng(0)
    side = max(2 * BLOCK_M, np.sqrt(count * SQUARE_METRES))
    way = np.arange(count) * STEP_M
    street = (way // side).astype(int)
    across = random.integers(0, int(side // BLOCK_M) + 1, street[-1] + 1)[street] * BLOCK_M
    backwards, northwards = (random.random((2, street[-1] + 1)) < 0.5)[:, street]
    along = np.where(backwards, side - way % side, way % side)
    corner = np.array(to_utm(MIDDLE["latitude"], MIDDLE["longitude"], ZONE)).reshape(2) - side / 2
    utm = corner + np.where(northwards, [across, along], [along, across]).T
    yaw = np.where(northwards, np.pi / 2, 0.0) + np.where(backwards, np.pi, 0.0)
    return utm + random.normal(0, GPS_STD_M, utm.shape), wrap_angle(yaw)


def _write_references(path: Path, count: int) -> None:
    """Names as long as those of a drive that was recorded in several folders."""
    random = np.random.default_rng(0)
    columns = {name: random.uniform(0, 100, count) for name in COLUMNS.names}
    utm, columns["yaw"] = streets(count)
    columns["easting"], columns["northing"] = utm.T
    columns["latitude"], columns["longitude"] = to_latlon(utm, ZONE)
    convergence = grid_convergence(columns["latitude"], columns["longitude"], ZONE)
    columns["heading_deg"] = yaw_to_heading(columns["yaw"], convergence)
    columns["timestamp"] = 1.7e9 + 0.4 * np.arange(count)
    columns["id"] = [f"drive_2024_05_{1 + 8 * row // count:02d}/camera_front/{row:08d}.jpg" for row in range(count)]
    columns["image"] = [f"/data/copenhagen/{name}" for name in columns["id"]]
    columns["source"] = ["/data/copenhagen"] * count
    table = pa.table(columns, schema=COLUMNS)
    pq.write_table(table, path, ROWS_PER_GROUP, compression="zstd", use_dictionary=["source"], write_statistics=False)
