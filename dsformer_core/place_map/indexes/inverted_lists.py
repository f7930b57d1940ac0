"""Fills an inverted file of FAISS out of core: a few thousand descriptors are in memory at a time, whatever there are.

Codes go to a file in the order of references while they are made, and from there to the index's file in the order of
its lists. What FAISS would have in memory, the lists, is never there as a whole, and the file is the one that FAISS
would have written. Chunks are the same for any number of threads, and so is every byte.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.format import MapError
from dsformer_core.place_map.indexes.faiss_files import AGAIN, faiss
from dsformer_core.place_map.stored_rows import Stored, StoredRows, span

CHUNK_BYTES = 16 * 2**20
"""Of float32 descriptors that a thread takes at a time."""

WORKING_BYTES = 6 * CHUNK_BYTES
"""That a thread needs: the chunk as it is stored, widened, transformed, and compared with the lists' centroids."""

# Of a quantiser with long parts FAISS takes a kilobyte for each byte of every code that it makes at once.
_ENCODED_AT_ONCE = 512
_UNSORTED = ".codes.npy"

# How FAISS says that lists are in the file itself, in another one, or nowhere; and how it says how long each is.
_LISTS: Final = b"ilar"
_KINDS_OF_LISTS: Final = (_LISTS, b"ilod", b"il00")
_FULL: Final = b"full"
_SPARSE: Final = b"sprs"
_ID_BYTES: Final = 8


def inverted_file(index: Any) -> Any:
    """The inverted file that an index is, or has behind its transforms, as the class that it is.

    Raises:
        RuntimeError: it is none.
    """
    return faiss.downcast_index(faiss.extract_index_ivf(index))


def write_inverted_file(path: Path, index: Any, descriptors: Stored, threads: int) -> None:
    """Writes a trained, empty index as if all references had been added to it.

    Args:
        path: of its file.
        index: an `IndexIVF` with `ArrayInvertedLists`, behind transforms or not.
        descriptors: (N, D) of all references.
        threads: that encode.

    Raises:
        OSError: the disk is full.
    """
    count = len(descriptors)
    ivf = inverted_file(index)
    unsorted = path.parent / _UNSORTED
    lists: npt.NDArray[np.int32] = np.empty(count, np.int32)
    try:
        with unsorted.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, ivf.code_size)}
            np.lib.format.write_array_header_1_0(file, header)
            start = 0
            for numbers, codes in _encoded(index, ivf, descriptors, threads):
                lists[start : start + len(numbers)] = numbers
                start += len(numbers)
                file.write(codes.data)
        with path.open("wb") as file:
            sizes = np.bincount(lists, minlength=ivf.nlist)
            file.write(_head(index, ivf, count, sizes))
            codes_of = StoredRows(np.load(unsorted, mmap_mode="r"))
            order = np.argsort(lists, kind="stable")
            for rows in np.split(order, np.cumsum(sizes)[:-1]):
                if len(rows):
                    file.write(codes_of[rows].data)
                    file.write(rows.astype(np.int64).data)
    finally:
        unsorted.unlink(missing_ok=True)


def check_lists(path: Path, count: int) -> None:
    """Refuses a file that does not hold its lists as `write_inverted_file` writes them, before FAISS follows it.

    FAISS knows lists in another file, too, which it maps whatever file an index names.

    Args:
        path: of an index.
        count: of references, each of which must be in one list.

    Raises:
        MapError: its lists are others, or it cannot be read.
    """
    refused = MapError(f"{path} holds lists of other than {count} references: {AGAIN}")
    try:
        with path.open("rb") as file:
            kind = _skip_to_lists(file)
            lists, code_size = (int(number) for number in _read_numbers(file, 2))
            form, numbers = file.read(4), int(_read_numbers(file, 1)[0])
            if kind != _LISTS or form not in (_FULL, _SPARSE) or 8 * max(lists, numbers) > path.stat().st_size:
                raise refused
            sizes = _read_numbers(file, numbers).astype(np.int64)
            if form == _SPARSE:
                sizes = sizes[1::2]
            entry = code_size + _ID_BYTES
            fits = file.tell() + count * entry == path.stat().st_size
            if not fits or sizes.sum() != count or not ((sizes >= 0) & (sizes <= count)).all():
                raise refused
            seen = np.zeros(count, dtype=bool)
            for size in sizes[sizes > 0]:
                file.seek(int(size) * code_size, os.SEEK_CUR)
                rows = _read_numbers(file, int(size))
                if rows.max() >= count:
                    raise refused
                seen[rows] = True
            if not seen.all():
                raise refused
    except (OSError, MemoryError, ValueError) as error:
        raise MapError(f"{path} cannot be read ({error or 'out of memory'}): {AGAIN}") from error


def _skip_to_lists(file: BinaryIO) -> bytes:
    """Has FAISS read an index up to its lists; what these are."""
    found = b""

    def read(size: int) -> bytes:
        nonlocal found
        content = file.read(size)
        if content in _KINDS_OF_LISTS:
            found = content
        return b"" if found else content

    # It always fails: with nothing more to read where lists begin, or before.
    with suppress(RuntimeError, MemoryError):
        faiss.read_index(faiss.PyCallbackIOReader(read))
    return found


def _read_numbers(file: BinaryIO, count: int) -> npt.NDArray[np.uint64]:
    """So many, and not one fewer."""
    content = file.read(8 * count)
    if len(content) != 8 * count:
        raise ValueError("it is cut off")
    return np.frombuffer(content, np.uint64)


def _encoded(
    index: Any, ivf: Any, descriptors: Stored, threads: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Numbers of lists (n,) and codes (n, bytes) of all references, in their order."""
    transforms = []
    if isinstance(index, faiss.IndexPreTransform):
        transforms = [faiss.downcast_VectorTransform(index.chain.at(step)) for step in range(index.chain.size())]
    quantizer = faiss.downcast_index(ivf.quantizer)
    count, dimension = descriptors.shape
    at_once = max(1, CHUNK_BYTES // (4 * dimension))

    def encode(start: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        vectors = np.ascontiguousarray(span(descriptors, start, min(start + at_once, count)), np.float32)
        for transform in transforms:
            vectors = transform.apply(vectors)
        _, numbers = quantizer.search(vectors, 1)
        codes = np.empty((len(vectors), ivf.code_size), np.uint8)
        for first in range(0, len(vectors), _ENCODED_AT_ONCE):
            some = slice(first, first + _ENCODED_AT_ONCE)
            pointers = (faiss.swig_ptr(array[some]) for array in (vectors, numbers, codes))
            ivf.encode_vectors(len(codes[some]), *pointers)
        return numbers[:, 0], codes

    # One thread for each chunk, and several chunks: FAISS's own threads would add up numbers in another order.
    with ThreadPoolExecutor(threads, initializer=partial(faiss.omp_set_num_threads, 1)) as pool:
        yield from pool.map(encode, range(0, count, at_once))


def _head(index: Any, ivf: Any, count: int, sizes: npt.NDArray[np.int64]) -> bytes:
    """What FAISS writes before the lists of such an index with so many references in each list."""
    totals = [index, ivf] if index is not ivf else [index]
    for each in totals:
        each.ntotal = count
    content = faiss.serialize_index(index).tobytes()
    for each in totals:
        each.ntotal = 0
    begins = _LISTS + _numbers(ivf.nlist, ivf.code_size)
    empty = begins + _SPARSE + _numbers(0)
    assert content.endswith(empty), "this FAISS writes inverted lists in another way"
    full = np.flatnonzero(sizes)
    if len(full) > ivf.nlist // 2:
        return content[: -len(empty)] + begins + _FULL + _numbers(ivf.nlist, *sizes)
    pairs = np.column_stack([full, sizes[full]]).ravel()
    return content[: -len(empty)] + begins + _SPARSE + _numbers(len(pairs), *pairs)


def _numbers(*values: Any) -> bytes:
    return np.array(values, np.uint64).tobytes()
