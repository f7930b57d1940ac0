"""Rows of an array that stays on disk."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError


class StoredRows:
    """Reads rows of a memory-mapped array from its file, not through the mapping.

    Through the mapping every row would bring the sixteen pages around it along, which take four times as long as the
    row itself and count as the process's memory until they are given back; and a file that was cut off would end the
    process. Where a system cannot read at an offset, as Windows cannot, they are read through the mapping nevertheless.

    Args:
        array: (N, D), the whole of a mapping. Its file must still be the one that was mapped.
    """

    def __init__(self, array: Any) -> None:
        assert _is_mapped(array)
        self.shape: tuple[int, int] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.path = Path(str(array.filename))
        self._start: int = array.offset
        self._row_bytes: int = array.strides[0]
        self._mapping = None if hasattr(os, "pread") else array
        # Closed with its last user. Rows are far apart: reading ahead would fetch thirty times as much.
        self._file = self.path.open("rb", buffering=0)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """(n,) row numbers -> (n, D).

        Raises:
            DsformerError: the file was cut off, or cannot be read any more.
        """
        if self._mapping is not None:
            return np.array(self._mapping[rows])
        offsets = (self._start + np.asarray(rows) * self._row_bytes).tolist()
        return self._read(offsets, self._row_bytes)

    def span(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows from `start` up to `stop` or the last, (n, D).

        Raises:
            DsformerError: as above.
        """
        if self._mapping is not None:
            return np.array(self._mapping[start:stop])
        rows = max(0, min(stop, len(self)) - start)
        return self._read([self._start + start * self._row_bytes], rows * self._row_bytes)

    def _read(self, offsets: list[int], length: int) -> npt.NDArray[Any]:
        """The rows that lie in `length` bytes from each offset on."""
        file = self._file.fileno()
        if hasattr(os, "posix_fadvise"):
            # All are announced before the first is waited for: a disk brings hundreds in the time of some dozens.
            for offset in offsets:
                os.posix_fadvise(file, offset, length, os.POSIX_FADV_WILLNEED)
        try:
            content = bytearray().join([os.pread(file, length, offset) for offset in offsets])
        except OSError as error:
            raise DsformerError(f"{self.path} cannot be read any more ({error.strerror})") from error
        if len(content) != len(offsets) * length:
            raise _cut_off(self.path)
        return np.frombuffer(content, self.dtype).reshape(-1, self.shape[1])


Stored = npt.NDArray[Any] | StoredRows


def where_stored(array: npt.NDArray[Any]) -> Stored:
    """Rows of a memory-mapped array from its file, those of any other from memory."""
    return StoredRows(array) if _is_mapped(array) else array


def span(stored: Stored, start: int, stop: int) -> npt.NDArray[Any]:
    """Rows from `start` up to `stop`, of either."""
    return stored.span(start, stop) if isinstance(stored, StoredRows) else stored[start:stop]


def check_whole(array: npt.NDArray[Any]) -> None:
    """Refuses a memory-mapped array whose file has become shorter: the system ends whoever touches what is missing.

    Raises:
        DsformerError: names the file.
    """
    base: Any = array.base
    if isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and base.size() < array.offset + array.nbytes:
        raise _cut_off(array.filename)


def _cut_off(path: Any) -> DsformerError:
    return DsformerError(f"{path} was cut off while it was in use: copy the map again, or rebuild it")


def _is_mapped(array: npt.NDArray[Any]) -> bool:
    """Whether it is the whole of a memory-mapped file's array, row after row."""
    base: Any = array.base
    return isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and array.flags.c_contiguous
