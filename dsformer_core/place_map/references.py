"""What a map says of each reference: columns that are read from their file when somebody asks for them."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.place_map.format import COLUMNS, MapError

POSITION_BYTES = 4 * 8
"""Per reference, of memory: easting, northing, altitude and yaw, which every localization looks at."""

# Groups of rows whose names are kept, two megabytes of them: the next answer is often of the same street.
_RECENT_GROUPS = 8

_AGAIN = "copy the map again, or rebuild it"


class References:
    """The columns of a map's references.

    The file stays open, so that a map that is replaced in the meantime stays the map that was opened.

    Args:
        path: a Parquet file of the columns `COLUMNS`.

    Raises:
        MapError: it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._parquet = pq.ParquetFile(pa.OSFile(str(path)))
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        if not self._parquet.schema_arrow.equals(COLUMNS):
            raise MapError(f"{path} does not have the columns {', '.join(COLUMNS.names)}: {_AGAIN}")
        metadata = self._parquet.metadata
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._recent: dict[tuple[str, int], pa.Array] = {}
        self._one_at_a_time = threading.RLock()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def numbers(self, *columns: str) -> npt.NDArray[np.float64]:
        """All rows of some columns, (N, columns).

        Raises:
            MapError: the file cannot be read any more.
        """
        values = np.empty((len(self), len(columns)))
        for group, (start, stop) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            table = self._read(group, *columns)
            for number, column in enumerate(columns):
                values[start:stop, number] = table.column(column).to_numpy()
        pa.default_memory_pool().release_unused()
        return values

    def groups(self, *columns: str, rows: npt.NDArray[np.int64] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """All rows of some columns, or of all where none are named: first row and rows of each group.

        Args:
            columns: of `COLUMNS`.
            rows: ascending; groups without any of them are not read. None for all groups.

        Raises:
            MapError: as above.
        """
        held = np.searchsorted(self._starts if rows is None else rows, self._starts)
        for group, start in enumerate(self._starts[:-1].tolist()):
            if held[group] < held[group + 1]:
                yield start, self._read(group, *(columns or COLUMNS.names))

    def names(self, column: str) -> "Names":
        """All rows of a column of text."""
        return Names(self, column)

    def name(self, column: str, row: int) -> str:
        """One row, 0 <= row < N, of a column of text.

        Raises:
            MapError: as above.
        """
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._one_at_a_time:
            found = self._recent.get((column, group))
            if found is None:
                found = self._texts(column, group)
                if len(self._recent) == _RECENT_GROUPS:
                    del self._recent[next(iter(self._recent))]
                self._recent[column, group] = found
        return str(found[row - int(self._starts[group])])

    def all_names(self, column: str) -> Iterator[str]:
        """All rows of a column of text, in order; no more of them in memory than a group.

        Raises:
            MapError: as above.
        """
        for group in range(len(self._starts) - 1):
            yield from self._texts(column, group).to_pylist()

    def _texts(self, column: str, group: int) -> pa.Array:
        return self._read(group, column).column(column).combine_chunks()

    def _read(self, group: int, *columns: str) -> pa.Table:
        try:
            with self._one_at_a_time:
                return self._parquet.read_row_group(group, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> MapError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return MapError(f"{self._path} cannot be read ({reason}): {_AGAIN}")


class Names(Sequence[str]):
    """A column of text, of which nothing is in memory but the names that were just asked for."""

    def __init__(self, references: References, column: str) -> None:
        self._references, self._column = references, column

    def __len__(self) -> int:
        return len(self._references)

    @overload
    def __getitem__(self, row: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: SupportsIndex | slice) -> str | list[str]:
        rows = range(len(self))[row]
        if isinstance(rows, range):
            return [self._references.name(self._column, each) for each in rows]
        return self._references.name(self._column, rows)

    def __iter__(self) -> Iterator[str]:
        return self._references.all_names(self._column)

    def __eq__(self, other: object) -> bool:
        """Equal to the list of the same names."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(other) == len(self) and all(own == its for own, its in zip(self, other, strict=True))
