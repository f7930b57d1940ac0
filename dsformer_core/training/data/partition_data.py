"""Training straight from a partition's panoramas or pictures."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsformer_core.clustering.partition import PANORAMAS, Partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.panoramas import Aspect, Size, offsets_deg
from dsformer_core.training.data.class_pictures import ClassPictures
from dsformer_core.training.data.records import Array, Starts, columns, group_views, single_array


def partition_views(
    partition: Partition, *, size: Size, aspect: Aspect, images_root: Path | None = None
) -> list[list[ClassPictures]]:
    """Per group of a partition its views.

    Args:
        partition: of panoramas or pictures.
        size: height and width of the pictures to give.
        aspect: what becomes of other proportions.
        images_root: where the images are now; None where the partition says.

    Raises:
        DsformerError: there are no images, or panoramas without a heading.
    """
    root = images_folder(partition, images_root)

    def view(name: str, records: pa.Table, starts: Starts) -> ClassPictures:
        return ClassPictures(
            name,
            root,
            single_array(records["image"]),
            starts,
            size=size,
            aspect=aspect,
            offsets_deg=record_offsets(partition, records) if partition.kind == PANORAMAS else None,
        )

    return group_views(partition.table, view)


def record_offsets(partition: Partition, records: pa.Table) -> Array:
    """(N,) degrees that each record's focal point lies right of its panorama's centre column.

    Raises:
        DsformerError: a panorama has no heading.
    """
    headings = records["heading_deg"].to_numpy()
    if not np.isfinite(headings).all():
        first = records["image"][int(np.flatnonzero(~np.isfinite(headings))[0])].as_py()
        raise DsformerError(
            f"{partition.directory}: {np.count_nonzero(~np.isfinite(headings))} panoramas have no heading, so nobody "
            f"knows where they look ({first}, …): build the partition from positions with headings"
        )
    return offsets_deg(
        columns(records, "easting", "northing"),
        columns(records, "focal_easting", "focal_northing"),
        headings,
        partition.zone,
    )


def images_folder(partition: Partition, images_root: Path | None) -> Path:
    """The folder with a partition's images, checked as far as one look can.

    Raises:
        UsageError: `images_root` is not a folder with these images.
        DsformerError: there are no images, or they are not where the partition says.
    """
    root = images_root or partition.images_root
    if root is None or (len(partition.table) and pc.any(pc.equal(partition.table["image"], "")).as_py()):
        raise DsformerError(f"{partition.directory} was built from positions without images: there is nothing to read")
    first = root / partition.table["image"][0].as_py() if len(partition.table) else root
    if first.exists():
        return root
    missing = f"{first} is missing" if root.is_dir() else f"{root}: no such folder"
    if images_root is not None:
        raise UsageError(f"{missing}; give the folder that the images of {partition.directory} lie in")
    raise DsformerError(
        f"{missing}; looked for the images of {partition.directory} there, change images_root in its partition.yaml if "
        "they were moved"
    )
