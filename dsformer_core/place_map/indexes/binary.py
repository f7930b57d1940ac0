"""Search in two stages: codes of 64 bytes find candidates, their descriptors on disk put them in order."""

import logging
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dsformer_core.described import CODE_BITS, CODE_BYTES, Codes, Described
from dsformer_core.place_map.format import INDEX_FILE, THRESHOLDS_FILE, MapError
from dsformer_core.place_map.indexes.codes import CANDIDATES, SignCodes, best_rows, nearest_codes, rerank
from dsformer_core.place_map.indexes.faiss_files import faiss
from dsformer_core.place_map.indexes.fields import check_count, check_name
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.stored_rows import StoredRows, span, where_stored

HASH_BRANCH = "hash branch"
SIGNS = "signs"

# Descriptors that are in memory at a time while codes are made of them, or all are compared: 32 MiB of 512 float32.
_AT_ONCE = 16_384
_AGAIN = "copy the map again, or rebuild it"

log = logging.getLogger(__name__)


class BinaryIndex:
    """Codes in memory, descriptors on disk; the similarities that it finds are those of the descriptors.

    Args:
        codes: of the references.
        descriptors: (N, D) float16 or float32, memory-mapped.
        candidates: how many references the codes find for a query.
        signs: makes the codes of queries; None where they come from the network's hash branch.
        name: of the map, for messages.
    """

    kind: ClassVar[str] = "binary"
    storage: ClassVar[str] = "float16"
    has_candidates: ClassVar[bool] = True
    has_factory: ClassVar[bool] = False
    holds_codes: ClassVar[bool] = True
    is_exact: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    bytes_per_reference = CODE_BYTES

    def __init__(
        self,
        codes: "_CodesFile",
        descriptors: npt.NDArray[Any],
        candidates: int,
        signs: SignCodes | None,
        name: str,
    ) -> None:
        self._stored_codes, self.descriptors, self._name = codes, StoredRows(descriptors), name
        self.candidates, self.signs = candidates, signs
        self._codes: Codes | None = None
        self._one_at_a_time = threading.Lock()
        self._warned = False

    @property
    def codes(self) -> Codes:
        """(N, 64) uint8 of the references; in memory from the first use on."""
        with self._one_at_a_time:
            if self._codes is None:
                self._codes = self._stored_codes.read()
            return self._codes

    @classmethod
    def memory(cls, count: int, dimension: int) -> int:
        """Bytes of so many codes."""
        return count * CODE_BYTES

    @classmethod
    def write(
        cls, folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, request: IndexRequest
    ) -> dict[str, Any]:
        """Writes codes: those of the hash branch, or the signs of descriptors where there is none."""
        with (folder / INDEX_FILE).open("wb") as file:
            file.write(_header(len(descriptors)))
            if codes is not None:
                file.write(np.ascontiguousarray(codes).data)
            else:
                signs, stored = SignCodes.fit(descriptors), where_stored(descriptors)
                np.save(folder / THRESHOLDS_FILE, signs.thresholds)
                for start in range(0, len(stored), _AT_ONCE):
                    file.write(signs.encode(span(stored, start, min(start + _AT_ONCE, len(stored)))).data)
        return {"codes": SIGNS if codes is None else HASH_BRANCH, "candidates": request.candidates or CANDIDATES}

    @classmethod
    def files(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The codes, and what makes those of queries.

        Raises:
            DsformerError: `map.yaml` says something else.
        """
        check_name(fields, "codes", HASH_BRANCH, SIGNS)
        check_count(fields, "candidates", "references")
        return (INDEX_FILE, THRESHOLDS_FILE) if fields["codes"] == SIGNS else (INDEX_FILE,)

    @classmethod
    def open(cls, directory: Path, fields: Mapping[str, Any], descriptors: npt.NDArray[Any]) -> "BinaryIndex":
        """Looks at what the codes say of themselves; they are read when they are first searched."""
        codes = _CodesFile(directory / INDEX_FILE, len(descriptors))
        signs = None
        if fields["codes"] == SIGNS:
            signs = SignCodes(_read_thresholds(directory / THRESHOLDS_FILE), descriptors.shape[1])
        return cls(codes, descriptors, fields["candidates"], signs, directory.name)

    def details(self) -> dict[str, Any]:
        """Where codes come from, and how many candidates they find."""
        return {"codes": HASH_BRANCH if self.signs is None else SIGNS, "candidates": self.candidates}

    def words(self) -> str:
        """The same for people."""
        return f"codes from {self.details()['codes']}, {self.candidates} candidates"

    @property
    def network_codes(self) -> Codes | None:
        """Its codes, where the network made them."""
        return self.codes if self.signs is None else None

    def on(self, device: str) -> "BinaryIndex":
        """Itself: codes are searched on the CPU."""
        return self

    def search(self, queries: Described, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Q queries -> similarities (Q, k) and rows (Q, k), in no particular order.

        Queries without codes that need them are compared with every descriptor instead: slowly, and exactly.
        """
        asked = queries.codes if self.signs is None else self.signs.encode(queries.descriptors)
        if asked is None:
            return self._search_descriptors(queries.descriptors, k)
        _, rows = nearest_codes(asked, self.codes, max(k, self.candidates))
        return best_rows(rerank(queries.descriptors, self.descriptors, rows), rows, k)

    def _search_descriptors(
        self, queries: npt.NDArray[np.float32], k: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        if not self._warned:
            log.warning(
                "WARNING: %s has codes of a hash branch and is asked without: every descriptor is compared, slowly",
                self._name,
            )
            self._warned = True
        best: npt.NDArray[np.float32] = np.empty((len(queries), 0), np.float32)
        rows: npt.NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self.descriptors), _AT_ONCE):
            chunk = self.descriptors.span(start, start + _AT_ONCE).astype(np.float32)
            found, places = faiss.knn(queries, chunk, min(k, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
            best, rows = best_rows(np.hstack([best, found]), np.hstack([rows, places + start]), k)
        return best, rows


# What FAISS writes before the codes of an `IndexBinaryFlat`: its name, bits and bytes of a code, codes, whether it is
# trained, a metric that means nothing to codes, and the bytes of all.
_HEADER = struct.Struct("<4siiq?iQ")


def _header(count: int) -> bytes:
    return _HEADER.pack(b"IBxF", CODE_BITS, CODE_BYTES, count, True, 1, count * CODE_BYTES)


class _CodesFile:
    """The codes of an `IndexBinaryFlat` in a file, which is read when they are first asked for.

    It is closed with its last user: a map that is replaced before it is searched stays the map that was opened.

    Raises:
        MapError: it holds something else than so many codes.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        header = _header(count)
        try:
            self._file = path.open("rb")
            expected = self._file.read(len(header)) == header
        except OSError as error:
            raise self._unreadable(error) from error
        if not expected or path.stat().st_size != len(header) + count * CODE_BYTES:
            raise _refused(path, count)

    def read(self) -> Codes:
        """(N, 64). Not through FAISS, which would have them in memory a second time until this array is filled.

        And of NumPy's own memory, which comes in large pages, a million are searched in two thirds of the time.

        Raises:
            MapError: it was cut off, or cannot be read any more.
        """
        try:
            self._file.seek(_HEADER.size)
            return np.fromfile(self._file, np.uint8, self._count * CODE_BYTES).reshape(self._count, CODE_BYTES)
        except (OSError, MemoryError, ValueError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> MapError:
        return MapError(f"{self._path} cannot be read ({error or 'out of memory'}): {_AGAIN}")


def _refused(path: Path, count: int) -> MapError:
    """What does not begin as expected: FAISS says what it is."""
    try:
        index: Any = faiss.read_index_binary(str(path))
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines()
        return MapError(f"{path} cannot be read ({reason[-1] if reason else 'out of memory'}): {_AGAIN}")
    if type(index).__name__ != "IndexBinaryFlat":
        return MapError(f"{path} holds a {type(index).__name__} instead of an IndexBinaryFlat: {_AGAIN}")
    return MapError(
        f"{path} holds {index.ntotal} codes of {index.d} bits instead of {count} of {CODE_BITS}, or other bytes than "
        f"FAISS writes of them: {_AGAIN}"
    )


def _read_thresholds(path: Path) -> npt.NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            thresholds = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MapError(f"{path} cannot be read ({error}): {_AGAIN}") from error
    if thresholds.shape != (CODE_BITS,) or thresholds.dtype != np.float32 or not np.isfinite(thresholds).all():
        raise MapError(f"{path} holds {thresholds.dtype} {thresholds.shape} instead of 512 finite float32: {_AGAIN}")
    return thresholds
