"""Search by codes and then by floats of the best, against comparing every float: time, memory, and what is missed.

Examples:
  python benchmarks/two_stage_search.py                          a million references; 5 GB of disk, 6 GB of memory
  python benchmarks/two_stage_search.py --places 1000            a thousand views of each place: the hard case
  dsformer render --survey 12 --town 530 --towns 2 --spacing 6 --count 110 --output towns
  python benchmarks/two_stage_search.py --towns towns            the descriptors of real networks, and nothing else

References are made up: views of places, each view as far from the middle of its place as the places are from nothing.
Queries are further views. Searches use one thread and take turns query by query, so that a busy machine slows all
alike. FAISS is its exact index of float32 in memory, the others are place maps by their kind of index. Memory is what a
process of its own holds once it has opened the map, at most after any search, and once answers were localized, too,
beyond what it held after doing all that with a map of a few references. Times are those of files in the disk's cache;
"cold" those of a query whose candidates are not. Recall@1 is how often the best of the two-stage search is the best of
all float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from made_up_map import write_map
from rich.console import Console
from rich.table import Table

from dsformer_core.described import Described
from dsformer_core.extractor import Extractor
from dsformer_core.localization import localize
from dsformer_core.models import DESCRIPTOR_DIM
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.format import DESCRIPTORS_FILE
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.request import IndexRequest

NEIGHBOURS = 20
CANDIDATES = (20, 100, 200, 300, 400, 800)
CANDIDATES_IN_TOWNS = (20, 100, 300, 500)
MODELS = ("dsformer_tiny", "gem_mobilenet_v2")
# Of the drives of a town, so many ask and the others answer.
ASKING = 1 / 3
_WRITTEN_AT_ONCE = 20_000

EXACT = "FAISS"
WHOLE = "flat"
TWO_STAGES = "binary"
KINDS = (WHOLE, "flat_fp16", TWO_STAGES)

console = Console()


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def views(places: np.ndarray, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """So many views of places picked at random, a chunk at a time."""
    for start in range(0, count, _WRITTEN_AT_ONCE):
        rows = min(_WRITTEN_AT_ONCE, count - start)
        noise = random.standard_normal((rows, DESCRIPTOR_DIM), np.float32) / np.sqrt(DESCRIPTOR_DIM)
        yield unit(places[random.integers(0, len(places), rows)] + noise)


def write_maps(folder: Path, count: int, places: int, queries: int) -> None:
    """The same references in a map of each kind, and queries."""
    middles = unit(np.random.default_rng(0).standard_normal((places, DESCRIPTOR_DIM), np.float32))
    for kind in KINDS:
        write_map(folder / kind, kind, views(middles, count, np.random.default_rng(1)), count, DESCRIPTOR_DIM)
    np.save(folder / "queries.npy", np.concatenate(list(views(middles, queries, np.random.default_rng(2)))))


def open_search(search: str, folder: Path) -> faiss.IndexFlatIP | PlaceMap:
    if search != EXACT:
        return PlaceMap.open(folder / search)
    index = faiss.IndexFlatIP(DESCRIPTOR_DIM)
    index.add(np.load(folder / WHOLE / DESCRIPTORS_FILE, mmap_mode="r"))
    return index


def asking(opened: faiss.IndexFlatIP | PlaceMap) -> Callable[[np.ndarray], Any]:
    return lambda query: opened.search(query, NEIGHBOURS)


def one_by_one(queries: np.ndarray) -> list[np.ndarray]:
    return [queries[row : row + 1] for row in range(len(queries))]


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(search: str, folder: Path) -> dict[str, float]:
    """Megabytes that a map, its queries and its answers, the most after any, add to what a small map left behind."""
    queries = one_by_one(np.load(folder / "queries.npy"))
    with tempfile.TemporaryDirectory() as small:
        write_maps(Path(small), 1_000, 10, 1)
        localized(open_search(search, Path(small)), queries[0])
    before = resident_mb()
    opened = open_search(search, folder)
    measured = {"opened_mb": resident_mb() - before}
    ask, highest = asking(opened), 0.0
    for query in queries:
        ask(query)
        highest = max(highest, resident_mb())
    measured["asked_mb"] = highest - before
    for query in queries:
        localized(opened, query)
        highest = max(highest, resident_mb())
    return measured | {"localized_mb": highest - before, "process_mb": highest}


def localized(opened: faiss.IndexFlatIP | PlaceMap, query: np.ndarray) -> Any:
    found = asking(opened)(query)
    return localize(found, opened) if isinstance(opened, PlaceMap) else found


def measure_together(folder: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds per query of all, and the share of queries whose best reference is found, by candidates."""
    queries = np.load(folder / "queries.npy")
    opened = {search: open_search(search, folder) for search in (EXACT, *KINDS)}
    exact, two_stages = opened[EXACT], opened[TWO_STAGES].index
    default = two_stages.candidates
    searches = take_turns({search: asking(each) for search, each in opened.items()}, queries[:repeats])
    _, best = exact.search(queries, 1)
    by_candidates = []
    for candidates in CANDIDATES:
        two_stages.candidates = candidates
        both = {search: asking(opened[search]) for search in (EXACT, TWO_STAGES)}
        row = {"candidates": candidates, "default": candidates == default}
        row |= take_turns(both, queries[:repeats])[TWO_STAGES]
        row["cold_ms"] = cold_ms(folder / TWO_STAGES / DESCRIPTORS_FILE, both[TWO_STAGES], queries[:repeats])
        by_candidates.append(row | {"recall_at_1": recall_at_1(two_stages, candidates, queries, best[:, 0])})
    return {"searches": searches, "candidates": by_candidates}


def cold_ms(path: Path, ask: Callable[[np.ndarray], Any], queries: np.ndarray) -> float:
    """Median milliseconds of queries before each of which the disk's cache forgot the descriptors."""
    times = []
    with path.open("rb") as file:
        for query in one_by_one(queries):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            ask(query)
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def take_turns(searches: dict[str, Callable[[np.ndarray], Any]], queries: np.ndarray) -> dict[str, dict[str, float]]:
    """Medians of each search's milliseconds, and of how many times faster than the first it was."""
    times: dict[str, list[float]] = {search: [] for search in searches}
    for query in one_by_one(queries):
        for search, ask in searches.items():
            start = time.perf_counter()
            ask(query)
            times[search].append(1e3 * (time.perf_counter() - start))
    first = next(iter(times.values()))
    return {
        search: {
            "ms": statistics.median(its_times),
            "times_faster": statistics.median(slow / fast for slow, fast in zip(first, its_times, strict=True)),
        }
        for search, its_times in times.items()
    }


def recall_at_1(index: BinaryIndex, candidates: int, queries: np.ndarray, best: np.ndarray) -> float:
    index.candidates = candidates
    _, rows = index.search(Described(queries), 1)
    return float((rows[:, 0] == best).mean())


def describe_towns(towns: Path, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of pictures of rendered towns: the first drives of each are the map, the others ask."""
    extractor = Extractor(model)
    references, queries = [], []
    for town in sorted(towns.glob("town_*")):
        drives = sorted(folder for folder in town.iterdir() if folder.is_dir())
        mapped = round(len(drives) * (1 - ASKING))
        for number, drive in enumerate(drives):
            found = extractor.extract_files(sorted(drive.glob("*.jpg")))
            (references if number < mapped else queries).append(found)
    if not references or not queries:
        raise SystemExit(f"{towns}: no town_*/drive_*/*.jpg there; `dsformer render --survey` makes some")
    return np.concatenate(references), np.concatenate(queries)


def measure_towns(towns: Path, model: str) -> dict[str, Any]:
    """What is missed among pictures of rendered towns."""
    known, asked = describe_towns(towns, model)
    best = np.argmax(asked @ known.T, axis=1)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "descriptors.npy", known.astype(np.float16))
        half = np.load(Path(folder) / "descriptors.npy", mmap_mode="r")
        index = BinaryIndex.open(Path(folder), BinaryIndex.write(Path(folder), half, None, IndexRequest()), half)
        recalls = {str(n): recall_at_1(index, n, asked, best) for n in CANDIDATES_IN_TOWNS}
    return {"model": model, "references": len(known), "queries": len(asked), "recall_at_1": recalls}


def in_process_of_its_own(part: str, folder: Path, repeats: int) -> dict[str, Any]:
    """One part, with one thread for every library."""
    command = [sys.executable, __file__, "--part", part, "--folder", folder, "--repeats", str(repeats)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | single)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_maps(folder, arguments.references, arguments.places, arguments.queries)
        result = in_process_of_its_own("together", folder, arguments.repeats)
        for search, row in result["searches"].items():
            row |= in_process_of_its_own(search, folder, arguments.repeats)
    return {"references": arguments.references, "places": arguments.places} | result


def show(result: dict[str, Any]) -> None:
    title = f"{result['references']:,} references of {result['places']:,} places, one thread, one query at a time"
    columns = ("search", "ms", "faster", "opened", "asked", "less", "localized", "less", "process")
    table = Table(*columns, title=title, caption="opened, asked, localized, process: MB")
    whole = result["searches"][WHOLE]
    for search, row in result["searches"].items():
        cells = [search, f"{row['ms']:.2f}", f"{row['times_faster']:.1f}", f"{row['opened_mb']:.0f}"]
        for key in ("asked_mb", "localized_mb"):
            cells += [f"{row[key]:.0f}", f"{whole[key] / row[key]:.1f}"]
        table.add_row(*cells, f"{row['process_mb']:.0f}")
    console.print(table)
    table = Table("candidates", "ms", "faster", "cold ms", "recall@1", title=f"{TWO_STAGES}, by candidates")
    for row in result["candidates"]:
        name = f"{row['candidates']}{' (default)' if row['default'] else ''}"
        times = f"{row['ms']:.2f}", f"{row['times_faster']:.1f}", f"{row['cold_ms']:.2f}"
        table.add_row(name, *times, f"{row['recall_at_1']:.3f}")
    console.print(table)


def show_towns(rows: list[dict[str, Any]]) -> None:
    table = Table("model", "references", "queries", *(f"best {n}" for n in CANDIDATES_IN_TOWNS))
    for row in rows:
        recalls = (f"{row['recall_at_1'][str(n)]:.3f}" for n in CANDIDATES_IN_TOWNS)
        table.add_row(row["model"], f"{row['references']:,}", f"{row['queries']:,}", *recalls)
    table.title = "rendered towns: recall@1 of the exact answer, codes from signs"
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=1_000_000)
    parser.add_argument("--places", type=int, default=10_000, help="of which the references are views")
    parser.add_argument("--queries", type=int, default=500, help="asked for recall and memory")
    parser.add_argument("--repeats", type=int, default=50, help="queries that are timed, of each search")
    parser.add_argument("--towns", type=Path, help="rendered towns: only say what is missed in them")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL", help="which describe the towns")
    parser.add_argument("--folder", type=Path, help="where the references' files are put for the time being")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        faiss.omp_set_num_threads(1)
        if arguments.part == "together":
            print(json.dumps(measure_together(arguments.folder, arguments.repeats)))
        else:
            print(json.dumps(measure_memory(arguments.part, arguments.folder)))
        return
    if arguments.towns:
        result: dict[str, Any] = {"towns": [measure_towns(arguments.towns, model) for model in arguments.models]}
        show_towns(result["towns"])
    else:
        result = measure(arguments)
        show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
