"""Mapillary Street-Level Sequences: the validation cities under two protocols, and the challenge.

    train_val/{cph,sf}/{query,database}/images/KEY.jpg
                                       /seq_info.csv  subtask_index.csv  raw.csv  postprocessed.csv
    test/{miami,athens,...}/{query,database}/images/KEY.jpg
                                            /seq_info.csv  subtask_index.csv  [postprocessed.csv]

The tables of one folder belong together row by row. Published "MSLS val" numbers mean one of two query sets, and one
model can differ by four points between them: the 740 of the official image-to-image task (the sub-task "all", no
panoramas, and only those that have a reference within 25 m), or all pictures that are no panoramas, about 11,000.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as csv

from dsformer_core.errors import UsageError
from dsformer_core.evaluation.benchmark import APART, Benchmark, Pictures
from dsformer_core.evaluation.datasets.dataset import Dataset, compared_with_release
from dsformer_core.evaluation.datasets.folders import open_folders
from dsformer_core.evaluation.datasets.layout import LayoutError, first_existing

VALIDATION_CITIES = ("cph", "sf")
TEST_CITIES = ("miami", "athens", "buenosaires", "stockholm", "bengaluru", "kampala")
SUBMITTED = 20
SOURCE = (
    "MSLS is at https://www.mapillary.com/dataset/places: unpack metadata.zip and the image archives into one folder."
)

_PARENTS = (".", "msls", "MSLS", "mapillary_sls")
_RELEASED_QUERIES, _RELEASED_REFERENCES = 740, 18_871


@dataclass(frozen=True, eq=False)
class _Side:
    """The queries or the references of one city."""

    names: list[str]
    positions: npt.NDArray[np.float64] | None


def open_validation(root: Path) -> Benchmark:
    """The official image-to-image task on the validation cities."""
    database, queries = _open(root, "train_val", VALIDATION_CITIES, subtask=True)
    benchmark = Benchmark(
        name="msls-val",
        protocol="queries of the official sub-task 'all' that have a reference within 25 m (740); right within 25 m",
        database=database,
        queries=queries,
        headline="answerable",
    )
    return compared_with_release(benchmark, _RELEASED_REFERENCES, _RELEASED_QUERIES)


def open_validation_all(root: Path) -> Benchmark:
    """Every picture of the validation cities that is no panorama, in Mapillary's layout or the field's '@' layout."""
    protocol = "all pictures of the two validation cities that are no panoramas; right within 25 m"
    for parent in (*_PARENTS, "msls/images", "images"):
        folder = root / parent / "val"
        if (folder / "database").is_dir() and (folder / "queries").is_dir():
            return open_folders(folder / "database", folder / "queries", name="msls-val-all", protocol=protocol)
    return Benchmark("msls-val-all", protocol, *_open(root, "train_val", VALIDATION_CITIES, subtask=False))


def open_challenge(root: Path) -> Benchmark:
    """The test cities, all in one database. Their matches become a submission; with positions, a recall, too."""
    benchmark = Benchmark(
        "msls-challenge",
        "queries of the sub-task 'all' of the test cities, their databases as one; right within 25 m",
        *_open(root, "test", TEST_CITIES, subtask=True),
        headline="answerable",
    )
    if benchmark.labelled:
        return benchmark
    hidden = "the test cities have no postprocessed.csv: no recall here, write a submission"
    return replace(benchmark, notes=(hidden,))


def write_submission(path: Path, benchmark: Benchmark, rows: npt.NDArray[np.int64], *, count: int = SUBMITTED) -> None:
    """Writes what the challenge's server takes: a zip with one line per query, its key and those of its matches.

    Args:
        path: the .zip to write.
        benchmark: an MSLS benchmark.
        rows: (Q, K) retrieved references, best first.
        count: keys per query.

    Raises:
        UsageError: fewer than `count` references were retrieved.
    """
    if rows.shape[1] < count:
        raise UsageError(f"{rows.shape[1]} references per query were retrieved, a submission has {count}")
    query_keys = [Path(name).stem for name in benchmark.queries.names]
    keys = np.array([Path(name).stem for name in benchmark.database.names], object)
    lines = (
        " ".join([query, *keys[matched[matched >= 0]]])
        for query, matched in zip(query_keys, rows[:, :count], strict=True)
    )
    staged = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(staged, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("prediction.csv", "\n".join(lines) + "\n")
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _open(root: Path, part: str, cities: tuple[str, ...], *, subtask: bool) -> tuple[Pictures, Pictures]:
    """The databases of some cities as one, and their queries."""
    # Below a folder that holds MSLS, or that is this part of it.
    city = first_existing(
        root,
        [*(f"{parent}/{part}/{cities[0]}" for parent in _PARENTS), cities[0]],
        f"MSLS's {part}/ with the city {cities[0]}",
        SOURCE,
    )
    folder = city.parent
    database = _pooled(folder, [_read(folder, city, "database", subtask=subtask) for city in cities])
    return database, _pooled(folder, [_read(folder, city, "query", subtask=subtask) for city in cities])


def _pooled(folder: Path, sides: list[_Side]) -> Pictures:
    # Cities lie in UTM zones of their own; a third coordinate keeps them apart however the others happen to fall.
    located = [
        np.column_stack([side.positions, np.full(len(side.names), number * APART)])
        for number, side in enumerate(sides)
        if side.positions is not None
    ]
    known = len(located) == len(sides)
    return Pictures(folder, [name for side in sides for name in side.names], np.vstack(located) if known else None)


def _read(folder: Path, city: str, kind: str, *, subtask: bool) -> _Side:
    below = folder / city / kind
    if not below.is_dir():
        raise LayoutError(
            f"{below}: no such folder; MSLS's {folder.name}/ has {city}/query and {city}/database. {SOURCE}"
        )
    keys = _table(below, "seq_info.csv").column("key").to_pylist()
    kept = np.ones(len(keys), bool)
    if subtask:
        kept &= _flags(below, "subtask_index.csv", "all", len(keys))
    positions = None
    hidden = folder.name == "test"
    if not hidden:
        kept &= ~_flags(below, "raw.csv", "pano", len(keys))
    if not hidden or (below / "postprocessed.csv").is_file():
        table = _same_rows(below, "postprocessed.csv", len(keys))
        positions = np.column_stack([table.column(axis).to_numpy() for axis in ("easting", "northing")])[kept]
    return _Side([f"{city}/{kind}/images/{keys[row]}.jpg" for row in np.flatnonzero(kept)], positions)


def _flags(folder: Path, name: str, column: str, count: int) -> npt.NDArray[np.bool_]:
    values = _same_rows(folder, name, count).column(column).to_pylist()
    return np.array([str(value).strip().lower() in ("true", "1", "1.0") for value in values], bool)


def _same_rows(folder: Path, name: str, count: int) -> pa.Table:
    table = _table(folder, name)
    if table.num_rows != count:
        raise LayoutError(
            f"{folder / name} has {table.num_rows} rows, seq_info.csv has {count}: unpack metadata.zip again"
        )
    return table


def _table(folder: Path, name: str) -> pa.Table:
    if not (folder / name).is_file():
        raise LayoutError(f"{folder / name} is missing: it comes with MSLS's metadata. {SOURCE}")
    needed = {"seq_info.csv": ["key"], "subtask_index.csv": ["all"], "raw.csv": ["pano"]}
    columns = needed.get(name, ["easting", "northing"])
    # A key can look like a number.
    options = csv.ConvertOptions(include_columns=columns, column_types={"key": pa.string()})
    try:
        return csv.read_csv(folder / name, convert_options=options)
    except (pa.ArrowException, KeyError) as error:
        raise LayoutError(f"{folder / name} is not MSLS's: {error}") from error


DATASETS = [
    Dataset("msls-val", "MSLS validation, the 740 official queries; 25 m", SOURCE, open_validation),
    Dataset(
        "msls-val-all",
        "MSLS validation, all pictures but panoramas (about 11,000 queries); 25 m",
        SOURCE,
        open_validation_all,
    ),
    Dataset("msls-challenge", "MSLS test cities; writes the challenge's submission", SOURCE, open_challenge),
]
