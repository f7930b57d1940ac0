"""Nordland: one railway line in two seasons, frame by frame, and every protocol under which its recall is published.

Two things differ between papers: which queries are asked, and by how many frames a match may miss. `nordland-Q-T` asks
Q queries and allows T frames either way:

    3450    the test part of Olid et al.'s partition, 3,450 winter queries against 3,450 summer references
    27592   the whole line without stops and tunnels, 27,592 winter queries against 27,592 summer references
    2760    every tenth frame of 27,592 as a query, summer queries against winter references (VPR-Bench)

Which season lies in which folder is the user's to get right; pictures do not say. Layouts:

    nordland/database/0.png …  nordland/queries/0.png …        (or ref/ and query/), named by whole numbers
    nordland/images/test/{database,queries}/@0@northing@@@@@frame@@@@@@@@.jpg

Numbers in file names have gaps that differ between the seasons, so frames are counted in the order of the numbers: the
i-th query belongs to the i-th reference. In the '@' layout the name's seventh field is the frame.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.evaluation.benchmark import Benchmark, Pictures
from dsformer_core.evaluation.datasets.dataset import Dataset, compared_with_release
from dsformer_core.evaluation.datasets.layout import LayoutError, first_existing, list_pictures

SOURCE = (
    "Nordland: github.com/gmberton/VPR-datasets-downloader fetches the 27,592 frames (download_nordland.py); the "
    "3,450 test frames are those of Olid et al., 'Single-view place recognition under seasonal changes' (2018)."
)

TOLERANCES = (1, 2, 10)
_STRIDE = 10
_RELEASED = {3_450: (3_450, 3_450), 27_592: (27_592, 27_592), 2_760: (27_592, 2_760)}
_SUMMARIES = {
    3_450: "Olid's 3,450 test frames",
    27_592: "all 27,592 frames",
    2_760: "every tenth of 27,592 frames",
}
_PLACES = ("nordland/images/test", "nordland", "Nordland", "images/test", "nordland/test", ".")
_FOLDERS = (("database", "queries"), ("ref", "query"))
_FRAME = 7


def open_nordland(root: Path, *, queries: int, tolerance: int) -> Benchmark:
    """One query set with one tolerance."""
    name = f"nordland-{queries}-{tolerance}"
    pairs = {f"{place}/{first}": f"{place}/{second}" for place in _PLACES for first, second in _FOLDERS}
    database_folder = first_existing(root, pairs, "Nordland's database/ (or ref/)", SOURCE)
    beside = dict(_FOLDERS)[database_folder.name]
    query_folder = first_existing(database_folder.parent, [beside], f"Nordland's {beside}/", SOURCE)
    database, asked = _by_frame(database_folder), _by_frame(query_folder)
    if queries == 2_760:
        asked = _every_tenth(asked, len(database))
    elif len(asked) != len(database):
        raise LayoutError(
            f"{database_folder.parent} has {len(database):,} references and {len(asked):,} queries; {name} needs one "
            f"query per reference. For every tenth frame use nordland-2760-{tolerance}"
        )
    benchmark = Benchmark(
        name=name,
        protocol=f"{_SUMMARIES[queries]} as queries; right within ±{tolerance} frames",
        database=database,
        queries=asked,
        radius=float(tolerance),
        unit="frames",
    )
    return compared_with_release(benchmark, *_RELEASED[queries])


def _by_frame(folder: Path) -> Pictures:
    names = list_pictures(folder)
    stems = [Path(name).stem for name in names]
    if all("@" in stem for stem in stems):
        frames = [_number(stem.split("@")[_FRAME] if stem.count("@") >= _FRAME else "") for stem in stems]
        if None in frames:
            raise LayoutError(
                f"{folder / names[frames.index(None)]}: its name has no frame number in its seventh field"
            )
        order = np.argsort(np.array(frames), kind="stable")
        return Pictures(folder, [names[row] for row in order], _column(np.array(frames)[order]))
    numbers = [_number(re.sub(r"^\D+", "", stem)) for stem in stems]
    if None in numbers:
        raise LayoutError(f"{folder / names[numbers.index(None)]}: Nordland's pictures are named by whole numbers")
    order = np.argsort(np.array(numbers), kind="stable")
    return Pictures(folder, [names[row] for row in order], _column(np.arange(len(names))))


def _every_tenth(asked: Pictures, references: int) -> Pictures:
    """The subset's queries, from all frames or from a folder that holds only the subset."""
    assert asked.positions is not None
    frames = asked.positions[:, 0]
    if len(asked) == references:
        kept = np.flatnonzero(frames % _STRIDE == 0)
        return Pictures(asked.root, [asked.names[row] for row in kept], _column(frames[kept]))
    if len(asked) != -(-references // _STRIDE):
        raise LayoutError(
            f"{asked.root} holds {len(asked):,} queries; with {references:,} references the subset has every frame, or "
            f"every tenth ({-(-references // _STRIDE):,})"
        )
    numbered_by_tens = frames[-1] > len(asked)
    return Pictures(asked.root, asked.names, _column(frames if numbered_by_tens else _STRIDE * frames))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _column(frames: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(frames, np.float64)[:, None]


DATASETS = [
    Dataset(
        f"nordland-{queries}-{tolerance}",
        f"Nordland, {_SUMMARIES[queries]} as queries; ±{tolerance} {'frame' if tolerance == 1 else 'frames'}",
        SOURCE,
        partial(open_nordland, queries=queries, tolerance=tolerance),
    )
    for queries in _RELEASED
    for tolerance in TOLERANCES
]
