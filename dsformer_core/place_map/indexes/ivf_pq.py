"""Search in three stages: the nearest of some thousand lists, codes of 64 bytes in these, and descriptors on disk.

An inverted file with product quantisation (Jégou et al., PAMI 2011), as FAISS has it. Lists and codes find candidates,
whose descriptors put them in order, so that similarities are those of every other kind of index.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from dsformer_core.described import CODE_BYTES, Codes, Described
from dsformer_core.errors import UsageError
from dsformer_core.place_map.format import INDEX_FILE, MapError
from dsformer_core.place_map.indexes.codes import CANDIDATES, best_rows, rerank
from dsformer_core.place_map.indexes.faiss_files import (
    AGAIN,
    faiss,
    named_index,
    one_thread,
    read_index_file,
    reason_of,
    spread_rows,
)
from dsformer_core.place_map.indexes.fields import check_count, check_name, check_share
from dsformer_core.place_map.indexes.inverted_lists import (
    WORKING_BYTES,
    check_lists,
    inverted_file,
    write_inverted_file,
)
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.indexes.tuning import (
    QUERIES,
    altered_references,
    best_similarities,
    least_effort,
    share_found,
)
from dsformer_core.place_map.stored_rows import Stored, StoredRows, where_stored

MEMORY: Final = "memory"
DISK: Final = "disk"

MOST_NUMBERS: Final = 512
"""Longer descriptors are projected to so many before they are quantised: 64 bytes say no more of them."""

_ID_BYTES: Final = 8
_POINTS_PER_LIST: Final = 40
_POINTS_OF_QUANTISER: Final = 64
_ROUNDS: Final = 10
_MOST_CANDIDATES: Final = 8 * CANDIDATES

log = logging.getLogger(__name__)


class IvfPqIndex:
    """Lists of codes in memory, or on disk, and descriptors on disk.

    Args:
        index: of FAISS, an inverted file behind transforms or not.
        descriptors: (N, D) float16, memory-mapped.
        fields: what `map.yaml` says of it.

    Attributes:
        effort: lists that a query goes through.
        candidates: references that lists and codes find for a query.
        recall: share of altered references whose best reference it found when it was made.
        lists: where they are, "memory" or "disk".
    """

    kind: ClassVar[str] = "ivf_pq"
    storage: ClassVar[str] = "float16"
    has_candidates: ClassVar[bool] = True
    has_factory: ClassVar[bool] = True
    holds_codes: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False
    fewest: ClassVar[int] = 1_000
    network_codes: ClassVar[None] = None

    def __init__(self, index: Any, descriptors: Stored, fields: Mapping[str, Any]) -> None:
        self._index, self._ivf, self.descriptors = index, inverted_file(index), descriptors
        self.factory: str = fields["factory"]
        self.effort: int = fields["effort"]
        self.candidates: int = fields["candidates"]
        self.recall: float = fields["recall"]
        self.lists: str = fields["lists"]
        self.bytes_per_reference: int = self._ivf.code_size + _ID_BYTES

    @classmethod
    def memory(cls, count: int, dimension: int) -> int:
        """Nothing that must be: lists that do not fit stay on disk."""
        return 0

    @classmethod
    def write(
        cls, folder: Path, descriptors: npt.NDArray[Any], codes: Codes | None, request: IndexRequest
    ) -> dict[str, Any]:
        """Trains on a sample, fills the lists out of core, and finds out how many of them a query must go through.

        Raises:
            UsageError: FAISS knows no such index, it is no inverted file, or there are too few references, or too
                little memory, to train it.
        """
        stored, path = where_stored(descriptors), folder / INDEX_FILE
        factory = request.factory or default_factory(*stored.shape)
        index = named_index(factory, stored.shape[1])
        _train(index, stored, factory, request.memory_limit)
        threads = faiss.omp_get_max_threads()
        if request.memory_limit is not None:
            threads = max(1, min(threads, request.memory_limit // 2 // WORKING_BYTES))
        write_inverted_file(path, index, stored, threads)
        fits = request.memory_limit is None or path.stat().st_size <= request.memory_limit
        fields = {
            "factory": factory,
            "effort": 1,
            "candidates": request.candidates or CANDIDATES,
            "recall": 1.0,
            "lists": MEMORY if fits else DISK,
        }
        del index
        with one_thread():
            written = cls(_read(path, fields, stored), stored, fields)
            written._tune(request)
        return written.details()

    @classmethod
    def files(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Lists and codes, in FAISS's file.

        Raises:
            DsformerError: `map.yaml` says something else.
        """
        check_name(fields, "factory")
        check_count(fields, "effort", "lists")
        check_count(fields, "candidates", "references")
        check_share(fields, "recall")
        check_name(fields, "lists", MEMORY, DISK)
        return (INDEX_FILE,)

    @classmethod
    def open(cls, directory: Path, fields: Mapping[str, Any], descriptors: npt.NDArray[Any]) -> "IvfPqIndex":
        """Reads lists and codes into memory, or maps them."""
        return cls(_read(directory / INDEX_FILE, fields, descriptors), StoredRows(descriptors), fields)

    def details(self) -> dict[str, Any]:
        """What it is, how much of it a query goes through, and what that is worth."""
        return {
            "factory": self.factory,
            "effort": self.effort,
            "candidates": self.candidates,
            "recall": round(self.recall, 4),
            "lists": self.lists,
        }

    def words(self) -> str:
        """The same for people."""
        return (
            f"{self.factory}, {self.effort} of {self.ivf_lists} lists in {self.lists}, {self.candidates} candidates, "
            f"finds {self.recall:.1%} of altered references"
        )

    @property
    def ivf_lists(self) -> int:
        """How many there are."""
        return int(self._ivf.nlist)

    def on(self, device: str) -> "IvfPqIndex":
        """Itself: lists are searched on the CPU."""
        return self

    def search(self, queries: Described, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Q queries -> similarities (Q, k) and rows (Q, k), in no particular order."""
        wanted = min(max(k, self.candidates), len(self.descriptors))
        rows = self._nearest(queries.descriptors, wanted, self.effort)
        lacking = rows[:, k - 1] < 0
        if lacking.any():
            rows[lacking] = self._nearest(queries.descriptors[lacking], wanted, self.ivf_lists)
        if rows.max() >= len(self.descriptors) or (rows[:, k - 1] < 0).any():
            raise MapError(f"the lists of an index {self.kind!r} name references that there are not: {AGAIN}")
        similarities = rerank(queries.descriptors, self.descriptors, np.maximum(rows, 0))
        similarities[rows < 0] = -np.inf
        return best_rows(similarities, rows, k)

    def _nearest(self, queries: npt.NDArray[np.float32], wanted: int, effort: int) -> npt.NDArray[np.int64]:
        """(Q, wanted) rows by codes, best first; -1 where the lists hold fewer."""
        parameters = faiss.SearchParametersIVF(nprobe=min(effort, self.ivf_lists))
        if isinstance(self._index, faiss.IndexPreTransform):
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        _, rows = self._index.search(queries, wanted, params=parameters)
        return rows

    def _tune(self, request: IndexRequest) -> None:
        """Sets candidates and effort, as few as give the wanted recall."""
        queries = altered_references(self.descriptors, QUERIES)
        best = best_similarities(queries, self.descriptors)

        def found(effort: int, candidates: int) -> npt.NDArray[np.float32]:
            rows = self._nearest(queries, min(candidates, len(self.descriptors)), effort)
            similarities = rerank(queries, self.descriptors, np.maximum(rows, 0))
            similarities[rows < 0] = -np.inf
            return similarities

        wanted = request.recall
        if request.candidates is None:
            # What codes lose in all lists no effort brings back: they may lose half of what may be lost.
            running = np.maximum.accumulate(found(self.ivf_lists, _MOST_CANDIDATES), axis=1)
            most = running.shape[1]
            self.candidates, reached = least_effort(
                lambda count: share_found(running[:, min(count, most) - 1], best),
                (1 + wanted) / 2,
                CANDIDATES,
                _MOST_CANDIDATES,
            )
            wanted = min(wanted, reached)
        if request.effort is not None:
            self.effort = request.effort
            self.recall = share_found(found(self.effort, self.candidates).max(axis=1), best)
        else:
            self.effort, self.recall = least_effort(
                lambda effort: share_found(found(effort, self.candidates).max(axis=1), best), wanted, 1, self.ivf_lists
            )
        if self.recall < request.recall:
            log.warning("WARNING: %s finds %.1f %% of altered references", self.factory, 100 * self.recall)


def default_factory(count: int, dimension: int) -> str:
    """FAISS's name of the index that so many references get.

    4 √N lists, as FAISS's authors advise, or as many as there are points to train them with. Codes of 64 bytes; longer
    descriptors are projected first. Without a learned rotation (OPQ) before the codes: candidates are put in order by
    their descriptors, not by codes.
    """
    lists = max(1, min(round(4 * math.sqrt(count)), count // _POINTS_PER_LIST))
    numbers = min(dimension, MOST_NUMBERS)
    parts = next(parts for parts in range(min(CODE_BYTES, numbers), 0, -1) if numbers % parts == 0)
    return f"{f'PCAR{MOST_NUMBERS},' if dimension > MOST_NUMBERS else ''}IVF{lists},PQ{parts}"


def _train(index: Any, stored: Stored, factory: str, memory_limit: int | None) -> None:
    """Trains it on references that are spread over all."""
    count, dimension = stored.shape
    try:
        ivf = inverted_file(index)
    except RuntimeError:
        raise UsageError(f"factory {factory!r} is no inverted file: its name has no IVF in it") from None
    if not isinstance(faiss.downcast_InvertedLists(ivf.invlists), faiss.ArrayInvertedLists):
        raise UsageError(f"factory {factory!r} packs its lists in a way that cannot be written out of core")
    clusterings = [ivf.cp]
    if isinstance(ivf, faiss.IndexIVFPQ):
        clusterings.append(ivf.pq.cp)
        # Orders centroids for a search by bits that is not made here, in forty times as long as all the rest.
        ivf.do_polysemous_training = False
    for clustering in clusterings:
        clustering.niter, clustering.min_points_per_centroid = _ROUNDS, 1
    clusterings[0].max_points_per_centroid = _POINTS_PER_LIST
    if len(clusterings) > 1:
        clusterings[1].max_points_per_centroid = _POINTS_OF_QUANTISER
    points = max(_POINTS_PER_LIST * ivf.nlist, _POINTS_OF_QUANTISER * 256)
    if memory_limit is not None:
        # Half of the memory for them: as many bytes again hold a copy, or centroids and their sums.
        points = min(points, memory_limit // 2 // (4 * dimension))
    fewest = max(256, ivf.nlist)
    if min(points, count) < fewest:
        enough = math.ceil(fewest * 8 * dimension / 1e5) / 10
        lacking = f"there are {count}" if count < fewest else f"memory for {points} of them: {enough:g}MB are enough"
        raise UsageError(f"factory {factory!r} needs {fewest} references to be trained, and {lacking}")
    sample = np.ascontiguousarray(stored[spread_rows(count, points)], np.float32)
    with one_thread():
        try:
            index.train(sample)
        except RuntimeError as error:
            raise UsageError(
                f"factory {factory!r} cannot be trained with {len(sample)} references ({reason_of(error)})"
            ) from error


def _read(path: Path, fields: Mapping[str, Any], descriptors: Stored) -> Any:
    """The index of a map, with what it says of its own size compared with what there is."""
    count, dimension = descriptors.shape
    check_lists(path, count)
    flags = faiss.IO_FLAG_MMAP if fields["lists"] == DISK else 0
    index = read_index_file(str(path), path, flags)
    try:
        ivf = inverted_file(index)
    except RuntimeError:
        raise MapError(f"{path} holds a {type(index).__name__} instead of an inverted file: {AGAIN}") from None
    if (index.ntotal, index.d) != (count, dimension):
        raise MapError(
            f"{path} holds {index.ntotal} references of {index.d} numbers instead of {count} of {dimension}: {AGAIN}"
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise MapError(f"{path} compares in another way than by inner product: {AGAIN}")
    lists = faiss.downcast_InvertedLists(ivf.invlists)
    # Lists that are mapped where they are have no name of their own.
    elsewhere = getattr(lists, "filename", "")
    if elsewhere or not ivf.is_trained or sum(lists.list_size(number) for number in range(ivf.nlist)) != count:
        raise MapError(f"{path} holds lists of other than {count} references: {AGAIN}")
    return index
