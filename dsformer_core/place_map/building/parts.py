"""What place maps are put together from: described pictures in record batches, wherever they lie.

A part is a shard of a build, or rows of a map that exists. Both give batches of the same columns, so that building,
adding, merging and thinning are one thing (`assemble`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dsformer_core.place_map.format import COLUMNS
from dsformer_core.place_map.place_map import PlaceMap

RECORD = pa.schema(
    [
        ("id", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("altitude", pa.float64()),
        ("altitude_reference", pa.string()),
        ("heading_deg", pa.float64()),
        ("timestamp", pa.float64()),
        ("image", pa.string()),
        ("source", pa.string()),
        ("descriptor", pa.binary()),
        ("code", pa.binary()),
        ("thumbnail", pa.binary()),
    ]
)
"""One described picture: columns as in a map; the bytes of its descriptor, of its code and of a small JPEG, the latter
two null where there are none."""


class Part(Protocol):
    """Some of the references of a map that is being put together."""

    @property
    def dtype(self) -> str:
        """Of its descriptors, "float16" or "float32"."""
        ...

    def __len__(self) -> int:
        """Number of references."""
        ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Its references in order, a bounded number at a time.

        Args:
            columns: of `RECORD`; None for all.
        """
        ...


def bytes_column(rows: npt.NDArray[Any]) -> pa.Array:
    """(N, B) of any type -> a column of N times the bytes of a row."""
    width = rows.shape[1] * rows.itemsize
    fixed = pa.Array.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])
    return fixed.cast(pa.binary())


def bytes_of(column: pa.Array) -> memoryview:
    """The bytes of all rows, one after the other; of null rows there are none."""
    _, offsets, content = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return memoryview(b"" if content is None else content)[ends[0] : ends[-1]]


def rows_of(column: pa.Array, dtype: str) -> npt.NDArray[Any]:
    """The reverse of `bytes_column`."""
    return np.frombuffer(bytes_of(column), dtype).reshape(len(column), -1)


@dataclass(frozen=True, eq=False)
class MapPart:
    """References of a map that exists.

    Attributes:
        place_map: the map.
        rows: which of them, (n,) ascending; None for all.
    """

    place_map: PlaceMap
    rows: npt.NDArray[np.int64] | None = None

    @property
    def dtype(self) -> str:
        """Of its descriptors."""
        return str(self.place_map.descriptors.dtype)

    def __len__(self) -> int:
        return self.place_map.count if self.rows is None else len(self.rows)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Reads the map's files a group of rows at a time. See `Part.batches`."""
        wanted = RECORD.names if columns is None else list(columns)
        known = [name for name in wanted if name in COLUMNS.names]
        for start, table in self.place_map.reference_groups(*known, rows=self.rows):
            stop = start + len(table)
            if self.rows is None:
                rows: npt.NDArray[np.int64] = np.arange(start, stop)
            else:
                rows = self.rows[np.searchsorted(self.rows, start) : np.searchsorted(self.rows, stop)]
            if len(rows):
                found = {name: self._column(name, table, rows, start) for name in wanted}
                yield pa.record_batch(found, schema=pa.schema([RECORD.field(name) for name in wanted]))

    def _column(self, name: str, table: pa.Table, rows: npt.NDArray[np.int64], start: int) -> Any:
        place_map, size = self.place_map, len(rows)
        if name == "altitude_reference":
            return pa.array([place_map.altitude_reference] * size, pa.string())
        if name == "descriptor":
            return bytes_column(place_map.descriptors[rows])
        if name == "code":
            return pa.nulls(size, pa.binary()) if place_map.codes is None else bytes_column(place_map.codes[rows])
        if name == "thumbnail":
            paths = [place_map.thumbnail_path(row) for row in rows.tolist()]
            return pa.array([None if path is None else path.read_bytes() for path in paths], pa.binary())
        return table.column(name).combine_chunks().take(pa.array(rows - start))
