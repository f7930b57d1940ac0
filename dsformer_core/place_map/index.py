"""Exact search of a map's descriptors through FAISS, by cosine similarity."""

from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt


class Index(Protocol):
    """One way to search the descriptors of a map."""

    kind: str

    def search(self, queries: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(Q, D) queries -> similarities (Q, k) and rows (Q, k), in no particular order."""
        ...


class FlatIndex:
    """Compares a query with every descriptor; nothing is trained, nothing is approximate.

    float32 descriptors are searched where they lie, memory-mapped or not. float16 ones are copied into memory once, as
    they are, for an index that widens them while it compares. Both go to the memory of one GPU where `device` names it
    and FAISS can use it: faiss-gpu-cu12 installs the same module as faiss-cpu, so take that out first.

    Args:
        descriptors: (N, D) float32 or float16, unit norm, N >= 1.
        device: as of PyTorch, "cpu", "cuda" or "cuda:1".
    """

    kind = "flat"

    def __init__(self, descriptors: npt.NDArray[Any], device: str = "cpu") -> None:
        self._descriptors = descriptors
        self._index: faiss.Index | None = None
        kind, _, number = device.partition(":")
        gpu = int(number or 0)
        on_gpu = kind == "cuda" and getattr(faiss, "get_num_gpus", lambda: 0)() > gpu
        if descriptors.dtype == np.float16:
            self._index = _half_precision(descriptors)
        elif on_gpu:
            self._index = faiss.IndexFlatIP(descriptors.shape[1])
            self._index.add(np.ascontiguousarray(descriptors))
        if on_gpu and self._index is not None:
            self._resources = faiss.StandardGpuResources()
            self._index = faiss.index_cpu_to_gpu(self._resources, gpu, self._index)

    def search(self, queries: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(Q, D) queries -> similarities (Q, k) and rows (Q, k), in no particular order."""
        if self._index is None:
            return faiss.knn(queries, self._descriptors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return self._index.search(queries, k)


def _half_precision(descriptors: npt.NDArray[np.float16]) -> faiss.Index:
    """An index over the very bytes: FAISS's fp16 codes are IEEE half floats."""
    count, dimension = descriptors.shape
    index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(descriptors).view(np.uint8).ravel(), index.codes)
    index.ntotal, index.is_trained = count, True
    return index
