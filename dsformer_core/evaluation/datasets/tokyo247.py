"""Tokyo 24/7, in the field's '@' layout or as its authors publish it.

tokyo247/images/test/{database,queries}/@easting@northing@…@.jpg

tokyo247/[database_gsv_vga/]03814/….png, …        references
/247query_subset_v2/00001.jpg, …          queries
/[…/netvlad_v100_datasets/]datasets/tokyo247.mat
"""

from pathlib import Path

from dsformer_core.evaluation.benchmark import Benchmark, Pictures
from dsformer_core.evaluation.datasets.dataset import Dataset, compared_with_release
from dsformer_core.evaluation.datasets.folders import open_folders
from dsformer_core.evaluation.datasets.layout import first_existing
from dsformer_core.evaluation.datasets.netvlad_tables import read_table

SOURCE = (
    "Tokyo 24/7 is given on request by its authors (http://www.ok.ctrl.titech.ac.jp/~torii/project/247/), its table is "
    "in https://www.di.ens.fr/willow/research/netvlad/data/netvlad_v100_datasets.tar.gz; "
    "github.com/gmberton/VPR-datasets-downloader brings it into the '@' layout."
)

_RELEASED = (75_984, 315)
_PARENTS = ("tokyo247", "Tokyo247", "tokyo", ".")
_TABLES = (
    "database_gsv_vga/netvlad_v100_datasets/datasets/tokyo247.mat",
    "netvlad_v100_datasets/datasets/tokyo247.mat",
    "datasets/tokyo247.mat",
    "tokyo247.mat",
)
_REFERENCES = ("database_gsv_vga", ".", "images")
_QUERIES = ("247query_subset_v2", "query/247query", "query/247query_subset_v2", "queries/247query_subset_v2", "query")
_PROTOCOL = "all 315 queries; right within 25 m"


def open_tokyo247(root: Path) -> Benchmark:
    """All queries."""
    tables = [f"{parent}/{table}" for parent in _PARENTS for table in _TABLES]
    at_layout = ["tokyo247/images/test", "images/test", "tokyo247/test"]
    place = first_existing(
        root, [*at_layout, *tables], "Tokyo 24/7 ('@' layout or NetVLAD's table tokyo247.mat)", SOURCE
    )
    if place.is_dir():
        benchmark = open_folders(place / "database", place / "queries", name="tokyo247", protocol=_PROTOCOL)
        database, queries = benchmark.database, benchmark.queries
    else:
        table = read_table(place)
        # The table says .jpg; the pictures were released as .png.
        references = [name.removesuffix(".jpg") + ".png" for name in table.references]
        homes = [home for home in place.parents if home == root or root in home.parents]
        looked_for = [f"{home.relative_to(root)}/{below}" for home in homes for below in _REFERENCES]
        first = first_existing(
            root, [f"{where}/{references[0]}" for where in looked_for], "Tokyo 24/7's references", SOURCE
        )
        looked_for = [f"{home.relative_to(root)}/{below}" for home in homes for below in _QUERIES]
        query = first_existing(
            root, [f"{where}/{table.queries[0]}" for where in looked_for], "Tokyo 24/7's queries", SOURCE
        )
        database = Pictures(Path(str(first).removesuffix(references[0])), references, table.reference_utm)
        queries = Pictures(Path(str(query).removesuffix(table.queries[0])), table.queries, table.query_utm)
    return compared_with_release(Benchmark("tokyo247", _PROTOCOL, database, queries), *_RELEASED)


DATASETS = [Dataset("tokyo247", "Tokyo 24/7, 315 queries by day, sunset and night; 25 m", SOURCE, open_tokyo247)]
