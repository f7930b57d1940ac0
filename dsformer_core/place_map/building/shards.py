"""Shards: what a build has described so far, in Parquet files of a few dozen pictures each.

A shard is on the disk whole or not at all, and which pictures it is of follows from its number. So a build that was
killed goes on with the shards that are missing, several machines can make them in any order, and the map that is put
together from them is the same, bit for bit.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.place_map.building.parts import RECORD
from dsformer_core.sources import Skipped
from dsformer_core.staging import durable_file

# What a kill can cost: a minute of a large network on a small computer, a tenth of a second of a GPU.
SMALLEST_SHARD = 64
# Files that file systems and people can still handle.
MOST_SHARDS = 16_384

_SKIPPED = b"skipped"


class BrokenShardError(Exception):
    """A shard cannot be read. Its pictures are to be described again.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path} cannot be read ({reason})")
        self.path = path


@dataclass(frozen=True)
class Shards:
    """How pictures are divided, and where the shards lie.

    Attributes:
        folder: of all shards.
        pictures: that there are, N.
        size: pictures in each shard but the last.
        dtype: of descriptors in them, "float16" or "float32".
    """

    folder: Path
    pictures: int
    size: int
    dtype: str

    def __len__(self) -> int:
        return -(-self.pictures // self.size)

    def rows(self, number: int) -> range:
        """The pictures of a shard, by their place in the source."""
        return range(number * self.size, min((number + 1) * self.size, self.pictures))

    def path(self, number: int) -> Path:
        """Where a shard lies."""
        return self.folder / f"{number // 1000:05d}" / f"{number:08d}.parquet"

    def missing(self) -> list[int]:
        """The shards that are not there yet."""
        return [number for number in range(len(self)) if not self.path(number).exists()]

    def write(self, number: int, records: pa.Table, skipped: Sequence[Skipped]) -> None:
        """Puts a shard on the disk, whole or not at all.

        Args:
            number: of the shard.
            records: of the columns `RECORD`: its pictures that could be used.
            skipped: those that could not.
        """
        said = json.dumps([[one.image, one.reason] for one in skipped]).encode()
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable_file(path) as file:
            # Its pages carry checksums, because a power cut may leave files that are only nearly whole.
            pq.write_table(
                records.replace_schema_metadata({_SKIPPED: said}),
                file,
                compression="none",
                use_dictionary=["source", "altitude_reference"],
                write_statistics=False,
                write_page_checksum=True,
            )

    def part(self, number: int) -> "ShardPart":
        """A shard that is there."""
        return ShardPart(self.path(number), self.dtype)


@dataclass(frozen=True)
class ShardPart:
    """The references of one shard. See `Part`.

    Attributes:
        path: of the file.
        dtype: of its descriptors.
    """

    path: Path
    dtype: str

    def __len__(self) -> int:
        try:
            return int(pq.read_metadata(self.path).num_rows)
        except (OSError, pa.ArrowException) as error:
            raise BrokenShardError(self.path, error) from error

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Reads the file. See `Part.batches`.

        Raises:
            BrokenShardError: it is damaged.
        """
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                if not file.schema_arrow.equals(RECORD):
                    raise BrokenShardError(self.path, "it has other columns")
                yield from file.iter_batches(columns=None if columns is None else list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise BrokenShardError(self.path, error) from error

    def skipped(self) -> list[Skipped]:
        """The pictures of its range that could not be used.

        Raises:
            BrokenShardError: it is damaged.
        """
        try:
            metadata = pq.read_schema(self.path).metadata or {}
            return [Skipped(image, reason) for image, reason in json.loads(metadata[_SKIPPED])]
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise BrokenShardError(self.path, error) from error


def shard_size(pictures: int) -> int:
    """How many pictures go into each shard, of so many in all."""
    return SMALLEST_SHARD * max(1, -(-pictures // (SMALLEST_SHARD * MOST_SHARDS)))
