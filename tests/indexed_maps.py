"""Descriptors that look like places, and indexes and maps of them, for tests of kinds of index."""

from pathlib import Path

import numpy as np

from dsformer_core.place_map import IndexRequest
from dsformer_core.place_map.indexes.index import (
    INDEX_KINDS,
    Index,
)
from tests.synthetic import unit

KINDS = list(INDEX_KINDS)
TRAINED = ["ivf_pq", "hnsw"]
DIMENSION = 64
COUNT = 1_200
# Trained in a tenth of the time that the default takes.
FACTORIES = {"ivf_pq": "IVF16,PQ8"}


def places(count: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    """Descriptors of ten views of each place."""
    random = np.random.default_rng(seed)
    middles = unit(random.normal(size=(max(1, count // 10), dimension)))
    views = middles[random.integers(0, len(middles), count)]
    return unit(views + 0.7 * unit(random.normal(size=(count, dimension))))


def stored(folder: Path, descriptors: np.ndarray, kind: str = "hnsw") -> np.ndarray:
    np.save(folder / "descriptors.npy", descriptors.astype(INDEX_KINDS[kind].storage))
    return np.load(folder / "descriptors.npy", mmap_mode="r")


def written(folder: Path, descriptors: np.ndarray, request: IndexRequest) -> Index:
    mapped = stored(folder, descriptors, request.kind)
    index = INDEX_KINDS[request.kind]
    fields = index.write(folder, mapped, None, request)
    index.files(fields)
    return index.open(folder, fields, mapped)
