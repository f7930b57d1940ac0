"""Finds out what a path holds to train on, and opens it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dsformer_core.clustering.partition import DESCRIPTION_FILE as PARTITION_FILE
from dsformer_core.clustering.partition import PANORAMAS, Partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.panoramas import ASPECTS, Aspect, Size
from dsformer_core.training.data.class_pictures import ClassPictures
from dsformer_core.training.data.gsv_cities import MIN_IMAGES, TABLES, gsv_cities_views
from dsformer_core.training.data.partition_data import partition_views
from dsformer_core.training.data.subset import DESCRIPTION_FILE as SUBSET_FILE
from dsformer_core.training.data.subset import subset_views

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
    def class_count(self) -> int:
        """Classes as `dsformer cluster build` counts them: both views of a panorama are of the same class."""
        count = max if self.partition and self.partition.get("kind") == PANORAMAS else sum
        return sum(count(map(len, group)) for group in self.groups)

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
        aspect: what becomes of pictures of other proportions, see `dsformer_core.panoramas`.
        images_root: where a partition's images are now; None where it says.
        min_images: places of GSV-Cities with fewer pictures are left out.

    Raises:
        DsformerError: it is damaged or empty, or its pictures are not there.
        UsageError: it is missing, or the aspect is unknown or not the one that a subset was extracted with.
    """
    path = Path(path)
    if aspect not in ASPECTS:
        raise UsageError(f"aspect {aspect!r} is not one of {', '.join(ASPECTS)}")
    kind = kind_of(path)
    partition: Mapping[str, Any] | None = None
    if kind == "partition":
        opened = Partition.open(path)
        root = None if images_root is None else Path(images_root)
        groups, partition = partition_views(opened, size=size, aspect=aspect, images_root=root), opened.description
    elif kind == "subset":
        groups, partition = subset_views(path, size=size, aspect=aspect)
    else:
        groups = gsv_cities_views(path, size=size, aspect=aspect, min_images=min_images)
    if not groups:
        raise DsformerError(f"{path} has no class: nothing to train on")
    return TrainingData(path, groups, partition)


def kind_of(path: Path) -> Literal["partition", "subset", "gsv_cities"]:
    """What a directory holds to train on, by a look at names alone.

    Raises:
        UsageError: there is no such directory.
        DsformerError: it holds nothing of the kind.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: no such directory; training data are {_KINDS}")
    if (path / PARTITION_FILE).exists():
        return "partition"
    if (path / SUBSET_FILE).exists():
        return "subset"
    if (path / TABLES).is_dir():
        return "gsv_cities"
    raise DsformerError(f"{path}: nothing to train on; looked for {_KINDS}")
