"""The place map in memory: opened, checked, searched."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Codes, Described
from dsformer_core.geodesy import Datum, MapFrame, UtmZone
from dsformer_core.place_map.binary_index import BinaryIndex
from dsformer_core.place_map.calibration import SimilarityCalibration
from dsformer_core.place_map.codes import CODE_BYTES
from dsformer_core.place_map.flat_index import FlatIndex, HalfFlatIndex
from dsformer_core.place_map.format import (
    DESCRIPTORS_FILE,
    MAP_FILE,
    REFERENCES_FILE,
    THUMBNAILS,
    MapError,
    file_digest,
    folder_digest,
    map_file,
    read_description,
    thumbnail_file,
)
from dsformer_core.place_map.index import INDEX_KINDS, Index
from dsformer_core.place_map.references import Names, References

# Opening hashes descriptors up to this many bytes (a quarter of a second); `dsformer map verify` hashes any.
HASHED_WHEN_OPENED = 256 * 2**20

log = logging.getLogger(__name__)

# Of maps with any index; kinds of index add their own.
_FILES = (REFERENCES_FILE, DESCRIPTORS_FILE, THUMBNAILS)
_AGAIN = "copy the map again, or rebuild it"


@dataclass(frozen=True, eq=False)
class Matches:
    """What a search found for Q queries.

    Attributes:
        indices: (Q, k) int64 rows of the map, best first.
        similarities: (Q, k) float32 cosines in [-1, 1], descending.
    """

    indices: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, query: int) -> "Matches":
        """The matches of one query, still with Q = 1 rows."""
        row = range(len(self))[query]
        return Matches(self.indices[row : row + 1], self.similarities[row : row + 1])

    def __iter__(self) -> Iterator["Matches"]:
        return (self[row] for row in range(len(self)))


class PlaceMap:
    """A prebuilt, geotagged index of references. Made by `build_place_map`, read by `PlaceMap.open`.

    Attributes:
        directory: where it lies.
        name: what people call it.
        created: ISO 8601 time of its making.
        model_name: the network that described its references.
        weights_sha256: digest of that network's weights (`weights_digest`).
        weights: what they are, for people.
        precision: in which that network computed; "unknown" of old maps.
        descriptor_dim: numbers per descriptor.
        zone: the UTM zone of all its positions.
        datum: origin of the map frame; its altitude is above `altitude_reference`.
        altitude_reference: "ellipsoid" (what ROS means), "sea level" (up to 107 m from it), or "unknown".
        spacing: metres, median distance from a location to the nearest other one.
        has_thumbnails: whether it keeps small pictures.
        calibration: what similarities are worth in this map.
        descriptors: (N, D) float16 or float32, memory-mapped. The first search may copy them (see `HalfFlatIndex`).
        index: what searches them.
    """

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        """Reads an intact map; use `open`, which checks first."""
        self.directory = directory
        self._identity = _identity(directory)
        self.name: str = description["name"]
        self.created: str = description["created"]
        self.model_name: str = description["model"]["name"]
        self.weights_sha256: str = description["model"]["weights_sha256"]
        self.weights: str = description["model"]["weights"]
        self.precision: str = description["model"].get("precision", "unknown")
        self.descriptor_dim: int = description["descriptors"]["dimension"]
        self.zone = UtmZone.parse(description["utm_zone"])
        self.datum = Datum(**description["datum"])
        self.spacing: float = description["spacing"]
        self.has_thumbnails: bool = THUMBNAILS in description["files"]
        self.altitude_reference: str = description.get("altitude_reference", "unknown")
        self.calibration = SimilarityCalibration.from_dict(description["calibration"])
        self._references = References(directory / REFERENCES_FILE)
        self.descriptors = _map_descriptors(directory / DESCRIPTORS_FILE)
        _check_shapes(directory, description, self._references, self.descriptors)
        self.index = _open_index(directory, description, self.descriptors)

    @classmethod
    def open(cls, directory: str | Path, *, verify: Literal["quick", "full"] = "quick") -> "PlaceMap":
        """Opens a map after checking it.

        Args:
            directory: the map.
            verify: "quick" checks versions, shapes, counts and the checksums of everything a search reads, but not of
                descriptors beyond 256 MiB; "full" checks every byte, thumbnails included.

        Raises:
            MapError: in one line, which file is wrong, what is wrong with it, what to do. A NoMapError where there is
                no directory.
        """
        directory = Path(directory)
        description = read_description(directory)
        try:
            # Its kind first: later versions of this program may add some, with files that are not known here.
            known = (*_FILES, *_index_class(directory, description).files(description["index"]))
            _check_files(directory, description["files"], known, full=verify == "full")
            place_map = cls(directory, description)
        except MapError:
            raise
        except (TypeError, DsformerError) as error:
            raise MapError(f"{directory / 'map.yaml'} does not describe a map ({error}): {_AGAIN}") from error
        if not place_map.calibrated:
            log.warning("WARNING: %s is too small to calibrate: its probabilities are a guess", directory)
        return place_map

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"PlaceMap({self.name!r}, {self.count} references, {self.model_name}, {self.directory})"

    @property
    def count(self) -> int:
        """Number of references, N."""
        return len(self.descriptors)

    @property
    def calibrated(self) -> bool:
        """Whether its references could show what similarities are worth here; otherwise probabilities are a guess."""
        return self.calibration.mapped_queries > 0 and self.calibration.unmapped_queries > 0

    @property
    def frame(self) -> MapFrame:
        """The ROS `map` frame: origin at the datum, axes along UTM grid east and north."""
        return MapFrame(self.datum, self.zone)

    @property
    def index_kind(self) -> str:
        """How it is searched, one of `INDEX_KINDS`."""
        return self.index.kind

    @cached_property
    def utm(self) -> npt.NDArray[np.float64]:
        """(N, 2) easting and northing, metres."""
        return self._references.numbers("easting", "northing")

    @cached_property
    def yaw(self) -> npt.NDArray[np.float64]:
        """(N,) radians, ENU about the grid's axes, NaN where unknown."""
        return self._column("yaw")

    @cached_property
    def latitude(self) -> npt.NDArray[np.float64]:
        """(N,) degrees, WGS-84."""
        return self._column("latitude")

    @cached_property
    def longitude(self) -> npt.NDArray[np.float64]:
        """(N,) degrees, WGS-84."""
        return self._column("longitude")

    @cached_property
    def altitude(self) -> npt.NDArray[np.float64]:
        """(N,) metres above `altitude_reference`, NaN where unknown."""
        return self._column("altitude")

    @cached_property
    def heading_deg(self) -> npt.NDArray[np.float64]:
        """(N,) degrees clockwise from true north, NaN where unknown."""
        return self._column("heading_deg")

    @cached_property
    def timestamps(self) -> npt.NDArray[np.float64]:
        """(N,) seconds since 1970, UTC, NaN where unknown."""
        return self._column("timestamp")

    @property
    def codes(self) -> Codes | None:
        """(N, 64) uint8 that the network's hash branch made; None where it made none, or they were not kept."""
        return self.index.codes if isinstance(self.index, BinaryIndex) and self.index.signs is None else None

    @property
    def ids(self) -> Names:
        """(N) names of the references, unique; read when asked for."""
        return self._references.names("id")

    @property
    def images(self) -> Names:
        """(N) where the pictures were: paths or bag references; read when asked for."""
        return self._references.names("image")

    @property
    def sources(self) -> Names:
        """(N) what the references were read from; read when asked for."""
        return self._references.names("source")

    def reference_groups(
        self, *columns: str, rows: npt.NDArray[np.int64] | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """The rows of `references.parquet` in groups: the number of the first, and the group's columns.

        Args:
            columns: of `format.COLUMNS`; all where none are named.
            rows: ascending; groups without any of them are left out. None for all groups.
        """
        return self._references.groups(*columns, rows=rows)

    @property
    def replaced(self) -> bool:
        """Whether another map, or none, lies by now where this one was opened.

        Whoever has a map open goes on searching it: its descriptors, index and references are those that were opened.
        """
        return _identity(self.directory) != self._identity

    def thumbnail_path(self, row: int) -> Path | None:
        """The small picture of a reference; None where the map was built without, or another one lies there by now."""
        return map_file(self.directory, thumbnail_file(row)) if self.has_thumbnails and not self.replaced else None

    def search_on(self, device: str) -> None:
        """Has searches made where the network computes; they are made on the CPU otherwise.

        Args:
            device: "cpu", "cuda" or "cuda:1". A GPU that FAISS cannot use leaves them on the CPU.
        """
        self.index = self.index.on(device)

    def search(self, queries: Described | npt.ArrayLike, k: int = 20) -> Matches:
        """Finds the references whose descriptors are most similar.

        Args:
            queries: what the network said of pictures, or their descriptors: (Q, D) or (D,) float, unit norm.
            k: how many per query, >= 1; a smaller map gives all it has.

        Returns:
            The matches, best first; equal similarities in the order of their rows.

        Raises:
            ValueError: descriptors have another shape, a number that is not finite, or `k` is below 1.
        """
        given = queries if isinstance(queries, Described) else Described(np.asarray(queries, np.float32))
        descriptors = np.atleast_2d(np.ascontiguousarray(given.descriptors, np.float32))
        if descriptors.ndim != 2 or descriptors.shape[1] != self.descriptor_dim:
            raise ValueError(f"queries have shape {descriptors.shape}, this map needs (Q, {self.descriptor_dim})")
        if not np.isfinite(descriptors).all():
            raise ValueError("queries contain numbers that are not finite: were all pictures readable?")
        if k < 1:
            raise ValueError(f"k is {k}: it must be 1 or more")
        if given.codes is not None and given.codes.shape != (len(descriptors), CODE_BYTES):
            raise ValueError(f"codes have shape {given.codes.shape}, not {(len(descriptors), CODE_BYTES)}")
        k = min(k, self.count)
        if not len(descriptors):
            return Matches(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        similarities, rows = self.index.search(Described(descriptors, given.codes), k)
        order = np.lexsort((rows, -similarities), axis=1)
        return Matches(
            np.take_along_axis(rows, order, 1).astype(np.int64),
            np.clip(np.take_along_axis(similarities, order, 1), -1, 1).astype(np.float32),
        )

    def check_model(self, model_name: str, weights_sha256: str) -> None:
        """Refuses a network other than the one that described the references.

        Raises:
            MapError: names both.
        """
        if model_name != self.model_name:
            raise MapError(
                f"{self.directory} was built with {self.model_name}, not {model_name}: "
                "use that model, or build a map with this one"
            )
        if weights_sha256 != self.weights_sha256:
            raise MapError(
                f"{self.directory} was built with {self.model_name} weights {self.weights_sha256[:12]} "
                f"({self.weights}), these are {weights_sha256[:12]}: give the same weights, or build a map with these"
            )

    def _column(self, name: str) -> npt.NDArray[np.float64]:
        return self._references.numbers(name)[:, 0]


def _identity(directory: Path) -> tuple[int, int, int] | None:
    """Which map lies in a directory: of two that were ever there, no two give the same."""
    try:
        status = (directory / MAP_FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _check_files(directory: Path, digests: dict[str, str], known: tuple[str, ...], *, full: bool) -> None:
    """Compares every file with the sum that `map.yaml` has of it; there must be none but the `known` ones."""
    for name, expected in digests.items():
        path = directory / name if name in known else None
        if path is None:
            raise MapError(f"{directory / MAP_FILE} lists {name!r}, which is no file of a place map: {_AGAIN}")
        if not path.exists():
            raise MapError(f"{path} is missing: {_AGAIN}")
        if not (path.is_dir() if name == THUMBNAILS else map_file(directory, name)):
            raise MapError(f"{path} is not what belongs there, or a link to something else: {_AGAIN}")
        large = name == THUMBNAILS or (name == DESCRIPTORS_FILE and path.stat().st_size > HASHED_WHEN_OPENED)
        if large and not full:
            continue
        try:
            found = folder_digest(path) if name == THUMBNAILS else file_digest(path)
        except OSError as error:
            raise MapError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error
        if found != expected and name == THUMBNAILS:
            count = sum(thumbnail.is_file() for thumbnail in path.rglob("*"))
            raise MapError(
                f"{path}: one or more of its {count} thumbnails were altered, cut off, added or taken away since the "
                f"map was built: {_AGAIN}"
            )
        if found != expected:
            raise MapError(f"{path} was altered or cut off since the map was built: {_AGAIN}")


def _map_descriptors(path: Path) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MapError(f"{path} cannot be read ({error}): {_AGAIN}") from error


def _check_shapes(
    directory: Path, description: dict[str, Any], references: References, descriptors: npt.NDArray[Any]
) -> None:
    """What checksums cannot tell: that the files belong together."""
    count, dimension = description["count"], description["descriptors"]["dimension"]
    dtype = description["descriptors"]["dtype"]
    if (
        descriptors.shape != (count, dimension)
        or str(descriptors.dtype) != dtype
        or dtype not in ("float16", "float32")
    ):
        raise MapError(
            f"{directory / DESCRIPTORS_FILE} holds {descriptors.dtype} {descriptors.shape}, "
            f"map.yaml says {dtype} {(count, dimension)}: {_AGAIN}"
        )
    if len(references) != count:
        raise MapError(f"{directory / REFERENCES_FILE} has {len(references)} rows, map.yaml says {count}: {_AGAIN}")
    if count < 1 or not math.isfinite(description["spacing"]) or description["spacing"] <= 0:
        raise MapError(
            f"{directory / 'map.yaml'} describes {count} references {description['spacing']} m apart: {_AGAIN}"
        )


def _index_class(directory: Path, description: dict[str, Any]) -> type[Index]:
    kind = description["index"]["kind"]
    if kind == FlatIndex.kind and description["descriptors"]["dtype"] == HalfFlatIndex.storage:
        kind = HalfFlatIndex.kind  # as maps were written before there were several kinds
    if kind not in INDEX_KINDS:
        raise MapError(
            f"{directory} has an index of the kind {kind!r}, this program knows {', '.join(INDEX_KINDS)}: "
            "update dsformer, or build the map again"
        )
    return INDEX_KINDS[kind]


def _open_index(directory: Path, description: dict[str, Any], descriptors: npt.NDArray[Any]) -> Index:
    index, fields = _index_class(directory, description), description["index"]
    if (dtype := description["descriptors"]["dtype"]) != index.storage:
        raise DsformerError(f"index.kind is {fields['kind']!r} and descriptors.dtype is {dtype!r}")
    for name in index.files(fields):
        if name not in description["files"]:
            raise DsformerError(f"files.{name} is missing")
    return index.open(directory, fields, descriptors)
