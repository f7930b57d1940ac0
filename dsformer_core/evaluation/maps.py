"""One place map asked about the references of another: an evaluation that needs no pictures and no network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.described import Described
from dsformer_core.errors import UsageError
from dsformer_core.evaluation.benchmark import RIGHT_WITHIN_M, Benchmark, Pictures
from dsformer_core.evaluation.evaluation import RETRIEVED, Evaluation, Steps
from dsformer_core.evaluation.matching import Found
from dsformer_core.evaluation.positions import Located, in_metres
from dsformer_core.evaluation.search_cost import ASKED_MATCHES, Cost, median_seconds, picked_rows, search_costs
from dsformer_core.evaluation.searches import Search, search_all, signed
from dsformer_core.localization import LocalizationConfig, localize
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.indexes.binary import BinaryIndex

_QUERIES_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class MapPictures(Pictures):
    """The references of a place map; a picture is its thumbnail, or the original where the map has none."""

    place_map: PlaceMap | None = None

    def path(self, row: int) -> Path:
        """The file of one picture; it need not be there any more."""
        assert self.place_map is not None
        return self.place_map.thumbnail_path(row) or Path(self.place_map.images[row])


def map_benchmark(references: PlaceMap, queries: PlaceMap, *, radius: float = RIGHT_WITHIN_M) -> Benchmark:
    """The benchmark that two maps make; see `in_metres` for maps in different zones."""
    maps = (references, queries)
    asked_in, asked = in_metres(*(Located(each.utm, [each.zone], np.zeros(each.count, np.int64)) for each in maps))
    return Benchmark(
        name=f"{queries.name} in {references.name}",
        protocol=f"every reference of {queries.name} asked in {references.name}; right within {radius:g} m",
        database=MapPictures(references.directory, references.ids, asked_in, references),
        queries=MapPictures(queries.directory, queries.ids, asked, queries),
        radius=radius,
    )


def evaluate_maps(
    references: PlaceMap,
    queries: PlaceMap,
    *,
    candidates: int | None = None,
    radius: float = RIGHT_WITHIN_M,
    retrieve: int = RETRIEVED,
    on_progress: Steps = lambda step, done, total: None,
) -> dict[Search, Evaluation]:
    """Searches one map for every descriptor of another.

    Args:
        references: the map that is asked, as its index does it: a flat one by floats, a binary one in all three ways.
        queries: the map whose references ask. Where `references` has the codes of a hash branch, it is asked with those
            that `queries` keeps; where that keeps none the search is by floats alone, and a note says so.
        candidates: how many references that codes found are put in order by floats; None for as many as `references`
            says.
        radius: metres within which a reference is right.
        retrieve: references per query.
        on_progress: called with what is being counted, how many are finished, and the total.

    Returns:
        The evaluation of each search, "float" first; those by descriptors with the probability of each query's best
        hypothesis by the references' calibration.

    Raises:
        MapError: the maps were made with different networks.
        UsageError: `candidates` are given for a map that has none.
    """
    references.check_model(queries.model_name, queries.weights_sha256, queries.arithmetic)
    k = min(retrieve, references.count)
    if isinstance(references.index, BinaryIndex):
        candidates = candidates or references.index.candidates
        asking = _ask_binary(references, references.index, queries, k, candidates)
    elif candidates is None:
        asking = _ask_flat(references, queries, k)
    else:
        raise UsageError(
            f"{references.directory} has an index of the kind {references.index_kind}, which compares all descriptors: "
            "--candidates are for binary maps"
        )
    parts = []
    for start in range(0, queries.count, _QUERIES_AT_ONCE):
        parts.append(asking.search(_rows(asking.queries, slice(start, start + _QUERIES_AT_ONCE))))
        on_progress("asking the map", min(start + _QUERIES_AT_ONCE, queries.count), queries.count)
    benchmark = replace(map_benchmark(references, queries, radius=radius), notes=asking.notes)
    evaluations = {}
    for search, cost in asking.costs.items():
        found = _together([part[search] for part in parts])
        evaluations[search] = Evaluation(
            benchmark=benchmark,
            model=references.model_name,
            weights=references.weights,
            weights_sha256=references.weights_sha256,
            search=search,
            cost=cost,
            rows=found.rows,
            similarities=found.similarities,
            # A calibration is about cosines of descriptors, not of codes.
            probabilities=None if search == "binary" else _probabilities(references, found),
            candidates=candidates if search == "re-ranked" else None,
        )
    return evaluations


@dataclass(frozen=True)
class _Asking:
    """How one map is asked for the references of another.

    Attributes:
        queries: what asks, descriptors memory-mapped.
        search: some of them -> what every kind of search finds.
        costs: of every kind of search.
        notes: what a reader of the numbers must know.
    """

    queries: Described
    search: Callable[[Described], dict[Search, Found]]
    costs: dict[Search, Cost]
    notes: tuple[str, ...] = ()


def _ask_flat(references: PlaceMap, queries: PlaceMap, k: int) -> _Asking:
    def search(some: Described) -> dict[Search, Found]:
        matches = references.search(some, k)
        return {"float": Found(matches.indices, matches.similarities, unreadable=0)}

    def ask(row: int) -> None:
        references.search(np.asarray(queries.descriptors[row], np.float32), k=ASKED_MATCHES)

    seconds = median_seconds(ask, picked_rows(queries.count).tolist())
    costs: dict[Search, Cost] = {"float": Cost(references.index.bytes_per_reference, seconds)}
    return _Asking(Described(queries.descriptors), search, costs)


def _ask_binary(references: PlaceMap, index: BinaryIndex, queries: PlaceMap, k: int, candidates: int) -> _Asking:
    kept, asking = Described(references.descriptors, index.codes), Described(queries.descriptors)
    notes: tuple[str, ...] = ()
    if index.signs is not None:
        asking = signed(asking, index.signs)
    elif isinstance(queries.index, BinaryIndex) and queries.index.signs is None:
        asking = replace(asking, codes=queries.index.codes)
    else:
        notes = (
            f"by floats alone: {references.name} has codes of a hash branch and {queries.name} keeps none; "
            "build it with --index binary",
        )
    encode = None if index.signs is None else index.signs.encode
    costs = search_costs(asking, kept, candidates, encode=encode, stored=index.descriptors)
    search = partial(search_all, references=kept, k=k, candidates=candidates, stored=index.descriptors)
    return _Asking(asking, search, costs, notes)


def _probabilities(references: PlaceMap, found: Found) -> npt.NDArray[np.float64]:
    """(Q,) of the best hypothesis of each query."""
    config = LocalizationConfig()
    return np.array(
        [
            localize(Matches(rows[None, : config.top_k], similarities[None, : config.top_k]), references, config)[
                0
            ].probability
            for rows, similarities in zip(found.rows, found.similarities, strict=True)
        ]
    )


def _rows(described: Described, rows: slice) -> Described:
    codes = None if described.codes is None else described.codes[rows]
    return Described(np.asarray(described.descriptors[rows], np.float32), codes)


def _together(parts: Sequence[Found]) -> Found:
    """What was found for some queries and for the next, as one."""
    rows, similarities = [part.rows for part in parts], [part.similarities for part in parts]
    return Found(np.vstack(rows), np.vstack(similarities), parts[0].unreadable)
