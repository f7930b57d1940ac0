"""The kinds of index that a place map can have: one class each, chosen here and nowhere else."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError
from dsformer_core.extractor import Codes, Described
from dsformer_core.place_map.binary_index import BinaryIndex
from dsformer_core.place_map.flat_index import FlatIndex, HalfFlatIndex
from dsformer_core.place_map.index_request import AUTO, IndexRequest

# References up to which every one is compared: a twentieth of a second on one thread is not worth an error.
_FEW = 100_000

DEFAULT_INDEX = HalfFlatIndex.kind


class Index(Protocol):
    """One way to search the descriptors of a map, and what it keeps beside them on disk.

    Attributes:
        kind: what `map.yaml` and `--index` call it.
        storage: of descriptors in its maps, "float16" or "float32".
        has_candidates: whether it compares the descriptors of some references only.
        bytes_per_reference: what every query goes through, and should therefore be in memory.
    """

    kind: ClassVar[str]
    storage: ClassVar[str]
    has_candidates: ClassVar[bool]
    bytes_per_reference: int

    @classmethod
    def write(
        cls, folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, candidates: int | None = None
    ) -> dict[str, Any]:
        """Writes the index of a map that is being built.

        Args:
            folder: where its files go.
            descriptors: (N, D) of `storage`, memory-mapped.
            codes: (N, 64) uint8 of the network's hash branch, None where it has none.
            candidates: whose descriptors a query is compared with, >= 1; None for as many as it takes by itself.

        Returns:
            What `map.yaml` has to say of it, beside its kind.
        """
        ...

    @classmethod
    def files(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The files of its own, given what `map.yaml` says of it.

        Raises:
            DsformerError: that makes no sense.
        """
        ...

    @classmethod
    def open(cls, directory: Path, fields: Mapping[str, Any], descriptors: npt.NDArray[Any]) -> "Index":
        """Reads the index of a map, whose files have the right checksums.

        Raises:
            MapError: its files are not what belongs to these descriptors.
        """
        ...

    def details(self) -> dict[str, Any]:
        """What `map.yaml` says of it, beside its kind."""
        ...

    def on(self, device: str) -> "Index":
        """The same index, searched on "cpu", "cuda" or "cuda:1" where it can be; elsewhere as it was."""
        ...

    def search(self, queries: Described, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Q queries, k <= N -> similarities (Q, k) and rows (Q, k), in no particular order."""
        ...


INDEX_KINDS: dict[str, type[Index]] = {index.kind: index for index in (FlatIndex, HalfFlatIndex, BinaryIndex)}


def index_class(kind: str) -> type[Index]:
    """The index of a kind that somebody asked for.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in INDEX_KINDS:
        close = difflib.get_close_matches(kind, INDEX_KINDS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"there is no index {kind!r}{meant} (there are {', '.join(INDEX_KINDS)})")
    return INDEX_KINDS[kind]


def choose_index(request: IndexRequest, count: int, dimension: int, has_codes: bool) -> tuple[type[Index], str]:
    """The index that a map of so many references gets.

    Args:
        request: what is wanted.
        count: of references, >= 1.
        dimension: of descriptors.
        has_codes: whether the network has a hash branch.

    Returns:
        The kind, and in one line why.

    Raises:
        UsageError: there is no such kind.
    """
    if request.kind != AUTO:
        return index_class(request.kind), "as asked"
    needed = count * dimension * np.dtype(HalfFlatIndex.storage).itemsize
    fits = request.memory_limit is None or needed <= request.memory_limit
    if fits and (count <= _FEW or request.recall == 1):
        return HalfFlatIndex, f"{HalfFlatIndex.kind}: exact, and {count} references need no more"
    return BinaryIndex, f"{BinaryIndex.kind}: {count} references of {dimension} numbers are many"


def check_candidates(kind: str, candidates: int | None) -> None:
    """Refuses a number of candidates that a kind of index cannot have.

    Raises:
        UsageError: there are none in such an index, or the number is below 1.
    """
    if candidates is None:
        return
    if not INDEX_KINDS[kind].has_candidates:
        having = ", ".join(name for name, index in INDEX_KINDS.items() if index.has_candidates)
        raise UsageError(f"an index {kind!r} compares every reference and has no candidates (they are for: {having})")
    if candidates < 1:
        raise UsageError(f"candidates = {candidates}: there must be 1 or more")
