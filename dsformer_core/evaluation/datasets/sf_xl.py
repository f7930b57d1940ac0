"""SF-XL's test sets: one database of 2.8 million references, four sets of queries, all with '@' names.

sf_xl/processed/test/database/…
/queries_v1  queries_v2  queries_night  queries_occlusion
"""

from functools import partial
from pathlib import Path

from dsformer_core.evaluation.benchmark import Benchmark
from dsformer_core.evaluation.datasets.dataset import Dataset, compared_with_release
from dsformer_core.evaluation.datasets.folders import open_folders
from dsformer_core.evaluation.datasets.layout import first_existing

SOURCE = "SF-XL is given on request by its authors: github.com/gmberton/CosPlace has the form."

_QUERIES = {"v1": 1_000, "v2": 598, "night": 466, "occlusion": 76}
_PLACES = ("sf_xl/processed/test", "processed/test", "sf_xl/test", "test", ".")


def open_sf_xl(root: Path, *, queries: str) -> Benchmark:
    """One set of queries against the whole database."""
    name = f"sf-xl-{queries}"
    wanted = f"queries_{queries}"
    found = first_existing(root, [f"{place}/{wanted}" for place in _PLACES], f"SF-XL's {wanted}/", SOURCE)
    database = first_existing(found.parent, ["database"], "SF-XL's test database/", SOURCE)
    protocol = f"all queries of {wanted}/ against the whole test database; right within 25 m"
    benchmark = open_folders(database, found, name=name, protocol=protocol)
    return compared_with_release(benchmark, None, _QUERIES[queries])


DATASETS = [
    Dataset(
        f"sf-xl-{queries}",
        f"SF-XL test {queries}, {count:,} queries, 2.8 million references; 25 m",
        SOURCE,
        partial(open_sf_xl, queries=queries),
    )
    for queries, count in _QUERIES.items()
]
