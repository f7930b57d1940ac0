"""Pictures of the classes of one view of a group, drawn by class."""

import logging
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from dsformer_core.errors import DsformerError
from dsformer_core.panoramas import Aspect, Size, read_views
from dsformer_core.pictures import PictureError
from dsformer_core.training.data.class_sampler import Draw

log = logging.getLogger(__name__)


class UnreadableClassError(DsformerError):
    """No picture of a class can be read."""

    def __init__(self, message: str) -> None:
        # What a loading process raises, torch raises again with the process's traceback before the message.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class ClassPictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Gives a picture of a class for every draw.

    A picture that cannot be read is replaced by another of its class, the same one every time: counted in `replaced`,
    and named once in the log, however many processes load.

    Args:
        name: what messages call this view, e.g. ``group 0, angle 90``.
        root: the folder that `names` are relative to.
        names: (N,) paths, those of a class side by side.
        starts: (K + 1,) where each class begins in `names`; N at the end.
        size: height and width of the pictures given.
        aspect: what becomes of other proportions, see `dsformer_core.panoramas`.
        offsets_deg: (N,) for panoramas: where the view's centre lies, degrees right of the centre column.
        cities: (K,) the number of the city that each class lies in; None where all lie in one.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        names: pa.Array,
        starts: npt.NDArray[np.int64],
        *,
        size: Size,
        aspect: Aspect,
        offsets_deg: npt.NDArray[np.float64] | None = None,
        cities: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.name, self.root, self.names, self.starts = name, root, names, starts
        self.size, self.aspect, self.offsets_deg = size, aspect, offsets_deg
        self.cities = np.zeros(len(self), np.int64) if cities is None else cities
        # Shared with the processes that load, forked or spawned. Arrow's and numpy's arrays, unlike lists, are not
        # copied to a forked process by merely being read.
        self._replaced = get_context("spawn").Value("q", 0)
        self._named = torch.zeros(len(names), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.starts) - 1

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(K,) pictures of each class."""
        return np.diff(self.starts)

    @property
    def picture_count(self) -> int:
        """Pictures of all classes."""
        return len(self.names)

    @property
    def replaced(self) -> int:
        """How many pictures could not be read so far, in all processes together."""
        return self._replaced.value

    def path(self, record: int) -> Path:
        """The file of a picture.

        Args:
            record: 0 to `picture_count` - 1.
        """
        return self.root / self.names[record].as_py()

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        """A picture of the drawn class.

        Returns:
            (3, H, W) uint8 RGB, and the class's index.

        Raises:
            UnreadableClassError: no picture of the class can be read.
        """
        for record in self._records(draw):
            offset = None if self.offsets_deg is None else float(self.offsets_deg[record])
            try:
                (picture,) = read_views(self.path(record), [offset], self.size, self.aspect)
            except PictureError as error:
                self._count(record, error)
                continue
            return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))), draw.class_index
        first = int(self.starts[draw.class_index])
        count = int(self.starts[draw.class_index + 1]) - first
        raise UnreadableClassError(
            f"{self.name}: none of the {count} pictures of class {draw.class_index} can be read ({self.path(first)}, …)"
        )

    def _records(self, draw: Draw) -> Iterator[int]:
        """The record that the draw means, then those that may replace it, in an order of the draw's own."""
        first, last = int(self.starts[draw.class_index]), int(self.starts[draw.class_index + 1])
        chosen = first + draw.random % (last - first)
        yield chosen
        others = np.delete(np.arange(first, last), chosen - first)
        yield from np.random.default_rng(draw.random).permutation(others).tolist()

    def _count(self, record: int, error: PictureError) -> None:
        with self._replaced.get_lock():
            self._replaced.value += 1
            named = bool(self._named[record])
            self._named[record] = True
        if not named:
            log.warning("%s; another picture of its class takes its place", error)
