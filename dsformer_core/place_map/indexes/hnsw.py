"""Search along a graph in which every reference knows some that are like it (Malkov and Yashunin, PAMI 2020).

For some 100,000 references and whoever has the memory: float16 descriptors and 272 bytes of graph for each. Among
millions it was slower than codes and missed more (docs/scaling.md). On disk only the graph is kept beside the
descriptors. It is built with one thread, since a graph depends on the order in which it grows.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from dsformer_core.described import Codes, Described
from dsformer_core.errors import UsageError
from dsformer_core.place_map.format import INDEX_FILE, MapError
from dsformer_core.place_map.indexes.faiss_files import (
    AGAIN,
    faiss,
    named_index,
    one_thread,
    read_index_file,
    write_index_file,
)
from dsformer_core.place_map.indexes.fields import check_count, check_name, check_share
from dsformer_core.place_map.indexes.flat import half_floats
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.indexes.tuning import (
    QUERIES,
    altered_references,
    best_similarities,
    least_effort,
    share_found,
)
from dsformer_core.place_map.stored_rows import span, where_stored

FACTORY: Final = "HNSW32,SQfp16"

# Per reference: its level, where its links begin, and 64 links on the lowest level, a few more on those above.
_GRAPH_BYTES: Final = 4 + 8 + 64 * 4 + 4

_LEAST_EFFORT: Final = 32
_MOST_EFFORT: Final = 2_048
_AT_ONCE: Final = 8_192

log = logging.getLogger(__name__)


class HnswIndex:
    """A graph over descriptors, both in memory from the first search on.

    Args:
        path: of the graph.
        descriptors: (N, D) float16, memory-mapped.
        fields: what `map.yaml` says of it.

    Attributes:
        effort: references that a query keeps in sight while it goes along the graph (efSearch), at least k.
        recall: share of altered references whose best reference it found when it was made.
    """

    kind: ClassVar[str] = "hnsw"
    storage: ClassVar[str] = "float16"
    has_candidates: ClassVar[bool] = False
    has_factory: ClassVar[bool] = True
    holds_codes: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    network_codes: ClassVar[None] = None

    def __init__(self, path: Path, descriptors: npt.NDArray[Any], fields: Mapping[str, Any]) -> None:
        self._path, self._descriptors = path, descriptors
        # Closed with its last user: a map that is replaced before it is searched stays the map that was opened.
        self._file = path.open("rb")
        self._loaded: Any = None
        self._one_at_a_time = threading.Lock()
        self.factory: str = fields["factory"]
        self.effort: int = fields["effort"]
        self.recall: float = fields["recall"]
        self.bytes_per_reference = self.memory(1, descriptors.shape[1])

    @classmethod
    def memory(cls, count: int, dimension: int) -> int:
        """Bytes of so many references and their links."""
        return count * (2 * dimension + _GRAPH_BYTES)

    @classmethod
    def write(
        cls, folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, request: IndexRequest
    ) -> dict[str, Any]:
        """Builds the graph with one thread, and finds out how far a query must look around.

        Raises:
            UsageError: FAISS knows no such index, or it is no graph over float16.
        """
        stored, factory = where_stored(descriptors), request.factory or FACTORY
        count, dimension = stored.shape
        graph = named_index(factory, dimension)
        quantizer = getattr(faiss.downcast_index(graph.storage), "sq", None) if hasattr(graph, "hnsw") else None
        if quantizer is None or quantizer.qtype != faiss.ScalarQuantizer.QT_fp16:
            raise UsageError(f"factory {factory!r} is no graph over float16: give HNSW<links>,SQfp16")
        with one_thread():
            for start in range(0, count, _AT_ONCE):
                chunk = span(stored, start, min(start + _AT_ONCE, count))
                graph.add(np.ascontiguousarray(chunk, np.float32))
        write_index_file(graph, folder / INDEX_FILE, faiss.IO_FLAG_SKIP_STORAGE)
        written = cls(folder / INDEX_FILE, descriptors, {"factory": factory, "effort": _LEAST_EFFORT, "recall": 1.0})
        written._loaded = graph
        with one_thread():
            written._tune(request, stored)
        return written.details()

    @classmethod
    def files(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The graph.

        Raises:
            DsformerError: `map.yaml` says something else.
        """
        check_name(fields, "factory")
        check_count(fields, "effort", "references")
        check_share(fields, "recall")
        return (INDEX_FILE,)

    @classmethod
    def open(cls, directory: Path, fields: Mapping[str, Any], descriptors: npt.NDArray[Any]) -> "HnswIndex":
        """Looks at what the graph says of itself; it is read when it is first searched, as float16 descriptors are."""
        index = cls(directory / INDEX_FILE, descriptors, fields)
        head = _head(*descriptors.shape)
        if index._file.read(len(head)) != head:
            count, dimension = descriptors.shape
            raise MapError(
                f"{index._path} holds something else than a graph of {count} references of {dimension} numbers: {AGAIN}"
            )
        return index

    def details(self) -> dict[str, Any]:
        """What it is, how much of it a query goes through, and what that is worth."""
        return {"factory": self.factory, "effort": self.effort, "recall": round(self.recall, 4)}

    def words(self) -> str:
        """The same for people."""
        return f"{self.factory}, effort {self.effort}, finds {self.recall:.1%} of altered references"

    def on(self, device: str) -> "HnswIndex":
        """Itself: graphs are searched on the CPU."""
        return self

    def search(self, queries: Described, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Q queries -> similarities (Q, k) and rows (Q, k), in no particular order."""
        graph = self._graph()
        similarities, rows = graph.search(queries.descriptors, k, params=self._parameters(k))
        # Where many references are the same, some are out of reach.
        lacking = (rows < 0).any(axis=1)
        if lacking.any():
            similarities[lacking], rows[lacking] = graph.storage.search(queries.descriptors[lacking], k)
        return similarities, rows

    def _parameters(self, k: int) -> Any:
        return faiss.SearchParametersHNSW(efSearch=max(k, self.effort))

    def _tune(self, request: IndexRequest, stored: Any) -> None:
        queries = altered_references(stored, QUERIES)
        best = best_similarities(queries, stored)

        def recall(effort: int) -> float:
            self.effort = effort
            similarities, _ = self.search(Described(queries), 1)
            return share_found(similarities[:, 0], best)

        if request.effort is not None:
            self.recall = recall(request.effort)
        else:
            self.effort, self.recall = least_effort(recall, request.recall, _LEAST_EFFORT, _MOST_EFFORT)
        if self.recall < request.recall:
            log.warning("WARNING: %s finds %.1f %% of altered references", self.factory, 100 * self.recall)

    def _graph(self) -> Any:
        with self._one_at_a_time:
            if self._loaded is None:
                self._file.seek(0)
                reader = faiss.PyCallbackIOReader(self._file.read)
                graph = read_index_file(reader, self._path, faiss.IO_FLAG_SKIP_STORAGE)
                self._check(graph)
                self._storage = half_floats(self._descriptors)
                graph.storage, graph.own_fields = self._storage, False
                self._loaded = graph
            return self._loaded

    def _check(self, graph: Any) -> None:
        """Refuses links that lead out of the map; checksums say only that they are as they were written."""
        count = len(self._descriptors)
        links = graph.hnsw.neighbors
        offsets = faiss.vector_to_array(graph.hnsw.offsets)
        belongs = (
            graph.ntotal == count == graph.hnsw.levels.size()
            and len(offsets) == count + 1
            and offsets[0] == 0
            and offsets[-1] == links.size()
            and (np.diff(offsets.astype(np.int64)) > 0).all()
            and 0 <= graph.hnsw.entry_point < count
        )
        if belongs:
            numbers = faiss.rev_swig_ptr(links.data(), links.size())
            belongs = numbers.min() >= -1 and numbers.max() < count
        if not belongs:
            raise MapError(f"{self._path} holds links that lead out of the map: {AGAIN}")


def _head(count: int, dimension: int) -> bytes:
    """What FAISS writes first of a graph over so many float16 descriptors: what it is, numbers, references."""
    whole = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_fp16, 1, faiss.METRIC_INNER_PRODUCT)
    whole.ntotal = count
    kind, dimension_bytes, count_bytes = 4, 4, 8
    content = faiss.serialize_index(whole, faiss.IO_FLAG_SKIP_STORAGE).tobytes()
    return content[: kind + dimension_bytes + count_bytes]
