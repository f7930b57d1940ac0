"""FAISS's indexes by name, in files, and with one thread: what more than one kind of index needs of FAISS."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import UsageError
from dsformer_core.place_map.format import MapError


class _Faiss:
    """FAISS, imported when something of it is first used: a map that is only opened does without its 15 MB."""

    def __getattr__(self, name: str) -> Any:
        import faiss

        return getattr(faiss, name)


# Its own types know half of what it has.
faiss: Any = _Faiss()

AGAIN = "copy the map again, or rebuild it"


def named_index(factory: str, dimension: int) -> Any:
    """An index by FAISS's name for it, that compares by inner product.

    Raises:
        UsageError: FAISS knows none by that name, or none for so many numbers.
    """
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = reason_of(error)
        raise UsageError(f"factory {factory!r} is no index of {dimension} numbers ({reason})") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS computes with one thread, so that sums are taken in one order: the same bytes whatever there are."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def write_index_file(index: Any, path: Path, flags: int = 0) -> None:
    """Writes an index as FAISS does.

    Raises:
        OSError: the disk is full; FAISS by itself would say so in many words of its own.
    """
    failed: list[OSError] = []
    with path.open("wb") as file:

        def write(content: bytes) -> None:
            try:
                file.write(content)
            except OSError as error:
                failed.append(error)
                raise

        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write), flags)
        except (RuntimeError, OSError):
            if failed:
                raise failed[0] from None
            raise


def read_index_file(source: Any, path: Path, flags: int = 0) -> Any:
    """Reads an index.

    Args:
        source: what FAISS reads from: a name, or a reader.
        path: the file, for messages.
        flags: of FAISS.

    Raises:
        MapError: FAISS cannot read it.
    """
    try:
        return faiss.read_index(source, flags)
    except (RuntimeError, MemoryError, OSError) as error:
        raise MapError(f"{path} cannot be read ({reason_of(error)}): {AGAIN}") from error


def reason_of(error: BaseException) -> str:
    """What FAISS has to say, in one line, without the place in its source."""
    lines = str(error).strip().splitlines()
    return re.sub(r"^Error in .* at \S+:[0-9]+: ", "", lines[-1].strip()) if lines else "out of memory"


def spread_rows(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """So many rows of `count`, or all, evenly spread."""
    taken = min(wanted, count)
    rows: npt.NDArray[np.int64] = np.arange(taken, dtype=np.int64) * count // max(1, taken)
    return rows
