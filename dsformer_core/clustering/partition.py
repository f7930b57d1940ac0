"""Groups of classes on disk.

partition.yaml    what it is: format, kind, method, configuration, counts, zone, where the images are, digests
classes.parquet   one record per image, class and view: `COLUMNS`
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import yaml

from dsformer_core.clustering.config import BlockClusteringConfig, GridConfig
from dsformer_core.clustering.group import FRONTAL, LATERAL, Group
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.staging import staged_directory

FORMAT_VERSION = 1

DESCRIPTION_FILE = "partition.yaml"
CLASSES_FILE = "classes.parquet"

PANORAMAS, PICTURES = "panoramas", "pictures"
KINDS = (PANORAMAS, PICTURES)
METHODS: dict[str, type[BlockClusteringConfig] | type[GridConfig]] = {
    "blocks": BlockClusteringConfig,
    "grid": GridConfig,
}

COLUMNS = pa.schema(
    [
        ("image", pa.string()),
        ("row", pa.int64()),
        ("group", pa.int32()),
        ("class", pa.int32()),
        ("angle", pa.int32()),
        ("focal_easting", pa.float64()),
        ("focal_northing", pa.float64()),
        ("easting", pa.float64()),
        ("northing", pa.float64()),
        ("heading_deg", pa.float64()),
    ]
)

# Names of images that are digested at a time.
_DIGESTED = 65_536

_KEYS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "method": str,
    "config": dict,
    "locations": int,
    "groups": int,
    "classes": int,
    "images": int,
    "utm_zone": (str, type(None)),
    "images_root": (str, type(None)),
    "input_sha256": str,
    "classes_sha256": str,
}


class PartitionError(DsformerError):
    """A partition cannot be used. The message names the file, what is wrong with it, and what to do."""


class NoPartitionError(PartitionError, UsageError):
    """There is no directory where somebody said that a partition is."""


@dataclass(frozen=True)
class Partition:
    """A partition that was read and checked.

    Attributes:
        directory: where it lies.
        kind: ``panoramas`` (every image in both views of its class) or ``pictures`` (each in one).
        method: ``blocks`` or ``grid``.
        config: what it was made with.
        groups: how many there are, those without classes included.
        locations: how many images went in.
        zone: of all coordinates; None where unknown.
        images_root: the folder that `image` is relative to; None where the positions came without images.
        table: the records, columns `COLUMNS`, ordered by group, class, angle and row.
        description: all of partition.yaml.
    """

    directory: Path
    kind: str
    method: str
    config: BlockClusteringConfig | GridConfig
    groups: int
    locations: int
    zone: UtmZone | None
    images_root: Path | None
    table: pa.Table
    description: Mapping[str, Any]

    @classmethod
    def open(cls, directory: str | Path) -> "Partition":
        """Reads a partition and checks that it is whole.

        Raises:
            NoPartitionError: it is missing.
            PartitionError: it is damaged, of another format version, or not what it says.
        """
        directory = Path(directory)
        description = _read_description(directory)
        path = directory / CLASSES_FILE
        try:
            digest = file_digest(path)
        except FileNotFoundError:
            raise PartitionError(f"{path} is missing: not all of the partition was copied") from None
        if digest != description["classes_sha256"]:
            raise PartitionError(f"{path} was altered or cut off since it was written: copy it again, or rebuild it")
        table = pa_parquet.read_table(path)
        if not table.schema.equals(COLUMNS):
            raise PartitionError(f"{path} has columns {table.schema.names}: it must have {COLUMNS.names}")
        images_root = description["images_root"]
        try:
            config = METHODS[description["method"]].from_dict(description["config"])
            zone = None if description["utm_zone"] is None else UtmZone.parse(description["utm_zone"])
        except UsageError as error:
            raise PartitionError(f"{directory / DESCRIPTION_FILE}: {error}") from error
        return cls(
            directory=directory,
            kind=description["kind"],
            method=description["method"],
            config=config,
            groups=description["groups"],
            locations=description["locations"],
            zone=zone,
            images_root=None if images_root is None else directory.absolute() / images_root,
            table=table,
            description=description,
        )

    @cached_property
    def class_count(self) -> int:
        """Classes in all groups."""
        return int(self.description["classes"])

    @cached_property
    def image_count(self) -> int:
        """Different input rows that are in a class."""
        return int(self.description["images"])


def write_partition(
    directory: str | Path,
    groups: Sequence[Group],
    *,
    utm: npt.ArrayLike,
    config: BlockClusteringConfig | GridConfig,
    kind: str = PANORAMAS,
    images: Sequence[str] | pa.Array | None = None,
    images_root: str | Path | None = None,
    headings_deg: npt.ArrayLike | None = None,
    zone: UtmZone | None = None,
    remarks: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Partition:
    """Writes groups as a partition: whole, or not at all.

    Args:
        directory: to make.
        groups: from `cluster_blocks`, `grid_partition` or `split_by_heading`.
        utm: (N, 2) metres, what was clustered.
        config: what it was clustered with.
        kind: ``panoramas`` or ``pictures``; classes of pictures have one view each (`Group.angles`).
        images: (N,) paths below `images_root`; None where there are only positions.
        images_root: a folder, absolute, or relative to `directory`.
        headings_deg: (N,) degrees clockwise from north of the panorama's centre column, or of the picture.
        zone: of the coordinates.
        remarks: more keys for partition.yaml.
        overwrite: whether a partition that is already there is replaced.

    Raises:
        UsageError: something else is there; kinds, lengths or views do not fit.
        DsformerError: the disk is full.
    """
    positions = np.asarray(utm, np.float64)
    _check(groups, kind, len(positions), images, headings_deg)
    headings = np.full(len(positions), np.nan) if headings_deg is None else np.asarray(headings_deg, np.float64)
    table = _table(groups, positions, images, headings)
    description = {
        "format": FORMAT_VERSION,
        "kind": kind,
        "method": "blocks" if isinstance(config, BlockClusteringConfig) else "grid",
        "config": config.to_dict(),
        "locations": len(positions),
        "groups": len(groups),
        "classes": sum(len(group.classes) for group in groups),
        "images": len(np.unique(table["row"].to_numpy())),
        "utm_zone": None if zone is None else str(zone),
        "images_root": None if images_root is None else Path(images_root).as_posix(),
        "input_sha256": input_digest(positions, headings, zone, images),
        **(remarks or {}),
    }
    directory = Path(directory)
    with staged_directory(directory, overwrite=overwrite, marker=DESCRIPTION_FILE, kind="partition") as folder:
        pa_parquet.write_table(table, folder / CLASSES_FILE, compression="zstd")
        description["classes_sha256"] = file_digest(folder / CLASSES_FILE)
        text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=120)
        (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
    return Partition.open(directory)


def input_digest(
    utm: npt.NDArray[np.float64],
    headings_deg: npt.NDArray[np.float64],
    zone: UtmZone | None,
    images: Sequence[str] | pa.Array | None,
) -> str:
    """SHA-256 over all that decides a partition beside its configuration.

    It is taken over positions (N, 2), then headings (N,), as little-endian float64 (each unknown heading as the same
    NaN), then, one to a line, the zone (empty where unknown) and, where there are images, their names.
    """
    digest = hashlib.sha256(np.ascontiguousarray(utm, "<f8").data)
    digest.update(np.where(np.isnan(headings_deg), np.nan, headings_deg).astype("<f8").data)
    digest.update(f"{zone or ''}\n".encode())
    names = pa.array([] if images is None else images, pa.large_string())
    for start in range(0, len(names), _DIGESTED):
        digest.update("".join(f"{image}\n" for image in names[start : start + _DIGESTED].to_pylist()).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check(
    groups: Sequence[Group],
    kind: str,
    count: int,
    images: Sequence[str] | pa.Array | None,
    headings_deg: npt.ArrayLike | None,
) -> None:
    if kind not in KINDS:
        raise UsageError(f"kind = {kind!r} is not one of {', '.join(KINDS)}")
    if kind == PICTURES and any(group.angles is None for group in groups):
        raise UsageError("classes of pictures have one view each: split them by heading first (split_by_heading)")
    for name, values in (("images", images), ("headings", headings_deg)):
        if values is not None and len(values) != count:  # type: ignore[arg-type]
            raise UsageError(f"{len(values)} {name} for {count} locations: give one for each")  # type: ignore[arg-type]


def _table(
    groups: Sequence[Group],
    utm: npt.NDArray[np.float64],
    images: Sequence[str] | pa.Array | None,
    headings: npt.NDArray[np.float64],
) -> pa.Table:
    """Records of all classes and views, ordered by group, class, angle and row."""
    views: list[tuple[int, int, int, npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []
    for number, group in enumerate(groups):
        for label, rows in enumerate(group.classes):
            angles = (LATERAL, FRONTAL) if group.angles is None else (int(group.angles[label]),)
            for angle in angles:
                focal = (group.lateral if angle == LATERAL else group.frontal)[label]
                views.append((number, label, angle, focal, rows))
    sizes = [len(rows) for *_, rows in views]
    rows = np.concatenate([rows for *_, rows in views]) if views else np.empty(0, np.int64)
    focal = np.repeat(np.array([view[3] for view in views]).reshape(-1, 2), sizes, axis=0)
    if images is None:
        names = pa.array(np.full(len(rows), ""), pa.string())
    else:
        names = pa.array(images, pa.large_string()).take(pa.array(rows))
    columns = {
        "image": names,
        "row": rows,
        "group": np.repeat([view[0] for view in views], sizes),
        "class": np.repeat([view[1] for view in views], sizes),
        "angle": np.repeat([view[2] for view in views], sizes),
        "focal_easting": focal[:, 0],
        "focal_northing": focal[:, 1],
        "easting": utm[rows, 0],
        "northing": utm[rows, 1],
        "heading_deg": headings[rows],
    }
    return pa.table([pa.array(column).cast(COLUMNS.field(name).type) for name, column in columns.items()], COLUMNS)


def _read_description(directory: Path) -> dict[str, Any]:
    path = directory / DESCRIPTION_FILE
    if not directory.is_dir():
        raise NoPartitionError(f"{directory}: no such partition; `dsformer cluster build` makes one")
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PartitionError(f"{path} is missing: {directory} is not a partition") from None
    except (OSError, ValueError, yaml.YAMLError):
        raise PartitionError(f"{path} cannot be read: copy the partition again, or rebuild it") from None
    if not isinstance(description, dict):
        raise PartitionError(f"{path} does not describe a partition: copy it again, or rebuild it")
    if (version := description.get("format")) != FORMAT_VERSION:
        raise PartitionError(f"{path} has format version {version!r}, this program reads version {FORMAT_VERSION}")
    for key, kind in _KEYS.items():
        if key not in description or not isinstance(description[key], kind):
            raise PartitionError(
                f"{path}: {key} is missing or of another kind: copy the partition again, or rebuild it"
            )
    if description["kind"] not in KINDS or description["method"] not in METHODS:
        raise PartitionError(f"{path}: kind {description['kind']!r} or method {description['method']!r} is unknown")
    return description
