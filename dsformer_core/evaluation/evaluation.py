"""One model on one benchmark: descriptors, codes, matches, and every number that follows from them."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dsformer_core.described import Described
from dsformer_core.errors import DsformerError
from dsformer_core.evaluation.abstention import PRECISIONS, Abstention, abstention
from dsformer_core.evaluation.benchmark import Benchmark, Pictures
from dsformer_core.evaluation.descriptor_cache import describe
from dsformer_core.evaluation.recall import RECALL_AT, Recall, first_right, recall_by_distance, recalls_at
from dsformer_core.evaluation.search_cost import Cost, search_costs
from dsformer_core.evaluation.searches import Search, search_all, with_sign_codes
from dsformer_core.extractor import Extractor
from dsformer_core.place_map.indexes.codes import CANDIDATES
from dsformer_core.place_map.stored_rows import where_stored

DISTANCES_M = (1.0, 2.0, 5.0, 10.0, 15.0, 25.0, 50.0, 100.0)
DISTANCES_FRAMES = (0.0, 1.0, 2.0, 5.0, 10.0)
RETRIEVED = max(RECALL_AT)
_PERCENTILES = {"median": 50, "p90": 90, "p95": 95}

IndexKind = Literal["flat", "binary"]
Steps = Callable[[str, int, int | None], None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out for one model and one kind of search on one benchmark.

    Attributes:
        benchmark: what was asked.
        model: name of the network.
        weights: its weights, for people.
        weights_sha256: digest of the weights.
        search: "float" compares descriptors, "binary" codes, "re-ranked" the descriptors of what codes found.
        cost: memory and time of that search.
        rows: (Q, K) int64 retrieved references, best first; -1 where nothing was retrieved.
        similarities: (Q, K) float32 cosines, of codes for the "binary" search; -inf where nothing was retrieved.
        unreadable_queries: how many queries could not be read; they count as not found.
        unreadable_references: how many references could not be read; they are matched by nothing.
        probabilities: (Q,) of the best hypothesis, where references are a calibrated place map; else None.
        candidates: how many references the "re-ranked" search puts in order; None for the others.
    """

    benchmark: Benchmark
    model: str
    weights: str
    weights_sha256: str
    search: Search
    cost: Cost
    rows: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    unreadable_queries: int = 0
    unreadable_references: int = 0
    probabilities: npt.NDArray[np.float64] | None = None
    candidates: int | None = None

    @cached_property
    def distances(self) -> npt.NDArray[np.float64]:
        """(Q, K) how far the retrieved references lie from their queries, in the benchmark's unit."""
        return self.benchmark.distances(self.rows)

    @cached_property
    def right(self) -> npt.NDArray[np.bool_]:
        """(Q, K) whether each retrieved reference is right."""
        return self.distances <= self.benchmark.radius

    @cached_property
    def recalls_all(self) -> dict[int, Recall]:
        """Recall@k over all queries: one without a right reference in the database cannot be found, and counts."""
        return recalls_at(first_right(self.right), self._counts)

    @cached_property
    def recalls_answerable(self) -> dict[int, Recall]:
        """Recall@k over the queries that have a right reference."""
        return recalls_at(first_right(self.right[self.benchmark.answerable]), self._counts)

    @property
    def headline(self) -> dict[int, Recall]:
        """The recalls that the benchmark's protocol means."""
        return self.recalls_all if self.benchmark.headline == "all" else self.recalls_answerable

    @property
    def recalls(self) -> dict[int, float]:
        """The benchmark's own recall@k, in [0, 1]."""
        return {count: recall.value for count, recall in self.headline.items()}

    @property
    def intervals(self) -> dict[int, tuple[float, float]]:
        """The 95 % interval of each of `recalls`."""
        return {count: (recall.low, recall.high) for count, recall in self.headline.items()}

    @property
    def errors(self) -> npt.NDArray[np.float64]:
        """(Q,) distance of the best match, in the benchmark's unit.

        Infinite where nothing was retrieved, or a place in another city; NaN where the benchmark has no distances.
        """
        return self.distances[:, 0] if self.benchmark.explicit is None else np.full(len(self.rows), np.nan)

    def error_within(self, percent: int) -> float:
        """The distance within which the best match of so many percent of all queries lies.

        Infinite where fewer have a match at any distance; NaN without queries or distances.
        """
        enough = math.ceil(len(self.errors) * percent / 100)
        return float(np.sort(self.errors)[enough - 1]) if enough else math.nan

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Distances at which `by_distance` is taken."""
        return DISTANCES_M if self.benchmark.unit == "m" else DISTANCES_FRAMES

    @cached_property
    def by_distance(self) -> dict[int, list[float]]:
        """Recall@1 and @5 over all queries, for each of `thresholds`."""
        return recall_by_distance(self.distances, self.thresholds)

    @cached_property
    def abstentions(self) -> list[Abstention]:
        """Precision and recall of answering only above a score: similarity, and probability where there is one."""
        right = self.right[:, 0]
        curves = [abstention(self.similarities[:, 0], right, "similarity")]
        if self.probabilities is not None:
            curves.append(abstention(self.probabilities, right, "probability"))
        return curves

    @property
    def _counts(self) -> list[int]:
        return [count for count in RECALL_AT if count <= self.rows.shape[1]]

    def to_dict(self) -> dict[str, Any]:
        """Every number, for programs. Recalls are shares in [0, 1]; NaN and infinity are None.

        The errors of the best match are over all queries; those `without_a_distance` are the largest of all.
        """
        benchmark = self.benchmark
        described: dict[str, Any] = {
            "benchmark": benchmark.name,
            "protocol": benchmark.protocol,
            "notes": list(benchmark.notes),
            "model": {"name": self.model, "weights": self.weights, "weights_sha256": self.weights_sha256},
            "search": self.search,
            "candidates": self.candidates,
            "bytes_per_reference": self.cost.bytes_per_reference,
            "bytes_read_per_query": self.cost.bytes_read_per_query,
            "seconds_per_query": _finite(self.cost.seconds_per_query),
            "references": {"count": len(benchmark.database), "unreadable": self.unreadable_references},
            "queries": {"count": len(benchmark.queries), "unreadable": self.unreadable_queries},
        }
        if not benchmark.labelled:
            return described
        without = int((~benchmark.answerable).sum())
        described["queries"]["without_a_right_reference"] = without
        described |= {
            "unit": benchmark.unit,
            "radius": benchmark.radius,
            "headline": benchmark.headline,
            "recall": _by_count(self.headline),
            "recall_over_all": _by_count(self.recalls_all),
            "recall_over_answerable": _by_count(self.recalls_answerable),
            "recall_by_distance": {
                "thresholds": list(self.thresholds),
                **{f"recall@{count}": shares for count, shares in self.by_distance.items()},
            },
            "error_of_best_match": {
                **{name: _finite(self.error_within(percent)) for name, percent in _PERCENTILES.items()},
                "without_a_distance": int((~np.isfinite(self.errors)).sum()),
            },
            "abstention": [_abstention(curve) for curve in self.abstentions],
        }
        return described


def evaluate(
    benchmark: Benchmark,
    extractor: Extractor,
    *,
    index: IndexKind | None = None,
    candidates: int = CANDIDATES,
    cache: Path | None = None,
    retrieve: int = RETRIEVED,
    batch_size: int = 8,
    workers: int = 2,
    on_progress: Steps = lambda step, done, total: None,
    on_unreadable: Callable[[DsformerError], None] = lambda error: None,
) -> dict[Search, Evaluation]:
    """Describes a benchmark's pictures, searches the database for every query, and scores what comes back.

    Args:
        benchmark: see `open_benchmark`.
        extractor: the model.
        index: "flat" searches by floats alone; "binary" also by codes, those of the hash branch or, where the model has
            none, signs of its descriptors; None by codes only where there is a hash branch.
        candidates: how many references that codes found are put in order by floats, >= 1.
        cache: folder in which descriptors are kept for the next run; None keeps none.
        retrieve: references per query.
        batch_size: pictures that enter the network at a time.
        workers: threads that decode.
        on_progress: called with what is being counted, how many are finished, and the total.
        on_unreadable: called for each picture that cannot be read.

    Returns:
        The evaluation of each search, "float" first, from one pass over the pictures. Unreadable queries count as not
        found; unreadable references are matched by nothing.

    Raises:
        DsformerError: the network failed, or the disk is full.
    """

    def described(step: str, pictures: Pictures) -> Described:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            on_progress(step, done, len(pictures))

        return describe(
            pictures,
            extractor,
            cache,
            batch_size=batch_size,
            workers=workers,
            on_progress=advance,
            on_unreadable=on_unreadable,
        )

    references = described("describing references", benchmark.database)
    queries = described("describing queries", benchmark.queries)
    encode = None
    if index == "flat":
        queries, references = replace(queries, codes=None), replace(references, codes=None)
    elif index == "binary" and references.codes is None:
        queries, references, signs = with_sign_codes(queries, references)
        encode = signs.encode
    stored = where_stored(references.descriptors)
    found = search_all(queries, references, min(retrieve, len(references)), candidates, stored=stored)
    costs = search_costs(queries, references, candidates, encode=encode, stored=stored)
    return {
        search: Evaluation(
            benchmark=benchmark,
            model=extractor.model_name,
            weights=extractor.weights,
            weights_sha256=extractor.weights_sha256,
            search=search,
            cost=costs[search],
            rows=matches.rows,
            similarities=matches.similarities,
            unreadable_queries=int(np.isnan(queries.descriptors[:, 0]).sum()),
            unreadable_references=matches.unreadable,
            candidates=candidates if search == "re-ranked" else None,
        )
        for search, matches in found.items()
    }


def _by_count(recalls: dict[int, Recall]) -> dict[str, dict[str, Any]]:
    return {
        str(count): {name: _finite(value) for name, value in asdict(recall).items()}
        for count, recall in recalls.items()
    }


def _abstention(curve: Abstention) -> dict[str, Any]:
    at = {f"{precision:g}": curve.recall_at_precision(precision) for precision in PRECISIONS}
    return {
        "score": curve.score,
        "average_precision": _finite(curve.average_precision),
        "recall_at_precision": {
            precision: {"recall": recall, "threshold": _finite(threshold)}
            for precision, (recall, threshold) in at.items()
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
