"""Parts put together to a place map on disk: the same for a build, an addition, a merge and what is left of a map."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import CODE_BYTES, Codes
from dsformer_core.geodesy import MapFrame
from dsformer_core.place_map.building.parts import RECORD, Part, bytes_column, bytes_of, rows_of
from dsformer_core.place_map.building.placement import POSITION, Placement, frame_of, place
from dsformer_core.place_map.calibration import fit_calibration
from dsformer_core.place_map.format import (
    COLUMNS,
    DESCRIPTORS_FILE,
    FORMAT_VERSION,
    MAP_FILE,
    REFERENCES_FILE,
    ROWS_PER_GROUP,
    THUMBNAILS,
    file_digest,
    folder_digest,
    thumbnail_file,
    write_description,
)
from dsformer_core.place_map.indexes.index import choose_index, write_index
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.place_map.places import spacing


@dataclass(frozen=True)
class About:
    """What a map says of itself beside its references.

    Attributes:
        name: for people.
        created: ISO 8601, UTC.
        model_name: the network that described the references.
        weights_sha256: of that network.
        weights: what they are, for people.
        arithmetic: runtime and precision in which the network computed.
        descriptor_dim: numbers per descriptor.
        frame: where the ROS frame `map` has its origin; None for the middle of the references. A map that grows or
            shrinks keeps it, because robots have poses in it.
        altitude_reference: what altitudes are above; None for what most of the references' are. Others become NaN.
        plan_sha256: digest of what a build was to make (`Plan.digest`); None where the map was not built of pictures.
    """

    name: str
    created: str
    model_name: str
    weights_sha256: str
    weights: str
    arithmetic: Arithmetic
    descriptor_dim: int
    frame: MapFrame | None = None
    altitude_reference: str | None = None
    plan_sha256: str | None = None

    @classmethod
    def of(cls, place_map: PlaceMap, *, name: str | None = None, created: str) -> "About":
        """The same of a map that is made of another one, in whose frame it stays."""
        return cls(
            name or place_map.name,
            created,
            place_map.model_name,
            place_map.weights_sha256,
            place_map.weights,
            place_map.arithmetic,
            place_map.descriptor_dim,
            place_map.frame,
            place_map.altitude_reference,
        )


def assemble(
    folder: Path,
    parts: Sequence[Part],
    about: About,
    *,
    index: str | IndexRequest,
    candidates: int | None = None,
    thumbnails: bool = True,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes the files of a map. The same parts give the same bytes.

    Besides the index, memory holds some numbers of each reference, but neither its names nor its descriptor.

    Args:
        folder: empty; nobody takes it for a map before its last file, `map.yaml`, is there.
        parts: in the order of the references; at least one reference among them.
        about: what the map says of itself.
        index: how the map is searched, or the name of a kind.
        candidates: of an index that has some, where `index` is but a name.
        thumbnails: whether those of the parts are kept.
        on_progress: called with the number of references written since its last call.

    Raises:
        UsageError: positions do not make one map.
        OSError: the disk is full.
    """
    count = sum(len(part) for part in parts)
    request = IndexRequest.of(index, candidates)
    kind, _ = choose_index(request, count, about.descriptor_dim, has_codes=False)
    placement = place(
        positions_of(parts),
        zone=None if about.frame is None else about.frame.zone,
        altitude_reference=about.altitude_reference,
    )
    frame = about.frame or frame_of(placement)
    codes = bytearray()
    row = 0
    with (
        (folder / DESCRIPTORS_FILE).open("wb") as descriptors_file,
        pq.ParquetWriter(
            folder / REFERENCES_FILE, COLUMNS, compression="zstd", use_dictionary=["source"], write_statistics=False
        ) as references_file,
    ):
        _write_npy_header(descriptors_file, kind.storage, count, about.descriptor_dim)
        for batch in _in_groups(parts, kind.storage):
            rows = slice(row, row + len(batch))
            references_file.write_table(_references(batch, placement, rows), row_group_size=ROWS_PER_GROUP)
            descriptors_file.write(rows_of(batch.column("descriptor"), kind.storage).tobytes())
            codes += bytes_of(batch.column("code"))
            if thumbnails:
                _write_thumbnails(folder, batch.column("thumbnail"), row)
            row += len(batch)
            on_progress(len(batch))

    mapped = np.load(folder / DESCRIPTORS_FILE, mmap_mode="r", allow_pickle=False)
    fields, index_files = write_index(kind, folder, mapped, _codes(codes, count), request)
    fields["asked"] = request.asked()
    description: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "name": about.name,
        "created": about.created,
        "model": {
            "name": about.model_name,
            "weights_sha256": about.weights_sha256,
            "weights": about.weights,
            "precision": about.arithmetic.precision,
            **about.arithmetic.to_dict(),
        },
        "descriptors": {"dimension": about.descriptor_dim, "dtype": kind.storage},
        "count": count,
        "utm_zone": str(frame.zone),
        "datum": {
            "latitude": frame.datum.latitude,
            "longitude": frame.datum.longitude,
            "altitude": frame.datum.altitude,
        },
        "altitude_reference": placement.altitude_reference,
        "spacing": spacing(placement.utm),
        "index": fields,
        "calibration": fit_calibration(mapped, placement.utm, placement.yaw).to_dict(),
    }
    if about.plan_sha256 is not None:
        description["plan_sha256"] = about.plan_sha256
    files = (REFERENCES_FILE, DESCRIPTORS_FILE, *index_files)
    description["files"] = {file: file_digest(folder / file) for file in files}
    if thumbnails:
        (folder / THUMBNAILS).mkdir(exist_ok=True)
        description["files"][THUMBNAILS] = folder_digest(folder / THUMBNAILS)
    write_description(folder / MAP_FILE, description)


def positions_of(parts: Sequence[Part]) -> pa.Table:
    """The columns `POSITION` of all references."""
    schema = pa.schema([RECORD.field(name) for name in POSITION])
    return pa.Table.from_batches((batch for part in parts for batch in part.batches(POSITION)), schema)


def _in_groups(parts: Sequence[Part], storage: str) -> Iterator[pa.RecordBatch]:
    """All references with descriptors of one type, as many at a time as will be read at once."""
    waiting: list[pa.RecordBatch] = []
    for part in parts:
        for batch in part.batches():
            waiting.append(batch if part.dtype == storage else _converted(batch, part.dtype, storage))
            while sum(len(some) for some in waiting) >= ROWS_PER_GROUP:
                table = pa.Table.from_batches(waiting).combine_chunks()
                yield table.slice(0, ROWS_PER_GROUP).to_batches()[0]
                waiting = table.slice(ROWS_PER_GROUP).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def _converted(batch: pa.RecordBatch, dtype: str, storage: str) -> pa.RecordBatch:
    descriptors = rows_of(batch.column("descriptor"), dtype).astype(storage)
    return batch.set_column(RECORD.get_field_index("descriptor"), RECORD.field("descriptor"), bytes_column(descriptors))


def _references(batch: pa.RecordBatch, placement: Placement, rows: slice) -> pa.Table:
    columns = {name: batch.column(name) for name in COLUMNS.names if name in RECORD.names}
    columns |= {
        "easting": placement.utm[rows, 0],
        "northing": placement.utm[rows, 1],
        "altitude": placement.altitude[rows],
        "yaw": placement.yaw[rows],
    }
    return pa.table(columns, schema=COLUMNS)


def _write_thumbnails(folder: Path, thumbnails: pa.Array, first: int) -> None:
    for row, thumbnail in enumerate(thumbnails, first):
        if thumbnail.is_valid:
            path = folder / thumbnail_file(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(thumbnail.as_buffer())


def _codes(content: bytearray, count: int) -> Codes | None:
    """Those of all references, None where some have none."""
    whole = len(content) == count * CODE_BYTES
    return np.frombuffer(content, np.uint8).reshape(count, CODE_BYTES) if whole else None


def _write_npy_header(file: BinaryIO, dtype: str, rows: int, columns: int) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(file, header)
