"""An array on disk that is written a few rows at a time, and of which a killed run leaves whole rows."""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class RowFile:
    """One .npy file of N rows; while it is being made it is called NAME.part.npy and only grows.

    Args:
        folder: where it lies.
        name: without the ending.
        dtype: of its numbers, as NumPy writes it, with its byte order.
        shape: (N, numbers per row).
    """

    def __init__(self, folder: Path, name: str, dtype: str, shape: tuple[int, int]) -> None:
        self._whole, self._part = folder / f"{name}.npy", folder / f"{name}.part.npy"
        self._dtype, self._shape = dtype, shape
        self._header = _header(dtype, shape)
        self._row_bytes = np.dtype(dtype).itemsize * shape[1]

    @property
    def complete(self) -> bool:
        """Whether all rows are there and it has its name."""
        size = len(self._header) + self._shape[0] * self._row_bytes
        return self._whole.is_file() and self._whole.stat().st_size == size

    def discard(self) -> None:
        """Forgets what is there."""
        self._whole.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def begin(self) -> int:
        """Takes it up where it was left, whole or not; returns how many whole rows are there."""
        if self.complete:
            self._whole.replace(self._part)
        elif not self._part.is_file() or self._part.stat().st_size < len(self._header):
            self._part.write_bytes(self._header)
        return min((self._part.stat().st_size - len(self._header)) // self._row_bytes, self._shape[0])

    def cut(self, rows: int) -> None:
        """Leaves the first so many rows, and nothing of what was begun behind them."""
        os.truncate(self._part, len(self._header) + rows * self._row_bytes)

    def put(self, numbered: Sequence[tuple[int, npt.NDArray[Any]]]) -> None:
        """Writes rows to their places; they are on the disk when it returns.

        Interrupted by Ctrl-C it can be called again with the same rows.
        """
        with self._file.open("r+b") as file:
            for row, values in numbered:
                file.seek(len(self._header) + row * self._row_bytes)
                file.write(np.asarray(values, self._dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Gives it its name: all rows are there."""
        self._part.replace(self._whole)

    def first(self, rows: int) -> npt.NDArray[Any]:
        """The first so many rows, at least one, memory-mapped, of a file that need not be whole."""
        return np.memmap(self._file, self._dtype, "r", len(self._header), (rows, self._shape[1]))

    def open(self) -> npt.NDArray[Any]:
        """All rows, memory-mapped."""
        return np.load(self._whole, mmap_mode="r", allow_pickle=False)

    @property
    def _file(self) -> Path:
        return self._whole if self.complete else self._part


def _header(dtype: str, shape: tuple[int, int]) -> bytes:
    """Of a .npy file that has all rows, so that nothing is left to do but to append them."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()
