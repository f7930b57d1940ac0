"""A partition's views as small pictures on disk.

subset.yaml       what it is: format, whether it is complete, aspect, size, and the partition it was made of
classes.parquet   a partition's records, of the pictures that are there, and `PICTURE`: each one's path
unreadable.csv    images that could not be read, and why
lock              keeps two extractions apart
GROUP/ANGLE/CLASS/ROW.jpg
                  one picture per record, so that an image in two classes has a picture in each
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pa_parquet
import yaml

from dsformer_core.clustering.partition import Partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.panoramas import Aspect, Size
from dsformer_core.training.data.class_pictures import ClassPictures
from dsformer_core.training.data.records import Starts, group_views, single_array

log = logging.getLogger(__name__)

FORMAT_VERSION = 1

DESCRIPTION_FILE = "subset.yaml"
CLASSES_FILE = "classes.parquet"
UNREADABLE_FILE = "unreadable.csv"
PICTURE = "picture"

_KEYS = {"complete": bool, "aspect": str, "size": list, "partition": dict}


def picture_paths(records: pa.Table) -> pa.ChunkedArray:
    """Where the picture of each of a partition's records lies in a subset: ``0/90/000123/000004567.jpg``."""
    parts = [pc.cast(records[name], pa.string()) for name in ("group", "angle", "class", "row")]
    parts[2], parts[3] = pc.utf8_lpad(parts[2], 6, "0"), pc.utf8_lpad(parts[3], 9, "0")
    return pc.binary_join_element_wise(*parts[:3], pc.binary_join_element_wise(parts[3], "jpg", "."), "/")


def describe(partition: Partition, *, size: Size, aspect: Aspect, complete: bool) -> dict[str, Any]:
    """The content of subset.yaml.

    Args:
        partition: that the subset is made of.
        size: height and width of the pictures, of those that have as many pixels.
        aspect: what became of other proportions.
        complete: whether every image was read or is listed as unreadable.
    """
    keys = ("kind", "method", "config", "utm_zone", "input_sha256", "classes_sha256")
    return {
        "format": FORMAT_VERSION,
        "complete": complete,
        "aspect": aspect,
        "size": list(size),
        "partition": {key: partition.description[key] for key in keys},
    }


def write_description(directory: Path, description: Mapping[str, Any]) -> None:
    """Writes subset.yaml; the one before it stays until the new one is whole."""
    unfinished = directory / f"{DESCRIPTION_FILE}.part"
    unfinished.write_text(yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True), encoding="utf-8")
    unfinished.replace(directory / DESCRIPTION_FILE)


def read_description(directory: Path) -> dict[str, Any]:
    """Reads subset.yaml and checks that it has all that is asked of it.

    Raises:
        DsformerError: it is damaged, or of another format version.
    """
    path = directory / DESCRIPTION_FILE
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        description = None
    if not isinstance(description, dict):
        raise DsformerError(f"{path} does not describe a subset: copy it again, or extract it again")
    if (version := description.get("format")) != FORMAT_VERSION:
        raise DsformerError(f"{path} has format version {version!r}, this program reads version {FORMAT_VERSION}")
    for key, kind in _KEYS.items():
        if not isinstance(description.get(key), kind):
            raise DsformerError(f"{path}: {key} is missing or of another kind: copy it again, or extract it again")
    return description


def subset_views(directory: Path, *, size: Size, aspect: Aspect) -> tuple[list[list[ClassPictures]], dict[str, Any]]:
    """Opens a subset.

    Args:
        directory: of the subset.
        size: height and width of the pictures to give.
        aspect: what the subset must have been extracted with.

    Returns:
        Per group its views, and what subset.yaml says of the partition.

    Raises:
        UsageError: it was extracted with another aspect.
        DsformerError: it is not complete, or damaged.
    """
    description = read_description(directory)
    if not description["complete"]:
        raise DsformerError(
            f"{directory} is not complete: give `dsformer cluster extract PARTITION --output {directory}` once more, "
            "it goes on where it stopped"
        )
    if description["aspect"] != aspect:
        raise UsageError(
            f"{directory} was extracted with aspect {description['aspect']}: train with that, not with {aspect}, "
            "or extract it anew"
        )
    path = directory / CLASSES_FILE
    try:
        table = pa_parquet.read_table(path)
        first = directory / table[PICTURE][0].as_py() if len(table) else directory
    except (OSError, KeyError, pa.ArrowInvalid):
        raise DsformerError(f"{path} is missing or damaged: copy the subset again, or extract it again") from None
    if not first.exists():
        raise DsformerError(f"{first} is missing: not all of the subset was copied")

    stored = description["size"]
    if stored[0] < size[0] or stored[1] < size[1]:
        log.warning("%s: its pictures of %dx%d are enlarged to %dx%d", directory, *stored, *size)

    def view(name: str, records: pa.Table, starts: Starts) -> ClassPictures:
        return ClassPictures(name, directory, single_array(records[PICTURE]), starts, size=size, aspect=aspect)

    return group_views(table, view), description["partition"]


def write_records(directory: Path, records: pa.Table, unreadable: Mapping[str, str]) -> pa.Table:
    """Writes classes.parquet: a partition's records without those of unreadable images.

    Args:
        directory: of the subset.
        records: of the partition.
        unreadable: image -> reason.

    Returns:
        What was written.
    """
    kept = records.append_column(PICTURE, picture_paths(records))
    if unreadable:
        kept = kept.filter(pc.invert(pc.is_in(kept["image"], pa.array(list(unreadable), pa.string()))))
    unfinished = directory / f"{CLASSES_FILE}.part"
    pa_parquet.write_table(kept, unfinished, compression="zstd")
    unfinished.replace(directory / CLASSES_FILE)
    return kept


def class_count(records: pa.Table) -> int:
    """Different classes in records."""
    return len(np.unique(np.column_stack([records["group"].to_numpy(), records["class"].to_numpy()]), axis=0))
