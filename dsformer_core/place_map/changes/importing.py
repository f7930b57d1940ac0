"""A map of descriptors that were made elsewhere, and of the positions of their pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.errors import DsformerError
from dsformer_core.place_map.building.assemble import About
from dsformer_core.place_map.building.parts import RECORD, bytes_column
from dsformer_core.place_map.building.work_folder import now
from dsformer_core.place_map.changes.descriptor_files import Chunk, DescriptorFile
from dsformer_core.place_map.changes.rewriting import write_map
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.sources import GeotaggedPicture, ManifestSource, Skipped

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a descriptor may be, which float16 moves by half of that."""

SAME_NETWORK = 0.95
"""Similarity below which a descriptor is not what the network says of the picture. Another way to decode and shrink
the picture costs a hundredth; another picture, or another network, gives no such number."""


@dataclass(frozen=True)
class Network:
    """What a map says of the network that described its references.

    Attributes:
        model_name: one of `list_models()`, or any other name; then only descriptors can be asked of the map.
        weights_sha256: `weights_digest` of the network; of a network that is not known here anything that tells its
            weights from others.
        weights: what they are, for people.
        precision: in which it computed, "unknown" where nobody knows.
    """

    model_name: str
    weights_sha256: str = "unknown"
    weights: str = "unknown"
    precision: str = "unknown"


class Imports:
    """References that are to become a map: the usable rows of a table, and their descriptors.

    Args:
        table: positions; its pictures need not be on this machine.
        descriptors: file of their descriptors, see `DescriptorFile`.

    Attributes:
        pictures: (n) those with a position, in the table's order.
        rows: (n,) their rows in the table.
        skipped: the rest, and why.
        dimension: numbers per descriptor.
        normalised: how many descriptors were not of unit length, and are made so.

    Raises:
        UsageError: there is another number of descriptors than rows.
        DsformerError: a descriptor is not finite, or zero; no row has a position.
    """

    def __init__(self, table: ManifestSource, descriptors: str | Path) -> None:
        found = list(table.rows(pictures_needed=False))
        self.skipped = [one for _, one in found if isinstance(one, Skipped)]
        usable = [(row, one) for row, one in found if isinstance(one, GeotaggedPicture)]
        if not usable:
            raise DsformerError(
                f"{table.manifest}: none of its {len(found)} rows can be used ({self.skipped[0].reason})"
            )
        self.name = table.name
        self.pictures = [one for _, one in usable]
        self.rows = np.array([row for row, _ in usable], dtype=np.int64)
        names = [one.id if isinstance(one, GeotaggedPicture) else "" for _, one in found]
        self._file = DescriptorFile(Path(descriptors), names)
        self.dimension, self.normalised = 0, 0
        for rows, chunk in self._file.chunks(self.rows):
            lengths = np.linalg.norm(chunk.astype(np.float64), axis=1)
            bad = ~(np.isfinite(lengths) & (lengths > 0))
            if bad.any():
                row = int(rows[np.argmax(bad)])
                what = "zero" if lengths[np.argmax(bad)] == 0 else "not finite"
                raise DsformerError(f"{descriptors}: the descriptor of {names[row]} (row {row + 1}) is {what}")
            self.normalised += int((np.abs(lengths - 1) > UNIT_TOLERANCE).sum())
            self.dimension = chunk.shape[1]

    def chunks(self) -> Iterator[Chunk]:
        """Places in `pictures`, and their descriptors (n, D), float32, of unit length."""
        start = 0
        for _, chunk in self._file.chunks(self.rows):
            lengths = np.linalg.norm(chunk.astype(np.float64), axis=1, keepdims=True)
            off = np.abs(lengths - 1) > UNIT_TOLERANCE
            yield np.arange(start, start + len(chunk)), np.where(off, chunk / lengths, chunk).astype(np.float32)
            start += len(chunk)

    def similarities(self, extractor: "Extractor", count: int) -> list[tuple[str, float]]:
        """What a network says of some of the pictures, against what they were given.

        Args:
            extractor: the network.
            count: of pictures, spread evenly over those whose files are here.

        Returns:
            Names and cosines.

        Raises:
            DsformerError: none of the pictures is here, or one of them cannot be read.
        """
        here = [place for place, picture in enumerate(self.pictures) if Path(picture.image).is_file()]
        if not here:
            raise DsformerError(f"none of the {len(self.pictures)} pictures is here (first: {self.pictures[0].image})")
        chosen = np.unique(np.array(here)[np.linspace(0, len(here) - 1, min(count, len(here))).astype(int)])
        given = dict[int, npt.NDArray[np.float32]]()
        for places, chunk in self.chunks():
            for place in chosen[np.isin(chosen, places)].tolist():
                given[place] = chunk[place - places[0]]
        own = extractor.extract_files([Path(self.pictures[place].image) for place in chosen], strict=True)
        return [
            (self.pictures[place].id, float(described @ given[place]))
            for place, described in zip(chosen.tolist(), own, strict=True)
        ]


def import_place_map(
    imports: Imports,
    network: Network,
    output: str | Path,
    *,
    name: str | None = None,
    index: IndexRequest,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> PlaceMap:
    """Writes a map of descriptors that were made elsewhere, whole or not at all.

    Args:
        imports: the references.
        network: what made the descriptors.
        output: the directory to make.
        name: what to call the map; the directory's name without its suffix when None.
        index: how it is searched.
        overwrite: whether a map that is already at `output` is replaced.
        on_progress: called with the number of references written since its last call.

    Raises:
        DsformerError: the disk is full.
        UsageError: `output` exists, or the positions do not make one map.
    """
    about = About(
        name or Path(output).absolute().stem,
        now(),
        network.model_name,
        network.weights_sha256,
        network.weights,
        Arithmetic(precision=network.precision),
        imports.dimension,
    )
    write_map([_Part(imports)], [], about, Path(output), index=index, overwrite=overwrite, on_progress=on_progress)
    return PlaceMap.open(output)


@dataclass(frozen=True, eq=False)
class _Part:
    """Imported references. See `Part`."""

    imports: Imports
    dtype: str = "float32"

    def __len__(self) -> int:
        return len(self.imports.pictures)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Part.batches`."""
        schema = pa.schema([RECORD.field(name) for name in columns or RECORD.names])
        for places, chunk in self.imports.chunks():
            pictures = self.imports.pictures[places[0] : places[-1] + 1]
            made = {
                "source": [one.source or self.imports.name for one in pictures],
                "descriptor": bytes_column(chunk),
                "code": pa.nulls(len(pictures), pa.binary()),
                "thumbnail": pa.nulls(len(pictures), pa.binary()),
            }
            found = {
                name: made[name] if name in made else [getattr(one, name) for one in pictures] for name in schema.names
            }
            yield pa.record_batch(found, schema=schema)
