"""What a search costs a robot: bytes of memory per reference, bytes from the disk and seconds per query."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np
import numpy.typing as npt

from dsformer_core.described import CODE_BYTES, Codes, Described, Descriptors
from dsformer_core.evaluation.matching import chunks
from dsformer_core.evaluation.searches import Search, readable_rows
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.codes import nearest_codes, rerank
from dsformer_core.place_map.stored_rows import Stored

TIMED_QUERIES = 32
ASKED_MATCHES = 20
"""Matches that a robot asks for (`PlaceMap.search`)."""


@dataclass(frozen=True)
class Cost:
    """What one kind of search costs.

    Attributes:
        bytes_per_reference: of memory, beyond which nothing is needed to search.
        seconds_per_query: the search alone, of one query at a time on one thread of FAISS, in the median; NaN where
            there is nothing to search for or in.
        bytes_read_per_query: from the disk, or its cache in memory: the candidates' descriptors, as a map stores them.
    """

    bytes_per_reference: int
    seconds_per_query: float
    bytes_read_per_query: int = 0


def search_costs(
    queries: Described,
    references: Described,
    candidates: int,
    *,
    encode: Callable[[Descriptors], Codes] | None = None,
    stored: Stored | None = None,
) -> dict[Search, Cost]:
    """Times every kind of search that there is, as a robot asks: one query at a time, for twenty matches.

    Args:
        queries: of which some dozens are asked.
        references: descriptors that are memory-mapped are read a chunk at a time, and timed once they are in memory;
            those of candidates as they are given, although a map's are half as long where these are float32.
        candidates: how many that codes found are put in order by floats.
        encode: makes codes of descriptors, in the time of the search; None where the network makes them.
        stored: what the descriptors of candidates are read from; None for the references' own, memory-mapped or not.
    """
    known = readable_rows(queries.descriptors)
    picked = known[picked_rows(len(known))]
    asked = np.asarray(queries.descriptors[picked], np.float32)
    width = asked.shape[1]
    costs: dict[Search, Cost] = {"float": Cost(4 * width, _float_seconds(asked, references.descriptors))}
    if queries.codes is None or references.codes is None:
        return costs
    own, kept, descriptors = queries.codes[picked], np.array(references.codes), references.descriptors
    stored = descriptors if stored is None else stored

    def nearest(query: int, wanted: int) -> npt.NDArray[np.int64]:
        code = own[query : query + 1] if encode is None else encode(asked[query : query + 1])
        return nearest_codes(code, kept, wanted)[1]

    def reranked(query: int) -> None:
        rerank(asked[query : query + 1], stored, nearest(query, candidates))

    numbers = range(len(asked) if len(kept) else 0)
    read = min(candidates, len(kept)) * width * np.dtype(BinaryIndex.storage).itemsize
    costs["binary"] = Cost(CODE_BYTES, median_seconds(lambda query: nearest(query, ASKED_MATCHES), numbers))
    costs["re-ranked"] = Cost(CODE_BYTES, median_seconds(reranked, numbers), read)
    return costs


def picked_rows(count: int) -> npt.NDArray[np.int64]:
    """Some dozens of `count` rows, spread over all."""
    return np.unique(np.linspace(0, count - 1, TIMED_QUERIES).astype(np.int64)) if count else np.zeros(0, np.int64)


def median_seconds(search: Callable[[int], object], numbers: Sequence[int]) -> float:
    """What a search takes on one thread of FAISS, in the median of these; NaN of none."""
    seconds = _seconds(search, numbers)
    return float(np.median(seconds)) if seconds else float("nan")


def _float_seconds(asked: Descriptors, descriptors: npt.NDArray[np.floating]) -> float:
    """What a query takes in all chunks together, once each is in memory; in the median."""
    total = np.zeros(len(asked))
    for _, chunk in chunks(descriptors):
        total += _seconds(partial(_exact, asked, np.asarray(chunk, np.float32)), range(len(asked)))
    return float(np.median(total)) if len(asked) and len(descriptors) else float("nan")


def _exact(asked: Descriptors, descriptors: Descriptors, query: int) -> None:
    k = min(ASKED_MATCHES, len(descriptors))
    faiss.knn(asked[query : query + 1], descriptors, k, metric=faiss.METRIC_INNER_PRODUCT)


def _seconds(search: Callable[[int], object], numbers: Sequence[int]) -> list[float]:
    """What each search takes on one thread, after one that brings what it reads into memory."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for number in numbers[:1]:
            search(number)
        taken = []
        for number in numbers:
            start = time.perf_counter()
            search(number)
            taken.append(time.perf_counter() - start)
    finally:
        faiss.omp_set_num_threads(threads)
    return taken
