"""The files of a place map: names, columns, and the sums that tell whether a byte was lost.

map.yaml            what the map is, the SHA-256 of every other file, and last the SHA-256 of its own lines
references.parquet  one row per reference, columns `COLUMNS`
descriptors.npy     (N, D) float16 or float32, row i belongs to reference i
index.faiss         only for index kinds that are more than the descriptors: codes, lists of codes, a graph
thresholds.npy      (512,) float32, only where codes are signs of descriptors
codes.npy           (N, 64) uint8 of the network's hash branch, only where there is one and no index holds them
thumbnails/         00000/00000042.jpg for row 42; a thousand to a folder
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import yaml

from dsformer_core.errors import DsformerError, UsageError

FORMAT_VERSION = 1

MAP_FILE = "map.yaml"
REFERENCES_FILE = "references.parquet"
DESCRIPTORS_FILE = "descriptors.npy"
INDEX_FILE = "index.faiss"
THRESHOLDS_FILE = "thresholds.npy"
CODES_FILE = "codes.npy"
THUMBNAILS = "thumbnails"

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("easting", pa.float64()),
        ("northing", pa.float64()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("altitude", pa.float64()),
        ("yaw", pa.float64()),
        ("heading_deg", pa.float64()),
        ("timestamp", pa.float64()),
        ("image", pa.string()),
        ("source", pa.string()),
    ]
)

# Rows that are read at once for one name: a third of a millisecond.
ROWS_PER_GROUP = 4_096

_CHECKSUM_LINE = "checksum: "

# What `map.yaml` must hold, and of which kind. `model.precision` and keys that later versions add are not needed here.
_KEYS: dict[str, Any] = {
    "format": int,
    "name": str,
    "created": str,
    "model": {"name": str, "weights_sha256": str, "weights": str},
    "descriptors": {"dimension": int, "dtype": str},
    "count": int,
    "utm_zone": str,
    "datum": {"latitude": float, "longitude": float, "altitude": float},
    "spacing": float,
    "index": {"kind": str},
    "calibration": {},
    "files": {REFERENCES_FILE: str, DESCRIPTORS_FILE: str},
}


class MapError(DsformerError):
    """A place map cannot be used. The message names the file, what is wrong with it, and what to do."""


class NoMapError(MapError, UsageError):
    """There is no directory where somebody said that a place map is."""


def thumbnail_file(row: int) -> str:
    """Where a reference's thumbnail lies below the map's directory."""
    return f"{THUMBNAILS}/{row // 1000:05d}/{row:08d}.jpg"


def map_file(directory: Path, name: str) -> Path | None:
    """A file of a map, None where there is none by that name or something else stands in its place.

    Links are followed to a file of the same name only, as `colcon build --symlink-install` makes them: a map from
    elsewhere must not lead to other files of this machine, to devices or to pipes.
    """
    path = directory / name
    real, expected = path.resolve(), PurePosixPath(name).parts
    return path if real.is_file() and real.parts[-len(expected) :] == expected else None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the sorted relative names and SHA-256 of all files below a folder, hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """Writes `map.yaml`."""
    path.write_text(description_text(description), encoding="utf-8")


def description_text(description: Mapping[str, Any]) -> str:
    """What `map.yaml` holds, closed by its own checksum."""
    text = yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True, width=120)
    return f"{text}{_CHECKSUM_LINE}{hashlib.sha256(text.encode()).hexdigest()}\n"


def read_description(directory: Path) -> dict[str, Any]:
    """Reads `map.yaml`.

    Raises:
        MapError: it is missing, altered, of another format version, or no description of a map.
    """
    path = directory / MAP_FILE
    if not directory.exists():
        raise NoMapError(f"{directory}: no such place map; `dsformer map build` makes one")
    if not directory.is_dir():
        raise NoMapError(f"{directory} is a file, and a place map is a directory; `dsformer map build` makes one")
    if path.exists() and map_file(directory, MAP_FILE) is None:
        raise MapError(f"{path} is no file, or a link to something else: copy the map again")
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise MapError(f"{path} is missing: {directory} is not a place map, or not all of it was copied") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"{path} cannot be read ({error}): copy the map again") from error
    head, found, checksum = text.rpartition(_CHECKSUM_LINE)
    intact = bool(found) and checksum == hashlib.sha256(head.encode()).hexdigest() + "\n"
    try:
        description = yaml.safe_load(head if found else text)
    except (yaml.YAMLError, ValueError, RecursionError):
        description = None
    version = description.get("format") if isinstance(description, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise MapError(
            f"{path} has format version {version}, this program reads version {FORMAT_VERSION}: "
            f"{'update dsformer' if version > FORMAT_VERSION else 'build the map again'}"
        )
    if not intact or not isinstance(description, dict):
        raise MapError(f"{path} was altered or cut off since the map was built: copy the map again, or rebuild it")
    if (fault := _fault(description, _KEYS, "")) is not None:
        raise MapError(f"{path} does not describe a map ({fault}): copy the map again, or rebuild it")
    return description


def _fault(found: Any, expected: Any, key: str) -> str | None:
    """The first key of `found` that is missing or of another kind than `expected` says, in words."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return f"{key} is {found!r}, not a mapping"
        for name, kind in expected.items():
            inner = f"{key}.{name}" if key else name
            fault = _fault(found[name], kind, inner) if name in found else f"{inner} is missing"
            if fault is not None:
                return fault
        return None
    fits = isinstance(found, (int, float) if expected is float else expected) and not isinstance(found, bool)
    return None if fits else f"{key} is {found!r}, not of type {expected.__name__}"
