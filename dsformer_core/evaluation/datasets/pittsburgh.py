"""Pittsburgh 30k and 250k, in the field's '@' layout or as their authors publish them.

pitts30k/images/{train,val,test}/{database,queries}/@easting@northing@…@.jpg

Pittsburgh250k/000/…, 001/…, …                references
/queries_real/000/…             queries
/[netvlad_v100_datasets/]datasets/pitts30k_test.mat, …
"""

from functools import partial
from pathlib import Path

from dsformer_core.evaluation.benchmark import Benchmark, Pictures
from dsformer_core.evaluation.datasets.dataset import Dataset, compared_with_release
from dsformer_core.evaluation.datasets.folders import open_folders
from dsformer_core.evaluation.datasets.layout import first_existing
from dsformer_core.evaluation.datasets.netvlad_tables import read_table

SOURCE = (
    "Pittsburgh is given on request by its authors (http://www.ok.ctrl.titech.ac.jp/~torii/project/repttile/), its "
    "tables are https://www.di.ens.fr/willow/research/netvlad/data/netvlad_v100_datasets.tar.gz; "
    "github.com/gmberton/VPR-datasets-downloader brings them into the '@' layout."
)

# References and queries as released.
_RELEASED = {
    ("pitts30k", "test"): (10_000, 6_816),
    ("pitts30k", "val"): (10_000, 7_608),
    ("pitts250k", "test"): (83_952, 8_280),
    ("pitts250k", "val"): (78_648, 7_608),
}
_TABLES = ("netvlad_v100_datasets/datasets", "datasets", "raw", ".")
_PARENTS = ("Pittsburgh250k", "pittsburgh250k", "Pittsburgh", "pitts250k", "pitts30k", ".")


def open_pittsburgh(root: Path, *, size: str, split: str) -> Benchmark:
    """One split of one size."""
    name = size if split == "test" else f"{size}-{split}"
    protocol = f"all queries of the {split} split; right within 25 m"
    tables = [f"{parent}/{folder}/{size}_{split}.mat" for parent in _PARENTS for folder in _TABLES]
    at_layout = [f"{size}/images/{split}", f"images/{split}", f"{size}/{split}"]
    place = first_existing(
        root, [*at_layout, *tables], f"{name} ('@' layout or NetVLAD's table {size}_{split}.mat)", SOURCE
    )
    if place.is_dir():
        benchmark = open_folders(place / "database", place / "queries", name=name, protocol=protocol)
        return compared_with_release(benchmark, *_RELEASED[size, split])
    table = read_table(place)
    pictures = first_existing(
        place.parent,
        [f"{up}/{table.references[0]}" for up in (".", "..", "../..", "../Pittsburgh/images", "../Pittsburgh")],
        f"{name}'s first reference {table.references[0]}",
        SOURCE,
    )
    home = Path(str(pictures).removesuffix(table.references[0])).resolve()
    query = first_existing(
        home,
        [f"{below}/{table.queries[0]}" for below in ("queries_real", "../queries_real", "../queries")],
        f"{name}'s first query {table.queries[0]}",
        SOURCE,
    )
    query_home = Path(str(query).removesuffix(table.queries[0])).resolve()
    benchmark = Benchmark(
        name,
        protocol,
        Pictures(home, table.references, table.reference_utm),
        Pictures(query_home, table.queries, table.query_utm),
    )
    return compared_with_release(benchmark, *_RELEASED[size, split])


DATASETS = [
    Dataset(
        size if split == "test" else f"{size}-{split}",
        f"Pittsburgh {size.removeprefix('pitts')}, {split} split, {_RELEASED[size, split][1]:,} queries; 25 m",
        SOURCE,
        partial(open_pittsburgh, size=size, split=split),
    )
    for size, split in _RELEASED
]
