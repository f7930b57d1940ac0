"""Finds out what a path holds to train on, and opens it."""

from dataclasses import dataclass
from pathlib import Path

from dsformer_core.clustering.partition import DESCRIPTION_FILE as PARTITION_FILE
from dsformer_core.clustering.partition import Partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.training.data.class_pictures import ClassPictures
from dsformer_core.training.data.partition_data import partition_views
from dsformer_core.training.data.views import ASPECTS, Aspect, Size


@dataclass(frozen=True)
class TrainingData:
    """What to train on.

    Attributes:
        path: where it lies.
        groups: per group its views: lateral and frontal, or one. No group and no view is empty; a view's classes are
            numbered from 0.
    """

    path: Path
    groups: list[list[ClassPictures]]

    @property
    def replaced(self) -> int:
        """Pictures that could not be read so far, and were replaced."""
        return sum(view.replaced for group in self.groups for view in group)


def open_training_data(
    path: str | Path, *, size: Size, aspect: Aspect = "keep", images_root: str | Path | None = None
) -> TrainingData:
    """Opens a partition.

    Args:
        path: the directory.
        size: height and width of the pictures to give.
        aspect: what becomes of pictures of other proportions, see `dsformer_core.training.data.views`.
        images_root: where a partition's images are now; None where it says.

    Raises:
        DsformerError: it is missing, damaged or empty, or its pictures are not there.
    """
    path = Path(path)
    if aspect not in ASPECTS:
        raise UsageError(f"aspect {aspect!r} is not one of {', '.join(ASPECTS)}")
    if not path.is_dir():
        raise DsformerError(f"{path}: no such directory; training data are a partition")
    if not (path / PARTITION_FILE).exists():
        raise DsformerError(f"{path}: nothing to train on; looked for {PARTITION_FILE}")
    root = None if images_root is None else Path(images_root)
    groups = partition_views(Partition.open(path), size=size, aspect=aspect, images_root=root)
    if not groups:
        raise DsformerError(f"{path} has no class: nothing to train on")
    return TrainingData(path, groups)
