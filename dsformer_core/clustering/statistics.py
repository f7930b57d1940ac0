"""How a partition distributes images over classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.clustering.group import Group
from dsformer_core.clustering.partition import Partition

_PERCENTILES = (5, 25, 50, 75, 95)
# Upper ends of the bins of class sizes; the last is open.
BINS = (15, 20, 30, 40, 60, 100)


def statistics_of_groups(groups: Sequence[Group], locations: int) -> dict[str, Any]:
    """`statistics` of groups in memory."""
    classes = [rows for group in groups for rows in group.classes]
    kept = len(np.unique(np.concatenate(classes))) if classes else 0
    return statistics(np.array([len(rows) for rows in classes], np.int64), kept, locations)


def statistics_of_partition(partition: Partition) -> dict[str, Any]:
    """`statistics` of a partition on disk."""
    keys = ["group", "class"]
    # A panorama has a record per view; a class, as many rows as it has images.
    counted = partition.table.select([*keys, "row"]).group_by([*keys, "row"]).aggregate([])
    sizes = counted.group_by(keys).aggregate([("row", "count")])["row_count"].to_numpy()
    return statistics(np.asarray(sizes, np.int64), partition.image_count, partition.locations)


def classes_with_headings(partition: Partition) -> int:
    """Classes that hold an image whose heading is known: only these can see their street by headings."""
    known = partition.table.filter(np.isfinite(partition.table["heading_deg"].to_numpy()))
    return int(known.select(["group", "class"]).group_by(["group", "class"]).aggregate([]).num_rows)


def statistics(sizes: npt.NDArray[np.int64], kept: int, locations: int) -> dict[str, Any]:
    """Numbers for people and programs.

    Args:
        sizes: (K,) images in each class.
        kept: different images in classes.
        locations: images that went in.

    Returns:
        classes; memberships (an image in several groups counts in each); images (different ones) and share (of
        `locations`); sizes: percentiles, smallest, largest, mean, and their coefficient of variation; histogram: how
        many classes have up to so many images.
    """
    measured = {
        "classes": len(sizes),
        "memberships": int(sizes.sum()),
        "images": int(kept),
        "share": kept / locations,
    }
    if len(sizes) == 0:
        return measured | {"sizes": None, "histogram": {}}
    bins = np.searchsorted(BINS, sizes)
    labels = [*(f"{low + 1} to {high}" for low, high in zip((0, *BINS), BINS, strict=False)), f"over {BINS[-1]}"]
    return measured | {
        "sizes": {
            "smallest": int(sizes.min()),
            **{f"p{share}": float(np.percentile(sizes, share)) for share in _PERCENTILES},
            "largest": int(sizes.max()),
            "mean": float(sizes.mean()),
            "variation": float(sizes.std() / sizes.mean()),
        },
        "histogram": dict(zip(labels, np.bincount(bins, minlength=len(labels)).tolist(), strict=True)),
    }
