"""Search by codes and then by floats of the best, against comparing every float: time, memory, and what is missed.

Examples:
  python benchmarks/two_stage_search.py                          a million references; 3 GB of disk, 4 GB of memory
  python benchmarks/two_stage_search.py --places 1000            a thousand views of each place: the hard case
  dsformer render --survey 12 --town 530 --towns 2 --spacing 6 --count 110 --output towns
  python benchmarks/two_stage_search.py --towns towns            the descriptors of real networks, and nothing else

References are made up: views of places, each view as far from the middle of its place as the places are from nothing.
Queries are further views. Both searches use one thread and take turns query by query, so that a busy machine slows both
alike; memory is what a process of its own holds after its queries, without what the libraries need for an index of a
few references. Missed is where the best of the two-stage search is not the best of all float32.
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
from rich.console import Console
from rich.table import Table

from dsformer_core.extractor import Described, Extractor
from dsformer_core.models import CODE_BITS, DESCRIPTOR_DIM
from dsformer_core.place_map.binary_index import BinaryIndex

NEIGHBOURS = 20
CANDIDATES = (20, 100, 200, 400, 800)
CANDIDATES_IN_TOWNS = (20, 100, 400, 500)
MODELS = ("dsformer_tiny", "gem_mobilenet_v2")
# Of the drives of a town, so many ask and the others answer.
ASKING = 1 / 3
_WRITTEN_AT_ONCE = 20_000
_PARTS = ("exact", "two-stage", "together")

console = Console()


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def views(places: np.ndarray, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """So many views of places picked at random, a chunk at a time."""
    for start in range(0, count, _WRITTEN_AT_ONCE):
        rows = min(_WRITTEN_AT_ONCE, count - start)
        noise = random.standard_normal((rows, DESCRIPTOR_DIM), np.float32) / np.sqrt(DESCRIPTOR_DIM)
        yield unit(places[random.integers(0, len(places), rows)] + noise)


def write_references(folder: Path, count: int, places: int, queries: int) -> None:
    """The same descriptors as float32, and as a binary map keeps them."""
    random = np.random.default_rng(0)
    middles = unit(random.standard_normal((places, DESCRIPTOR_DIM), np.float32))
    shape = (count, DESCRIPTOR_DIM)
    exact = np.lib.format.open_memmap(folder / "exact.npy", "w+", np.float32, shape)
    half = np.lib.format.open_memmap(folder / "descriptors.npy", "w+", np.float16, shape)
    start = 0
    for chunk in views(middles, count, random):
        exact[start : start + len(chunk)] = half[start : start + len(chunk)] = chunk
        start += len(chunk)
    np.save(folder / "queries.npy", np.concatenate(list(views(middles, queries, random))))
    fields = BinaryIndex.write(folder, half, None)
    (folder / "index.json").write_text(json.dumps(fields))


def exact_index(folder: Path) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(DESCRIPTOR_DIM)
    index.add(np.load(folder / "exact.npy", mmap_mode="r"))
    return index


def two_stage_index(folder: Path) -> BinaryIndex:
    fields = json.loads((folder / "index.json").read_text())
    return BinaryIndex.open(folder, fields, np.load(folder / "descriptors.npy", mmap_mode="r"))


def ask_exactly(index: faiss.IndexFlatIP) -> Callable[[np.ndarray], Any]:
    return lambda query: index.search(query, NEIGHBOURS)


def ask_in_two_stages(index: BinaryIndex) -> Callable[[np.ndarray], Any]:
    return lambda query: index.search(Described(query), NEIGHBOURS)


def one_by_one(queries: np.ndarray) -> list[np.ndarray]:
    return [queries[row : row + 1] for row in range(len(queries))]


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(part: str, folder: Path) -> dict[str, float]:
    """Megabytes that the index and its queries, the most after any, add to a process that has asked a small one."""
    queries = one_by_one(np.load(folder / "queries.npy"))
    with tempfile.TemporaryDirectory() as small:
        write_references(Path(small), 1_000, 10, 1)
        _asking(part, Path(small))(queries[0])
    before = resident_mb()
    ask = _asking(part, folder)
    opened = resident_mb()
    highest = 0.0
    for query in queries:
        ask(query)
        highest = max(highest, resident_mb())
    return {"process_mb": highest, "opened_mb": opened - before, "asked_mb": highest - before}


def _asking(part: str, folder: Path) -> Callable[[np.ndarray], Any]:
    return ask_exactly(exact_index(folder)) if part == "exact" else ask_in_two_stages(two_stage_index(folder))


def measure_together(folder: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds per query of both, and the share of queries whose best reference is found, by candidates."""
    queries = np.load(folder / "queries.npy")
    exact, two_stage = exact_index(folder), two_stage_index(folder)
    _, best = exact.search(queries, 1)
    rows = []
    for candidates in CANDIDATES:
        chosen = candidates == two_stage.candidates
        rows.append(_time(exact, two_stage, candidates, queries[:repeats]) | {"default": chosen})
        rows[-1]["recall_at_1"] = recall_at_1(two_stage, candidates, queries, best[:, 0])
    return {"searches": rows}


def _time(
    exact: faiss.IndexFlatIP, two_stage: BinaryIndex, candidates: int, queries: np.ndarray
) -> dict[str, float | int]:
    two_stage.candidates = candidates
    asks = ask_exactly(exact), ask_in_two_stages(two_stage)
    times: tuple[list[float], list[float]] = ([], [])
    for query in one_by_one(queries):
        for ask, its_times in zip(asks, times, strict=True):
            start = time.perf_counter()
            ask(query)
            its_times.append(1e3 * (time.perf_counter() - start))
    exact_ms, ours_ms = (statistics.median(its_times) for its_times in times)
    ratio = statistics.median(slow / fast for slow, fast in zip(*times, strict=True))
    return {"candidates": candidates, "exact_ms": exact_ms, "two_stage_ms": ours_ms, "times_faster": ratio}


def recall_at_1(index: BinaryIndex, candidates: int, queries: np.ndarray, best: np.ndarray) -> float:
    index.candidates = candidates
    _, rows = index.search(Described(queries), 1)
    return float((rows[:, 0] == best).mean())


def measure_towns(towns: Path, model: str) -> dict[str, Any]:
    """What is missed among pictures of rendered towns: the first drives of each are the map, the others ask."""
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
    known, asked = np.concatenate(references), np.concatenate(queries)
    best = np.argmax(asked @ known.T, axis=1)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "descriptors.npy", known.astype(np.float16))
        half = np.load(Path(folder) / "descriptors.npy", mmap_mode="r")
        index = BinaryIndex.open(Path(folder), BinaryIndex.write(Path(folder), half, None), half)
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
        write_references(folder, arguments.references, arguments.places, arguments.queries)
        parts = {part: in_process_of_its_own(part, folder, arguments.repeats) for part in _PARTS}
    memory = {part: parts[part] for part in ("exact", "two-stage")}
    return {
        "references": arguments.references,
        "places": arguments.places,
        "memory": memory,
        "memory_share": memory["two-stage"]["asked_mb"] / memory["exact"]["asked_mb"],
        **parts["together"],
    }


def show(result: dict[str, Any]) -> None:
    title = f"{result['references']:,} references of {result['places']:,} places, one thread, one query"
    table = Table("candidates", "exact float32, ms", "two stages, ms", "times faster", "recall@1", title=title)
    for row in result["searches"]:
        table.add_row(
            f"{row['candidates']}{' (default)' if row['default'] else ''}",
            f"{row['exact_ms']:.1f}",
            f"{row['two_stage_ms']:.2f}",
            f"{row['times_faster']:.1f}",
            f"{row['recall_at_1']:.3f}",
        )
    console.print(table)
    table = Table("search", "opened, MB", "after its queries, MB", "whole process, MB", title="resident memory")
    for part, memory in result["memory"].items():
        table.add_row(part, *(f"{memory[key]:.0f}" for key in ("opened_mb", "asked_mb", "process_mb")))
    console.print(table)
    console.print(f"two stages need 1/{1 / result['memory_share']:.1f} of the memory")


def show_towns(rows: list[dict[str, Any]]) -> None:
    table = Table("model", "references", "queries", *(f"{n} candidates" for n in CANDIDATES_IN_TOWNS))
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
    parser.add_argument("--part", choices=_PARTS, help=argparse.SUPPRESS)
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
        result = measure(arguments) | {"code_bits": CODE_BITS}
        show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
