"""Several maps of one network put together to one."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.errors import UsageError
from dsformer_core.place_map.building.assemble import About
from dsformer_core.place_map.building.parts import RECORD, MapPart, bytes_column
from dsformer_core.place_map.building.work_folder import now
from dsformer_core.place_map.changes.rewriting import write_map
from dsformer_core.place_map.format import MapError
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.place_map import PlaceMap


@dataclass(frozen=True, eq=False)
class Merged:
    """What became of maps that were merged.

    Attributes:
        place_map: the new map, opened.
        repeated: references left out because a map before theirs has the same picture.
        renamed: references that got their map's name before theirs.
        altitudes_lost: references whose altitude is above something else than the first map's, and is unknown now.
    """

    place_map: PlaceMap
    repeated: int
    renamed: int
    altitudes_lost: int


def merge_place_maps(
    place_maps: Sequence[PlaceMap],
    output: str | Path,
    *,
    name: str | None = None,
    index: IndexRequest | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Merged:
    """Puts maps together, in the frame of the first; positions in other zones are projected into its.

    A picture is the same in two maps where both its `image` and its time are (without a time, its place), since two
    robots may give their pictures the same names: it is kept as the earlier map has it.

    Args:
        place_maps: two or more, of one network; their references follow each other.
        output: the directory to make. It may be that of one of the maps, with `overwrite`.
        name: of the new map; the directory's name without its suffix when None.
        index: how it is searched; as the first when None.
        overwrite: whether a map that is already at `output` is replaced.
        on_progress: called with the number of references written since its last call.

    Raises:
        MapError: the maps are of different networks.
        UsageError: there are fewer than two maps, they lie too far apart, or `output` exists.
        DsformerError: the disk is full.
    """
    if len(place_maps) < 2:
        raise UsageError("give two maps or more to merge")
    first = place_maps[0]
    for other in place_maps[1:]:
        refuse_other_network(first, other)
    same_altitudes = [one for one in place_maps if np.isfinite(one.altitude).any()]
    reference = same_altitudes[0].altitude_reference if same_altitudes else first.altitude_reference
    about = About(
        name or Path(output).absolute().stem,
        now(),
        first.model_name,
        first.weights_sha256,
        first.weights,
        Arithmetic.together(one.arithmetic for one in place_maps),
        first.descriptor_dim,
        first.frame,
        reference,
    )
    parts, repeated, renamed = _parts(place_maps)
    lost = sum(
        int(np.isfinite(part.place_map.altitude[part.rows]).sum())
        for part in parts
        if part.place_map.altitude_reference != reference
    )
    write_map(
        parts,
        place_maps,
        about,
        Path(output),
        index=index or first.index_request,
        overwrite=overwrite,
        on_progress=on_progress,
    )
    return Merged(PlaceMap.open(output), repeated, renamed, lost)


def refuse_other_network(first: PlaceMap, other: PlaceMap) -> None:
    """Refuses two maps whose descriptors cannot be compared.

    Raises:
        MapError: in one line, which two networks made them.
    """
    if (first.model_name, first.weights_sha256) != (other.model_name, other.weights_sha256):
        raise MapError(
            f"{first.directory} was made with {_network(first)} and {other.directory} with {_network(other)}: "
            "descriptors of different networks cannot be compared; build one of the maps again"
        )
    if (fault := other.arithmetic.fault(first.arithmetic, first.descriptors_sha256)) is not None:
        raise MapError(f"{first.directory} and {other.directory} cannot be merged: {fault}")


def _network(place_map: PlaceMap) -> str:
    return f"{place_map.model_name} ({place_map.weights}, {place_map.weights_sha256[:12]})"


@dataclass(frozen=True, eq=False)
class _RenamedPart(MapPart):
    """References of a map, some under other names.

    Attributes:
        names: (n,) of its rows.
    """

    names: pa.Array = None

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Part.batches`."""
        start = 0
        for batch in super().batches(columns):
            if "id" in batch.schema.names:
                number = batch.schema.get_field_index("id")
                names = self.names.slice(start, len(batch)).cast(pa.string())
                batch = batch.set_column(number, RECORD.field("id"), names)
            start += len(batch)
            yield batch


def _parts(place_maps: Sequence[PlaceMap]) -> tuple[list[_RenamedPart], int, int]:
    """What each map gives, and how many references are repeated and renamed."""
    seen = _Pictures.of(place_maps[0])
    parts = [_RenamedPart(place_maps[0], np.arange(place_maps[0].count), _ids(place_maps[0]))]
    taken, repeated, renamed = parts[0].names, 0, 0
    for place_map in place_maps[1:]:
        pictures = _Pictures.of(place_map)
        rows = np.flatnonzero(~pictures.among(seen))
        repeated += place_map.count - len(rows)
        names, changed = _free_names(_ids(place_map).take(pa.array(rows)), taken, place_map.name)
        renamed += changed
        parts.append(_RenamedPart(place_map, rows, names))
        seen = seen.with_those_of(pictures)
        taken = pa.concat_arrays([taken, names])
    return parts, repeated, renamed


def _ids(place_map: PlaceMap) -> pa.Array:
    return _texts(place_map, "id")


def _texts(place_map: PlaceMap, column: str) -> pa.Array:
    """A column of text; of large strings, because those of a country take more than two gigabytes."""
    groups = [table.column(column).combine_chunks() for _, table in place_map.reference_groups(column)]
    return pa.concat_arrays([group.cast(pa.large_string()) for group in groups])


def _free_names(names: pa.Array, taken: pa.Array, prefix: str) -> tuple[pa.Array, int]:
    """The same names, but those that are taken with their map's name before them; and how many these are."""
    collides = pc.is_in(names, value_set=taken)
    count = int(pc.sum(collides).as_py() or 0)
    if not count:
        return names, 0
    used = pa.concat_arrays([taken, names])
    for before in itertools.chain([prefix], (f"{prefix}-{number}" for number in itertools.count(2))):
        longer = pc.binary_join_element_wise(pa.scalar(f"{before}/", names.type), names, pa.scalar("", names.type))
        if not pc.any(pc.and_(collides, pc.is_in(longer, value_set=used))).as_py():
            return pc.if_else(collides, longer, names), count
    raise AssertionError("there is always a free name")


@dataclass(frozen=True, eq=False)
class _Pictures:
    """What tells pictures apart, of N references.

    Attributes:
        images: (N,) paths or bag references.
        moments: (N, 3) milliseconds since 1970, or, where the time is unknown, latitude and longitude.
    """

    images: pa.Array
    moments: npt.NDArray[np.float64]

    @classmethod
    def of(cls, place_map: PlaceMap) -> "_Pictures":
        moments = np.column_stack([place_map.timestamps, place_map.latitude, place_map.longitude])
        known = ~np.isnan(moments[:, 0])
        moments[known, 0] = np.round(moments[known, 0] * 1e3)
        moments[known, 1:], moments[~known, 0] = 0, 0
        return cls(_texts(place_map, "image"), moments)

    def with_those_of(self, others: "_Pictures") -> "_Pictures":
        return _Pictures(pa.concat_arrays([self.images, others.images]), np.concatenate([self.moments, others.moments]))

    def among(self, others: "_Pictures") -> npt.NDArray[np.bool_]:
        """(N,) whether each is one of `others`."""
        # Numbers stand for names, which may be long.
        known = pc.unique(others.images)
        own = pc.index_in(self.images, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False)
        theirs = pc.index_in(others.images, value_set=known).to_numpy(zero_copy_only=False)
        found = pc.is_in(_keys(own, self.moments), value_set=_keys(theirs, others.moments))
        return found.to_numpy(zero_copy_only=False)


def _keys(names: npt.NDArray[np.integer], moments: npt.NDArray[np.float64]) -> pa.Array:
    """(N,) values that are equal where names and moments are."""
    return bytes_column(np.column_stack([names.astype(np.float64), moments]))
