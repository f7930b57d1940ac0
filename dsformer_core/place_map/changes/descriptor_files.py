"""Descriptors that were made elsewhere: .npy, .parquet, or hloc's .h5."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map.exports.hloc import read_descriptors

SUFFIXES = (".npy", ".parquet", ".h5")
COLUMN = "descriptor"

Rows = npt.NDArray[np.int64]
Chunk = tuple[Rows, npt.NDArray[np.float32]]

_AT_ONCE = 4_096


class DescriptorFile:
    """Descriptors in a file: row after row as a table of references has them; in .h5 by the names of pictures.

    Args:
        path: .npy with an array (N, D) of floats; .parquet with a column ``descriptor`` of N lists of D numbers; .h5
            with a data set ``NAME/global_descriptor`` for each picture.
        names: (N,) of the pictures of the table, for .h5.

    Raises:
        UsageError: it is no file of these kinds, or it has another number of rows than the table.
        DsformerError: it cannot be read.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self._names = path, names
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        self._suffix = path.suffix.lower()
        if self._suffix not in SUFFIXES:
            raise UsageError(f"{path}: descriptors are read from {', '.join(SUFFIXES)}")
        self._array = _open_array(path) if self._suffix == ".npy" else None
        count = len(names)
        if self._array is not None:
            count = len(self._array)
        elif self._suffix == ".parquet":
            count = _parquet_rows(path)
        if count != len(names):
            raise UsageError(f"{path} has {count} descriptors for {len(names)} rows of references: one each is needed")

    def chunks(self, rows: Rows) -> Iterator[Chunk]:
        """Some rows, ascending, a bounded number at a time: their numbers, and (n, D) float32.

        Raises:
            DsformerError: the file cannot be read, lacks a picture, or has descriptors of different length.
        """
        if self._array is not None:
            for start in range(0, len(rows), _AT_ONCE):
                chosen = rows[start : start + _AT_ONCE]
                yield chosen, np.asarray(self._array[chosen], np.float32)
        elif self._suffix == ".parquet":
            yield from self._parquet_chunks(rows)
        else:
            found = read_descriptors(self.path, [self._names[row] for row in rows])
            for start in range(0, len(rows), _AT_ONCE):
                chosen = rows[start : start + _AT_ONCE]
                yield chosen, self._stacked([next(found) for _ in chosen], chosen)

    def _parquet_chunks(self, rows: Rows) -> Iterator[Chunk]:
        start = 0
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_AT_ONCE, columns=[COLUMN]):
                    chosen = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(batch))]
                    lists = batch.column(0).take(pa.array(chosen - start))
                    start += len(batch)
                    if len(chosen):
                        yield (
                            chosen,
                            self._stacked([one.values.to_numpy(zero_copy_only=False) for one in lists], chosen),
                        )
        except (OSError, pa.ArrowException) as error:
            raise DsformerError(f"{self.path} cannot be read ({error})") from error

    def _stacked(self, descriptors: Sequence[npt.NDArray[Any]], rows: Rows) -> npt.NDArray[np.float32]:
        lengths = [len(one) for one in descriptors]
        if len(set(lengths)) > 1:
            odd = next(number for number, length in enumerate(lengths) if length != lengths[0])
            raise DsformerError(
                f"{self.path}: the descriptor of {self._names[rows[odd]]} has {lengths[odd]} numbers, others have "
                f"{lengths[0]}"
            )
        return np.array(descriptors, np.float32)


def _open_array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DsformerError(f"{path} cannot be read ({error})") from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise UsageError(f"{path} holds {array.dtype} {array.shape}: floats of the shape (N, D) are needed")
    return array


def _parquet_rows(path: Path) -> int:
    try:
        schema, count = pq.read_schema(path), int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise DsformerError(f"{path} cannot be read ({error})") from error
    if COLUMN not in schema.names:
        raise UsageError(f"{path} has no column {COLUMN!r} (it has {', '.join(schema.names)})")
    kind = schema.field(COLUMN).type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (lists and pa.types.is_floating(kind.value_type)):
        raise UsageError(f"{path}: the column {COLUMN!r} is {kind}, not a list of floats")
    return count
