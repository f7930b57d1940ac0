"""A folder of references and a folder of queries, with positions in '@' names or EXIF: the layout of most data sets."""

from pathlib import Path
from typing import Literal

from dsformer_core.evaluation.benchmark import RIGHT_WITHIN_M, Benchmark, Pictures
from dsformer_core.evaluation.datasets.layout import LayoutError, list_pictures
from dsformer_core.evaluation.positions import in_metres, locate
from dsformer_core.geodesy import UtmZone

DATABASE, QUERIES = "database", "queries"


def open_folders(
    database: Path,
    queries: Path,
    *,
    name: str,
    protocol: str | None = None,
    radius: float = RIGHT_WITHIN_M,
    zone: UtmZone | None = None,
    headline: Literal["all", "answerable"] = "all",
    notes: tuple[str, ...] = (),
) -> Benchmark:
    """A benchmark of two folders.

    Args:
        database: folder of the references.
        queries: folder of the queries.
        name: of the benchmark.
        protocol: in words; made from `radius` when None.
        radius: metres within which a reference is right.
        zone: of '@' names that give UTM coordinates without a zone.
        headline: which recall counts, see `Benchmark`.
        notes: see `Benchmark`.

    Raises:
        LayoutError: a folder is not there or holds no pictures.
        DsformerError: pictures say nowhere where they were taken.
    """
    for folder in (database, queries):
        if not folder.is_dir():
            raise LayoutError(f"{folder}: no such folder; a benchmark has {DATABASE}/ and {QUERIES}/")
    database_names, query_names = list_pictures(database), list_pictures(queries)
    positions = in_metres(*locate((database, database_names), (queries, query_names), zone=zone))
    return Benchmark(
        name=name,
        protocol=protocol or f"all queries of {queries.name}/; right within {radius:g} m",
        database=Pictures(database, database_names, positions[0]),
        queries=Pictures(queries, query_names, positions[1]),
        radius=radius,
        headline=headline,
        notes=notes,
    )


def open_folder_pair(folder: Path, *, radius: float = RIGHT_WITHIN_M, zone: UtmZone | None = None) -> Benchmark:
    """A benchmark of a folder with `database/` and `queries/` in it, or in `images/test/` below it.

    Raises:
        LayoutError: they are not there.
    """
    if not folder.is_dir():
        raise LayoutError(f"{folder}: no such folder")
    name = folder.resolve().name or "pictures"
    formatted = folder / "images" / "test"
    home = formatted if (formatted / DATABASE).is_dir() and not (folder / DATABASE).exists() else folder
    return open_folders(home / DATABASE, home / QUERIES, name=name, radius=radius, zone=zone)
