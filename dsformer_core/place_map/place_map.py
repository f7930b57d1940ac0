"""The place map in memory: opened, checked, searched."""

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import CODE_BYTES, Codes, Described
from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import Datum, MapFrame, UtmZone
from dsformer_core.place_map.calibration import SimilarityCalibration
from dsformer_core.place_map.checks import ALWAYS_KNOWN, Verify, check_files, check_found, check_shapes, map_array
from dsformer_core.place_map.format import (
    CODES_FILE,
    DESCRIPTORS_FILE,
    MAP_FILE,
    REFERENCES_FILE,
    THUMBNAILS,
    MapError,
    map_file,
    read_description,
    thumbnail_file,
)
from dsformer_core.place_map.indexes.flat import FlatIndex, HalfFlatIndex
from dsformer_core.place_map.indexes.index import INDEX_KINDS, Index
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.matches import Matches
from dsformer_core.place_map.recalibration import Recalibration
from dsformer_core.place_map.references import Names, References
from dsformer_core.place_map.stored_rows import where_stored
from dsformer_core.place_map.vicinity import Vicinity

log = logging.getLogger(__name__)

_AGAIN = "copy the map again, or rebuild it"


class PlaceMap:
    """A prebuilt, geotagged index of references. Made by `build_place_map`, read by `PlaceMap.open`.

    Attributes:
        directory: where it lies.
        name: what people call it.
        created: ISO 8601 time of its making.
        model_name: the network that described its references.
        weights_sha256: digest of that network's weights (`weights_digest`).
        weights: what they are, for people.
        arithmetic: runtime and precision in which that network computed.
        precision: the latter; "unknown" of old maps.
        descriptor_dim: numbers per descriptor.
        descriptors_sha256: digest of the file that has them.
        zone: the UTM zone of all its positions.
        datum: origin of the map frame; its altitude is above `altitude_reference`.
        altitude_reference: "ellipsoid" (what ROS means), "sea level" (up to 107 m from it), or "unknown".
        spacing: metres, median distance from a location to the nearest other one.
        has_thumbnails: whether it keeps small pictures.
        calibration: what similarities are worth in this map.
        recalibration: what a later drive taught about that (`dsformer map calibrate`); changes nothing where none did.
        descriptors: (N, D) float16 or float32, memory-mapped. The first search may copy them (see `HalfFlatIndex`).
        stored: the same, read from the file that was opened: for rows here and there, and while the map is replaced.
        index: what searches them.
        index_request: what was asked for when the index was chosen: it is asked for again when the map changes.
        unread: files whose checksums were not compared when it was opened.
    """

    unread: tuple[str, ...] = ()

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        """Reads an intact map; use `open`, which checks first."""
        self.directory = directory
        self._identity = _identity(directory)
        self.name: str = description["name"]
        self.created: str = description["created"]
        self.model_name: str = description["model"]["name"]
        self.weights_sha256: str = description["model"]["weights_sha256"]
        self.weights: str = description["model"]["weights"]
        self.arithmetic = Arithmetic.from_dict(description["model"])
        self.precision = self.arithmetic.precision
        self.descriptor_dim: int = description["descriptors"]["dimension"]
        self.descriptors_sha256: str = description["files"][DESCRIPTORS_FILE]
        self.zone = UtmZone.parse(description["utm_zone"])
        self.datum = Datum(**description["datum"])
        self.spacing: float = description["spacing"]
        self.has_thumbnails: bool = THUMBNAILS in description["files"]
        self.altitude_reference: str = description.get("altitude_reference", "unknown")
        self.calibration = SimilarityCalibration.from_dict(description["calibration"])
        stored = description.get("recalibration")
        self.recalibration = Recalibration() if stored is None else Recalibration.from_dict(stored)
        self._references = References(directory / REFERENCES_FILE)
        self.descriptors = map_array(directory / DESCRIPTORS_FILE)
        check_shapes(directory, description, len(self._references), self.descriptors)
        # Opened now: by its name, a map that is replaced meanwhile would give another's rows.
        self.stored = where_stored(self.descriptors)
        self._codes = _map_codes(directory, description)
        self.index = _open_index(directory, description, self.descriptors)
        self.index_request = _asked(description["index"], self.index)

    @classmethod
    def open(cls, directory: str | Path, *, verify: Verify = "quick") -> "PlaceMap":
        """Opens a map after checking it.

        Args:
            directory: the map.
            verify: "quick" checks versions, shapes, counts and the checksums of everything a search reads, but not of
                descriptors beyond 256 MiB; "most" checks thumbnails, too, and "full" every byte.

        Raises:
            MapError: in one line, which file is wrong, what is wrong with it, what to do. A NoMapError where there is
                no directory.
        """
        directory = Path(directory)
        while True:
            before = _identity(directory)
            try:
                place_map = cls._open(directory, verify)
            except MapError:
                if _identity(directory) == before:
                    raise
            else:
                # Replaced while it was opened, it could be half of one map and half of another.
                if _identity(directory) == before:
                    break
        if not place_map.calibrated:
            log.warning("WARNING: %s is too small to calibrate: its probabilities are a guess", directory)
        return place_map

    @classmethod
    def _open(cls, directory: Path, verify: Verify) -> "PlaceMap":
        description = read_description(directory)
        try:
            # Its kind first: later versions of this program may add some, with files that are not known here.
            known = (*ALWAYS_KNOWN, *_index_class(directory, description).files(description["index"]))
            unread = check_files(directory, description["files"], known, verify)
            place_map = cls(directory, description)
            place_map.unread = unread
        except MapError:
            raise
        except (TypeError, DsformerError) as error:
            raise MapError(f"{directory / 'map.yaml'} does not describe a map ({error}): {_AGAIN}") from error
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
        return self._codes if self.index.network_codes is None else self.index.network_codes

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
        """Has searches made where the network computes, and made ready for many; they are made on the CPU otherwise.

        The first search of a float16 map then takes longer, and all others are faster (`benchmarks/flat_search.py`).

        Args:
            device: "cpu", "cuda" or "cuda:1". A GPU that FAISS cannot use leaves them on the CPU.
        """
        self.index = self.index.on(device)

    def search(
        self,
        queries: Described | npt.ArrayLike,
        k: int = 20,
        *,
        near: npt.ArrayLike | None = None,
        radius: npt.ArrayLike | None = None,
    ) -> Matches:
        """Finds the references whose descriptors are most similar.

        Near somewhere it compares the descriptors of all references there, whatever the kind of index: the answer is
        exact, and takes the longer the more there are. The first such search of a map puts its
        positions into a tree (`vicinity.TREE_BYTES` of each reference).

        Args:
            queries: what the network said of pictures, or their descriptors: (Q, D) or (D,) float, unit norm.
            k: how many per query, >= 1; where there are fewer, all there are.
            near: (2,) or (Q, 2) easting and northing in the map's zone, metres: only references at most `radius` from
                there are looked at. None for all.
            radius: metres, of all queries or of each (Q,), >= 0; together with `near`.

        Returns:
            The matches, best first; equal similarities in the order of their rows. Near somewhere with the number of
            references that were looked at, and for a query that has fewer than another one filled up with row -1 and
            similarity -inf; `matches[i]` is not filled up.

        Raises:
            ValueError: descriptors or positions have another shape, a number that is not finite or negative, or `k` is
                below 1.
            MapError: what was found are no unit vectors: the map was altered, in a file that is not read as a whole
                when it is opened, or since.
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
        if near is not None or radius is not None:
            circles = _circles(near, radius, len(descriptors))
            return self._checked(descriptors, self._vicinity.search(descriptors, k, *circles))
        k = min(k, self.count)
        if not len(descriptors):
            return Matches(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        similarities, rows = self.index.search(Described(descriptors, given.codes), k)
        order = np.lexsort((rows, -similarities), axis=1)
        found = Matches(np.take_along_axis(rows, order, 1), np.take_along_axis(similarities, order, 1))
        return self._checked(descriptors, found)

    def _checked(self, queries: npt.NDArray[np.float32], found: Matches) -> Matches:
        """The same, of cosines, where they can be some."""
        filled = np.zeros(found.indices.shape, dtype=bool)
        if found.among is not None:
            filled = np.arange(filled.shape[1]) >= found.among[:, None]
        rows, similarities = np.where(filled, 0, found.indices), np.where(filled, 0, found.similarities)
        read = DESCRIPTORS_FILE not in self.unread
        check_found(self.directory, self.stored, queries, similarities, rows, read=read)
        cosines = np.where(filled, -np.inf, np.clip(similarities, -1, 1))
        return Matches(found.indices.astype(np.int64), cosines.astype(np.float32), found.among)

    def count_near(self, near: npt.ArrayLike, radius: float) -> int:
        """How many references lie at most `radius` metres from `near` (2,), easting and northing in the map's zone."""
        return len(self._vicinity.rows(np.asarray(near, np.float64), radius))

    @cached_property
    def _vicinity(self) -> Vicinity:
        return Vicinity(self.utm, self.stored)

    def check_model(self, model_name: str, weights_sha256: str, arithmetic: Arithmetic | None = None) -> None:
        """Refuses a network other than the one that described the references.

        Args:
            model_name: its name.
            weights_sha256: of its weights.
            arithmetic: how it computes, where descriptors of it are to be compared with the references'.

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
        if arithmetic is not None and (fault := arithmetic.fault(self.arithmetic, self.descriptors_sha256)) is not None:
            raise MapError(f"{self.directory}: {fault}")

    def _column(self, name: str) -> npt.NDArray[np.float64]:
        return self._references.numbers(name)[:, 0]


def _asked(fields: dict[str, Any], index: Index) -> IndexRequest:
    """Maps that do not say what was asked for are to stay of their kind."""
    return IndexRequest(**fields.get("asked", {"kind": index.kind, "candidates": fields.get("candidates")}))


def _identity(directory: Path) -> tuple[int, int, int] | None:
    """Which map lies in a directory: of two that were ever there, no two give the same."""
    try:
        status = (directory / MAP_FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _circles(
    near: npt.ArrayLike | None, radius: npt.ArrayLike | None, queries: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Middles (Q, 2) and radii (Q,), metres."""
    if near is None or radius is None:
        raise ValueError("near and radius belong together: give both, or neither")
    middles, radii = np.asarray(near, np.float64), np.asarray(radius, np.float64)
    if middles.shape not in ((2,), (queries, 2)) or radii.shape not in ((), (queries,)):
        raise ValueError(f"near has shape {middles.shape} and radius {radii.shape}, not (2,) or (Q, 2) and () or (Q,)")
    if not np.isfinite(middles).all() or not np.isfinite(radii).all() or (radii < 0).any():
        raise ValueError(f"near = {near} with radius = {radius} is no circle")
    return np.broadcast_to(middles, (queries, 2)), np.broadcast_to(radii, (queries,))


def _map_codes(directory: Path, description: dict[str, Any]) -> Codes | None:
    """The network's codes beside the index, memory-mapped."""
    if CODES_FILE not in description["files"]:
        return None
    path, expected = directory / CODES_FILE, (description["count"], CODE_BYTES)
    codes = map_array(path)
    if codes.shape != expected or codes.dtype != np.uint8:
        raise MapError(f"{path} holds {codes.dtype} {codes.shape} instead of uint8 {expected}: {_AGAIN}")
    return codes


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
