"""Finds out what a path holds to train on, and opens it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsformer_core.clustering.partition import DESCRIPTION_FILE as PARTITION_FILE
from dsformer_core.clustering.partition import Partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.training.data.class_pictures import ClassPictures
from dsformer_core.training.data.gsv_cities import MIN_IMAGES, TABLES, gsv_cities_views
from dsformer_core.training.data.partition_data import partition_views
from dsformer_core.training.data.subset import DESCRIPTION_FILE as SUBSET_FILE
from dsformer_core.training.data.subset import subset_views
from dsformer_core.training.data.views import ASPECTS, Aspect, Size

_KINDS = f"a partition ({PARTITION_FILE}), a subset ({SUBSET_FILE}) or GSV-Cities ({TABLES}/*.csv)"


@dataclass(frozen=True)
class TrainingData:
    """What to train on.

    Attributes:
        path: where it lies.
        groups: per group its views: lateral and frontal, or one. No group and no view is empty; a view's classes are
            numbered from 0.
        partition: what partition.yaml says of method, config, kind and digests; None for GSV-Cities.
    """

    path: Path
    groups: list[list[ClassPictures]]
    partition: Mapping[str, Any] | None

    @property
    def replaced(self) -> int:
        """Pictures that could not be read so far, and were replaced."""
        return sum(view.replaced for group in self.groups for view in group)


def open_training_data(
    path: str | Path,
    *,
    size: Size,
    aspect: Aspect = "keep",
    images_root: str | Path | None = None,
    min_images: int = MIN_IMAGES,
) -> TrainingData:
    """Opens a partition, a subset that `dsformer cluster extract` wrote, or GSV-Cities.

    Args:
        path: the directory.
        size: height and width of the pictures to give.
        aspect: what becomes of pictures of other proportions, see `dsformer_core.training.data.views`.
        images_root: where a partition's images are now; None where it says.
        min_images: places of GSV-Cities with fewer pictures are left out.

    Raises:
        DsformerError: it is missing, damaged or empty, or its pictures are not there.
        UsageError: the aspect is unknown, or not the one that a subset was extracted with.
    """
    path = Path(path)
    if aspect not in ASPECTS:
        raise UsageError(f"aspect {aspect!r} is not one of {', '.join(ASPECTS)}")
    if not path.is_dir():
        raise DsformerError(f"{path}: no such directory; training data are {_KINDS}")
    partition: Mapping[str, Any] | None = None
    if (path / PARTITION_FILE).exists():
        opened = Partition.open(path)
        root = None if images_root is None else Path(images_root)
        groups, partition = partition_views(opened, size=size, aspect=aspect, images_root=root), opened.description
    elif (path / SUBSET_FILE).exists():
        groups, partition = subset_views(path, size=size, aspect=aspect)
    elif (path / TABLES).is_dir():
        groups = gsv_cities_views(path, size=size, aspect=aspect, min_images=min_images)
    else:
        raise DsformerError(f"{path}: nothing to train on; looked for {_KINDS}")
    if not groups:
        raise DsformerError(f"{path} has no class: nothing to train on")
    return TrainingData(path, groups, partition)
