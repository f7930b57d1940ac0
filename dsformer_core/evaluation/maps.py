"""One place map asked about the references of another: an evaluation that needs no pictures and no network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsformer_core.evaluation.benchmark import RIGHT_WITHIN_M, Benchmark, Pictures
from dsformer_core.evaluation.evaluation import RETRIEVED, Evaluation, Steps
from dsformer_core.evaluation.positions import Located, in_metres
from dsformer_core.evaluation.search_cost import ASKED_MATCHES, Cost, median_seconds, picked_rows
from dsformer_core.evaluation.searches import Search
from dsformer_core.localization import LocalizationConfig, localize
from dsformer_core.place_map import Matches, PlaceMap

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
    radius: float = RIGHT_WITHIN_M,
    retrieve: int = RETRIEVED,
    on_progress: Steps = lambda step, done, total: None,
) -> dict[Search, Evaluation]:
    """Searches one map for every descriptor of another.

    Args:
        references: the map that is asked.
        queries: the map whose references ask.
        radius: metres within which a reference is right.
        retrieve: references per query.
        on_progress: called with what is being counted, how many are finished, and the total.

    Returns:
        The evaluation of each search, with the probability of each query's best hypothesis by the references'
        calibration.

    Raises:
        MapError: the maps were made with different networks.
    """
    references.check_model(queries.model_name, queries.weights_sha256)
    config = LocalizationConfig()
    rows, similarities, probabilities = [], [], []
    for start in range(0, queries.count, _QUERIES_AT_ONCE):
        asked = np.asarray(queries.descriptors[start : start + _QUERIES_AT_ONCE], np.float32)
        matches = references.search(asked, k=retrieve)
        rows.append(matches.indices)
        similarities.append(matches.similarities)
        for found, similar in zip(matches.indices, matches.similarities, strict=True):
            first = Matches(found[None, : config.top_k], similar[None, : config.top_k])
            probabilities.append(localize(first, references, config)[0].probability)
        on_progress("asking the map", start + len(asked), queries.count)

    def ask(row: int) -> None:
        references.search(np.asarray(queries.descriptors[row], np.float32), k=ASKED_MATCHES)

    flat = Evaluation(
        benchmark=map_benchmark(references, queries, radius=radius),
        model=references.model_name,
        weights=references.weights,
        weights_sha256=references.weights_sha256,
        search="float",
        cost=Cost(references.descriptors[0].nbytes, median_seconds(ask, picked_rows(queries.count).tolist())),
        rows=np.vstack(rows),
        similarities=np.vstack(similarities),
        probabilities=np.array(probabilities),
    )
    return {"float": flat}
