"""The kinds of index that a place map can have: one class each, chosen here and nowhere else."""

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from dsformer_core.described import Codes, Described
from dsformer_core.errors import UsageError
from dsformer_core.place_map.format import CODES_FILE
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.flat import FlatIndex, HalfFlatIndex
from dsformer_core.place_map.indexes.hnsw import HnswIndex
from dsformer_core.place_map.indexes.ivf_pq import IvfPqIndex
from dsformer_core.place_map.indexes.request import AUTO, IndexRequest

DEFAULT_INDEX = AUTO

MOST_COMPARED: Final = 100_000
"""References up to which "auto" compares every one: 6 ms of 512 numbers on one thread; a network takes longer."""

MOST_CODES: Final = 3_000_000
"""References up to which "auto" compares every code: of 2.8 million in 8 ms, and nothing is missed. The lists of
`ivf_pq` were no faster there, missed some, and took minutes to train."""


class Index(Protocol):
    """One way to search the descriptors of a map, and what it keeps beside them on disk.

    Attributes:
        kind: what `map.yaml` and `--index` call it.
        storage: of descriptors in its maps, "float16" or "float32".
        has_candidates: whether it compares the descriptors of some references only.
        has_factory: whether it is made by one of FAISS's names for indexes, and can go through more or less of itself.
        holds_codes: whether codes of a network's hash branch are part of it.
        is_exact: whether it always finds the most similar references.
        fewest: references that it can be made of.
        bytes_per_reference: what every query goes through, and should therefore be in memory.
    """

    kind: ClassVar[str]
    storage: ClassVar[str]
    has_candidates: ClassVar[bool]
    has_factory: ClassVar[bool]
    holds_codes: ClassVar[bool]
    is_exact: ClassVar[bool]
    fewest: ClassVar[int]
    bytes_per_reference: int

    @classmethod
    def memory(cls, count: int, dimension: int) -> int:
        """Bytes that it must have in memory to be searched, of so many references."""
        ...

    @classmethod
    def write(
        cls, folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, request: IndexRequest
    ) -> dict[str, Any]:
        """Writes the index of a map that is being built. The same references and request give the same bytes.

        Args:
            folder: where its files go.
            descriptors: (N, D) of `storage`, memory-mapped.
            codes: (N, 64) uint8 of the network's hash branch, None where it has none.
            request: what is wanted of it beside its kind.

        Returns:
            What `map.yaml` has to say of it, beside its kind.

        Raises:
            UsageError: it cannot be had.
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

    @property
    def network_codes(self) -> Codes | None:
        """(N, 64) uint8 of the network's hash branch, where they are part of it."""
        ...

    def details(self) -> dict[str, Any]:
        """What `map.yaml` says of it, beside its kind."""
        ...

    def words(self) -> str:
        """The same for people; empty where there is nothing to say."""
        ...

    def on(self, device: str) -> "Index":
        """The same index, searched on "cpu", "cuda" or "cuda:1" where it can be; elsewhere as it was."""
        ...

    def search(self, queries: Described, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Q queries, k <= N -> similarities (Q, k) and rows (Q, k), in no particular order."""
        ...


INDEX_KINDS: dict[str, type[Index]] = {
    index.kind: index for index in (FlatIndex, HalfFlatIndex, BinaryIndex, IvfPqIndex, HnswIndex)
}


def index_class(kind: str) -> type[Index]:
    """The index of a kind that somebody asked for.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in INDEX_KINDS:
        known = [AUTO, *INDEX_KINDS]
        close = difflib.get_close_matches(kind, known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"there is no index {kind!r}{meant} (there are {', '.join(known)})")
    return INDEX_KINDS[kind]


def check_request(request: IndexRequest) -> None:
    """Refuses what no number of references could make possible.

    Raises:
        UsageError: there is no such kind, or it cannot have what is asked of it.
    """
    if request.kind == AUTO:
        if request.factory is not None:
            raise UsageError(f"factory {request.factory!r}: say of which kind it is ({_having('has_factory')})")
        return
    index = index_class(request.kind)
    if request.candidates is not None and not index.has_candidates:
        raise UsageError(
            f"an index {request.kind!r} compares every reference it finds and has no candidates (they are for: "
            f"{_having('has_candidates')})"
        )
    for name in ("factory", "effort"):
        if getattr(request, name) is not None and not index.has_factory:
            raise UsageError(f"an index {request.kind!r} has no {name} (it is for: {_having('has_factory')})")
    if request.recall == 1 and not index.is_exact:
        raise UsageError(f"recall = 1: an index {request.kind!r} may miss references (none: {_having('is_exact')})")


def storage_of(request: IndexRequest) -> str:
    """How descriptors are kept in a map with such an index, whichever is chosen in the end: "float16" or "float32".

    Raises:
        UsageError: there is no such kind.
    """
    return HalfFlatIndex.storage if request.kind == AUTO else index_class(request.kind).storage


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
        UsageError: as for `check_request`, or it does not fit into the memory.
    """
    check_request(request)
    chosen, why = (_by_itself if request.kind == AUTO else _asked)(request, count, dimension, has_codes)
    if request.memory_limit is not None and chosen.memory(count, dimension) > request.memory_limit:
        raise UsageError(_too_large(request, chosen, count, dimension))
    return chosen, f"{chosen.kind}: {why}"


def _too_large(request: IndexRequest, chosen: type[Index], count: int, dimension: int) -> str:
    """What does not fit into the memory, and what to do."""
    if request.recall == 1:
        what, instead = "an exact index", ", or be content with a recall below 1"
    elif chosen.kind == request.kind:
        what, instead = f"an index {chosen.kind!r}", f", or take {IvfPqIndex.kind!r}, which can stay on disk"
    else:
        what, instead = "an index", ""
    needed = _amount(chosen.memory(count, dimension))
    return (
        f"{what} of {count:,} references needs {needed} and the memory limit is {request.memory_limit:,} "
        f"bytes: raise it to {needed}{instead if count >= IvfPqIndex.fewest else ''}"
    )


def _amount(size: int) -> str:
    """Bytes as `--memory-limit` takes them, rounded up, so that so much is enough."""
    unit, name = next(
        (unit, name) for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB"), (1, "B")) if size >= unit
    )
    return f"{math.ceil(10 * size / unit) / 10:g}{name}"


def _asked(request: IndexRequest, count: int, dimension: int, has_codes: bool) -> tuple[type[Index], str]:
    index = index_class(request.kind)
    if count < index.fewest and request.factory is None:
        return HalfFlatIndex, f"{index.kind} is made of {index.fewest:,} references or more, and there are {count:,}"
    return index, "as asked"


def _by_itself(request: IndexRequest, count: int, dimension: int, has_codes: bool) -> tuple[type[Index], str]:
    """The first that fits."""
    if request.recall == 1:
        return HalfFlatIndex, "nothing else finds all"
    codes = "the network's codes" if has_codes else "codes of 64 bytes"
    for index, most, why in (
        (HalfFlatIndex, MOST_COMPARED, f"{count:,} references are few enough to compare each"),
        (BinaryIndex, MOST_CODES, f"of {count:,} references {codes} are compared, and the descriptors of the best"),
    ):
        if count <= most and (request.memory_limit is None or index.memory(count, dimension) <= request.memory_limit):
            return index, why
    if count < IvfPqIndex.fewest:
        return BinaryIndex, "nothing smaller can be made of so few references"
    return (
        IvfPqIndex,
        f"{count:,} references are too many to look at each" if count > MOST_CODES else "it can stay on disk",
    )


def write_index(
    index: type[Index], folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, request: IndexRequest
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Writes the index of a map that is being built, and the network's codes where the index does not hold them.

    Args:
        index: as chosen.
        folder: where files go.
        descriptors: (N, D) of the index's `storage`, memory-mapped.
        codes: (N, 64) uint8 of the network's hash branch, None where it has none.
        request: what is wanted of the index.

    Returns:
        What `map.yaml` has to say of the index, and the names of the files.

    Raises:
        UsageError: the index cannot be had.
        OSError: the disk is full.
    """
    fields: dict[str, Any] = {"kind": index.kind}
    fields |= index.write(folder, descriptors, codes, request)
    files = index.files(fields)
    if codes is not None and not index.holds_codes:
        np.save(folder / CODES_FILE, codes)
        files += (CODES_FILE,)
    return fields, files


def _having(attribute: str) -> str:
    return ", ".join(kind for kind, index in INDEX_KINDS.items() if getattr(index, attribute))
