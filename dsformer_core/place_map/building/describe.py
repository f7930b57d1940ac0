"""Pictures of a source -> described shards of a build: what is to be done, who does it, and how it is done here."""

import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow as pa

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import Described
from dsformer_core.errors import DsformerError
from dsformer_core.pictures import Picture, PictureError
from dsformer_core.place_map.building.parts import RECORD, bytes_column
from dsformer_core.sources import GeotaggedPicture, Skipped

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor

THUMBNAIL_SIDE = 240
# Pixels. Networks take any picture, and describe the icons and placeholders among them, too.
SMALLEST_SIDE = 32


@dataclass(frozen=True, eq=False)
class ShardTask:
    """What to describe for one shard.

    Attributes:
        number: of the shard.
        pictures: its own.
        source: what they come from where they do not say it themselves.
        dtype: in which descriptors are kept.
        thumbnails: whether small pictures are kept.
    """

    number: int
    pictures: Sequence[GeotaggedPicture]
    source: str
    dtype: str
    thumbnails: bool


@dataclass(frozen=True, eq=False)
class DescribedShard:
    """What became of it.

    Attributes:
        number: of the shard.
        records: of the columns `RECORD`: its pictures that could be used, in order.
        skipped: those that could not.
    """

    number: int
    records: pa.Table
    skipped: list[Skipped]


class Describer(ABC):
    """Describes whole shards with one network, wherever that computes: here, in processes, on other machines.

    What it says of a shard does not depend on who describes it, nor on what was described before: only on the kind of
    device, the precision, the size of batches and, on CPUs, the number of the network's threads.

    Attributes:
        model_name: one of `list_models()`.
        weights_sha256: `weights_digest` of the network.
        weights: what these are, for people.
        arithmetic: runtime and precision in which the network computes.
        descriptor_dim: numbers per descriptor.
        code_bytes: bytes per code; 0 where the network has no hash branch.
    """

    model_name: str
    weights_sha256: str
    weights: str
    arithmetic: Arithmetic
    descriptor_dim: int
    code_bytes: int

    @abstractmethod
    def describe_shards(
        self,
        tasks: Iterable[ShardTask],
        *,
        on_described: Callable[[int], None],
        on_skipped: Callable[[Skipped], None],
    ) -> Generator[DescribedShard, None, None]:
        """Describes shards; closing the generator ends the work.

        Args:
            tasks: taken one after the other, as work goes on; all as long as the first, but for the last of them.
            on_described: called with the number of pictures finished since its last call.
            on_skipped: called with each picture that cannot be used; what it raises ends the work.

        Yields:
            Each shard when it is finished, in any order.

        Raises:
            DsformerError: the network failed, or those who compute did.
        """
        ...


class Here(Describer):
    """Describes shards in this process, in one stream: the network never waits between two of them.

    Args:
        extractor: the network.
        batch_size: pictures that enter it at a time.
        workers: threads that decode.
    """

    def __init__(self, extractor: "Extractor", *, batch_size: int = 8, workers: int = 2) -> None:
        self.model_name, self.weights_sha256 = extractor.model_name, extractor.weights_sha256
        self.weights, self.arithmetic = extractor.weights, extractor.arithmetic
        self.descriptor_dim, self.code_bytes = extractor.descriptor_dim, extractor.code_bytes
        self._extractor, self._batch_size, self._workers = extractor, batch_size, workers

    def describe_shards(
        self,
        tasks: Iterable[ShardTask],
        *,
        on_described: Callable[[int], None],
        on_skipped: Callable[[Skipped], None],
    ) -> Generator[DescribedShard, None, None]:
        """See `Describer.describe_shards`. Shards come in the order of their tasks."""
        waiting = iter(tasks)
        first = next(waiting, None)
        if first is None:
            return
        begun: deque[_Begun] = deque()
        stream = self._extractor.extract_pictures(
            self._loaders(chain([first], waiting), begun),
            batch_size=self._batch_size,
            workers=self._workers,
            together=len(first.pictures),
        )
        with closing(stream) as described:
            for _, found in described:
                shard = begun[0]
                if isinstance(found, DsformerError):
                    _refuse_gone(found)
                    on_skipped(shard.skip(found))
                else:
                    shard.found.append(found)
                on_described(1)
                if shard.finished:
                    yield begun.popleft().described()

    def _loaders(self, tasks: Iterable[ShardTask], begun: deque["_Begun"]) -> Iterator[Callable[[], Picture]]:
        """What loads the pictures of all tasks, one after the other; notes those tasks that have their turn."""
        for task in tasks:
            begun.append(_Begun(task))
            for row in range(len(task.pictures)):
                yield partial(begun[-1].load, row, self._extractor)


@dataclass(frozen=True, eq=False)
class _Begun:
    """A shard some of whose pictures are described.

    Attributes:
        task: what to describe.
        found: what the network says of each picture so far; None where it cannot be used.
        skipped: those.
        thumbnails: by row, also of pictures that have not been described yet.
    """

    task: ShardTask
    found: list[Described | None] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    thumbnails: dict[int, bytes] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return len(self.found) == len(self.task.pictures)

    def load(self, row: int, extractor: "Extractor") -> Picture:
        """Decodes a picture for a network, and makes its thumbnail on the way; called in worker threads.

        Thumbnails are made of what the network gets: then it is resized here, also where a GPU would do so.
        """
        one = self.task.pictures[row]
        picture = one.load(at_least=extractor.decode_size)
        if min(picture.shape[:2]) < SMALLEST_SIDE:
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            raise PictureError(f"{one.image}: {size} pixels are too few to show a place")
        if not self.task.thumbnails:
            return picture
        resized = extractor.resized(picture)
        self.thumbnails[row] = _thumbnail(resized, picture.shape)
        return resized

    def skip(self, error: DsformerError) -> Skipped:
        """Notes that the next picture cannot be used."""
        image = self.task.pictures[len(self.found)].image
        self.found.append(None)
        self.skipped.append(Skipped(image, str(error).removeprefix(f"{image}: ")))
        return self.skipped[-1]

    def described(self) -> DescribedShard:
        chosen = [
            (self.task.pictures[row], found, self.thumbnails.get(row))
            for row, found in enumerate(self.found)
            if found is not None
        ]
        return DescribedShard(self.task.number, records(chosen, self.task.source, self.task.dtype), self.skipped)


# What a file that was there answers when its disk or its share is not.
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN)


def _refuse_gone(error: DsformerError) -> None:
    """Sources found every picture's file: one that is gone is no damaged picture to be left out.

    Raises:
        DsformerError: the file is not there any more.
    """
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in _GONE:
        raise DsformerError(
            f"{error}, but it was there when its position was read: is its disk still there? Nothing is left out; "
            "--resume goes on"
        ) from error


def records(pictures: Sequence[tuple[GeotaggedPicture, Described, bytes | None]], source: str, dtype: str) -> pa.Table:
    """Described pictures in the columns of `RECORD`.

    Args:
        pictures: each with what the network says of it, and its thumbnail if there is one.
        source: what pictures come from that do not say it themselves.
        dtype: in which descriptors are kept.
    """
    if not pictures:
        return RECORD.empty_table()
    found = [described for _, described, _ in pictures]
    codes = [described.codes for described in found if described.codes is not None]
    columns = {name: [getattr(one, name) for one, _, _ in pictures] for name in RECORD.names if name in _OF_PICTURES}
    columns["source"] = [one.source or source for one, _, _ in pictures]
    return pa.table(
        columns
        | {
            "descriptor": bytes_column(np.concatenate([one.descriptors for one in found]).astype(dtype)),
            "code": bytes_column(np.concatenate(codes)) if codes else pa.nulls(len(found), pa.binary()),
            "thumbnail": [thumbnail for _, _, thumbnail in pictures],
        },
        schema=RECORD,
    )


_OF_PICTURES = frozenset(GeotaggedPicture.__dataclass_fields__)


def _thumbnail(resized: Picture, shape: tuple[int, ...]) -> bytes:
    """A small JPEG of a picture of a shape, made of what the network gets of it: in a fifth of the time."""
    height, width = shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(resized, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return encoded.tobytes()
