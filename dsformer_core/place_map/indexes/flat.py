"""Exact search of a map's descriptors through FAISS, by cosine similarity: every query is compared with every one."""

import ctypes
import mmap
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dsformer_core.described import Codes, Described
from dsformer_core.place_map.indexes.faiss_files import faiss
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.stored_rows import check_whole

# madvise(2), since Linux 6.1.
_MADV_COLLAPSE = 25


class FlatIndex:
    """float32 descriptors, searched where they lie, memory-mapped or not.

    They go to the memory of one GPU where `device` names it and FAISS can use it: faiss-gpu-cu12 installs the same
    module as faiss-cpu, so take that out first.

    Args:
        descriptors: (N, D), unit norm, N >= 1.
        device: as of PyTorch, "cpu", "cuda" or "cuda:1".
    """

    kind: ClassVar[str] = "flat"
    storage: ClassVar[str] = "float32"
    has_candidates: ClassVar[bool] = False
    has_factory: ClassVar[bool] = False
    holds_codes: ClassVar[bool] = False
    is_exact: ClassVar[bool] = True
    fewest: ClassVar[int] = 1
    network_codes: ClassVar[None] = None

    def __init__(self, descriptors: npt.NDArray[Any], device: str = "cpu") -> None:
        self._descriptors = descriptors
        self._gpu = _gpu(device)
        self.bytes_per_reference = descriptors.shape[1] * descriptors.itemsize

    @classmethod
    def memory(cls, count: int, dimension: int) -> int:
        """Bytes of so many descriptors."""
        return count * dimension * np.dtype(cls.storage).itemsize

    @classmethod
    def write(
        cls, folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, request: IndexRequest
    ) -> dict[str, Any]:
        """There is nothing to keep beside the descriptors."""
        return {}

    @classmethod
    def open(cls, directory: Path, fields: Mapping[str, Any], descriptors: npt.NDArray[Any]) -> "FlatIndex":
        """The index of a map's descriptors."""
        return cls(descriptors)

    @classmethod
    def files(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """There are none."""
        return ()

    def details(self) -> dict[str, Any]:
        """There is nothing to say."""
        return {}

    def words(self) -> str:
        """As above."""
        return ""

    def on(self, device: str) -> "FlatIndex":
        """The same index, in the memory of a device."""
        return type(self)(self._descriptors, device)

    def search(self, queries: Described, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """N queries -> similarities (N, k) and rows (N, k), in no particular order."""
        if self._index is None:
            check_whole(self._descriptors)
            return faiss.knn(queries.descriptors, self._descriptors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return self._index.search(queries.descriptors, k)

    @cached_property
    def _index(self) -> Any:
        """What holds a copy of the descriptors, made when first searched; None where they are searched in place."""
        index = self._copied()
        if self._gpu is None or index is None:
            return index
        self._resources = faiss.StandardGpuResources()
        return faiss.index_cpu_to_gpu(self._resources, self._gpu, index)

    def _copied(self) -> Any:
        if self._gpu is None:
            return None
        index = faiss.IndexFlatIP(self._descriptors.shape[1])
        index.add(np.ascontiguousarray(self._descriptors))
        return index


class HalfFlatIndex(FlatIndex):
    """float16 descriptors, copied into memory as they are, for an index that widens them while it compares."""

    kind: ClassVar[str] = "flat_fp16"
    storage: ClassVar[str] = "float16"

    def __init__(self, descriptors: npt.NDArray[Any], device: str = "cpu") -> None:
        super().__init__(descriptors, device)
        self._often = False

    def on(self, device: str) -> "HalfFlatIndex":
        """The same index, in the memory of a device, where it will be searched often."""
        index = HalfFlatIndex(self._descriptors, device)
        index._often = True
        return index

    def _copied(self) -> Any:
        index = half_floats(self._descriptors)
        if self._often and self._gpu is None:
            _move_to_large_pages(int(index.codes.data()), self._descriptors.nbytes)
        return index


def half_floats(descriptors: npt.NDArray[Any]) -> Any:
    """An index over a copy of the very bytes of (N, D) float16: FAISS's fp16 codes are IEEE half floats."""
    check_whole(descriptors)
    count, dimension = descriptors.shape
    index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(descriptors).view(np.uint8).ravel(), index.codes)
    index.ntotal, index.is_trained = count, True
    mapping: Any = descriptors.base
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)  # pages that were read would count as the process's memory, too
    return index


def _move_to_large_pages(address: int, size: int) -> None:
    """Has Linux put memory into pages of 2 MiB instead of 4 KiB, which are searched in two thirds of the time.

    That takes as long as some hundred searches. Older kernels and other systems leave it where it is.
    """
    start, stop = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE, (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if sys.platform == "linux" and stop > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_COLLAPSE)


def _gpu(device: str) -> int | None:
    """The number of the GPU that a device of PyTorch names, None where it names none or FAISS cannot use it."""
    kind, _, number = device.partition(":")
    gpu = int(number or 0)
    return gpu if kind == "cuda" and getattr(faiss, "get_num_gpus", lambda: 0)() > gpu else None
