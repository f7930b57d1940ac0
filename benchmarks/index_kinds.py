"""Every kind of index of one map: how long it takes to make, how much memory, how fast it answers, what it misses.

Examples:
  python benchmarks/index_kinds.py                               2.8 million references, as many as SF-XL's database
  python benchmarks/index_kinds.py --count 100000 --kinds flat_fp16 binary ivf_pq hnsw
  python benchmarks/index_kinds.py --memory-limit 100MB --kinds ivf_pq          lists that stay on disk
  dsformer render --survey 12 --town 530 --towns 2 --spacing 6 --count 110 --output towns
  python benchmarks/index_kinds.py --towns towns                 what is missed among descriptors of real networks

References are made up: views of places, a hundred of each, every view as far from the middle of its place as the places
are from nothing; queries are further views. Each index is made in a process of its own, with as many threads as the
largest of --threads; memory is the most that process ever held beyond what it held before, pages of files included.
Then it is asked in another process, one query at a time, with each number of threads; memory is what opening and asking
added. Recall@1 is how often the most similar of all references, by float32 of the very descriptors of the map, comes
first; recall@10 the share of the ten most similar among the ten found. Disk: 1 kB for each reference.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from made_up_map import write_map
from rich.console import Console
from rich.table import Table
from two_stage_search import MODELS, describe_towns, unit, views

from dsformer_core.cli.map.index_arguments import amount_of_memory
from dsformer_core.described import Described
from dsformer_core.models import DESCRIPTOR_DIM
from dsformer_core.place_map import IndexRequest, PlaceMap
from dsformer_core.place_map.format import (
    DESCRIPTORS_FILE,
    MAP_FILE,
    REFERENCES_FILE,
    file_digest,
    read_description,
    write_description,
)
from dsformer_core.place_map.indexes.index import choose_index, index_class, write_index

KINDS = ("flat_fp16", "binary", "ivf_pq", "hnsw")
NEIGHBOURS = 10
ASKED_FOR = 20
VIEWS = 100
_AT_ONCE = 65_536

console = Console()


def write_references(folder: Path, count: int, queries: int) -> None:
    """A map of which the others take descriptors and references, queries, and the best of all for each."""
    middles = unit(np.random.default_rng(0).standard_normal((max(1, count // VIEWS), DESCRIPTOR_DIM), np.float32))
    chunks = views(middles, count, np.random.default_rng(1))
    write_map(folder / "references", "flat_fp16", chunks, count, DESCRIPTOR_DIM)
    asked = np.concatenate(list(views(middles, queries, np.random.default_rng(2))))
    np.save(folder / "queries.npy", asked)
    stored = np.load(folder / "references" / DESCRIPTORS_FILE, mmap_mode="r")
    np.save(folder / "exact.npy", exact_rows(asked, stored))


def exact_rows(queries: np.ndarray, stored: np.ndarray) -> np.ndarray:
    best, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(stored), _AT_ONCE):
        chunk = stored[start : start + _AT_ONCE].astype(np.float32)
        found, places = faiss.knn(queries, chunk, min(NEIGHBOURS, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
        best, rows = np.hstack([best, found]), np.hstack([rows, places + start])
        order = np.argsort(-best, axis=1, kind="stable")[:, :NEIGHBOURS]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows


def make(folder: Path, request: IndexRequest) -> dict[str, Any]:
    """The map of one kind, beside that of which it takes everything but the index."""
    description = read_description(folder / "references")
    count, target = description["count"], folder / request.kind
    target.mkdir()
    for name in (DESCRIPTORS_FILE, REFERENCES_FILE):
        os.link(folder / "references" / name, target / name)
    stored = np.load(target / DESCRIPTORS_FILE, mmap_mode="r")
    kind, _ = choose_index(request, count, DESCRIPTOR_DIM, has_codes=False)
    faiss.index_factory(64, "Flat").search(np.zeros((1, 64), np.float32), 1)
    before, start = highest_mb(), time.perf_counter()
    fields, files = write_index(kind, target, stored, None, request)
    seconds = time.perf_counter() - start
    memory = highest_mb() - before
    description["index"] = fields
    description["files"] |= {name: file_digest(target / name) for name in files}
    write_description(target / MAP_FILE, description)
    size = sum((target / name).stat().st_size for name in files)
    return {"seconds": seconds, "making_mb": memory, "disk_mb": size / 1e6, "index": fields}


def ask(folder: Path, kind: str, repeats: int) -> dict[str, Any]:
    """Time and memory of single queries."""
    queries = np.load(folder / "queries.npy")
    before = resident_mb()
    place_map = PlaceMap.open(folder / kind)
    opened = resident_mb() - before
    found = place_map.search(queries, k=ASKED_FOR).indices[:, :NEIGHBOURS]
    times = []
    for query in queries[:repeats, None]:
        start = time.perf_counter()
        place_map.search(query, k=ASKED_FOR)
        times.append(1e3 * (time.perf_counter() - start))
    return {
        "ms": statistics.median(times),
        "opened_mb": opened,
        "asked_mb": resident_mb() - before,
        **recalls(found, np.load(folder / "exact.npy")),
    }


def recalls(found: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    shared = [np.isin(best, its).mean() for best, its in zip(exact, found, strict=True)]
    return {"recall_at_1": float((found[:, 0] == exact[:, 0]).mean()), "recall_at_10": float(np.mean(shared))}


def highest_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024 * 1.048576


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def in_process_of_its_own(part: str, folder: Path, threads: int, given: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), *given]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | limits)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, rows = Path(name), []
        start = time.perf_counter()
        write_references(folder, arguments.count, arguments.queries)
        console.print(f"{arguments.count:,} references made up in {time.perf_counter() - start:.0f} s")
        for kind in arguments.kinds:
            given = ["--kinds", kind, "--repeats", str(arguments.repeats), "--recall", str(arguments.recall)]
            given += [] if arguments.memory_limit is None else ["--memory-limit", str(arguments.memory_limit)]
            row = {"kind": kind} | in_process_of_its_own("make", folder, max(arguments.threads), given)
            for threads in arguments.threads:
                row[f"{threads}"] = in_process_of_its_own("ask", folder, threads, given)
            console.print_json(json.dumps(row))
            rows.append(row)
    return {"count": arguments.count, "dimension": DESCRIPTOR_DIM, "threads": arguments.threads, "kinds": rows}


def show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['count']:,} references of {result['dimension']} numbers")
    for column in ("index", "made in s", "making MB", "disk MB", "opened MB", "asked MB"):
        table.add_column(column, justify="right")
    for threads in result["threads"]:
        table.add_column(f"ms, {threads} threads" if threads > 1 else "ms, 1 thread", justify="right")
    table.add_column("recall@1", justify="right")
    table.add_column("recall@10", justify="right")
    for row in result["kinds"]:
        first = row[str(result["threads"][0])]
        cells = [row["kind"], f"{row['seconds']:.0f}", f"{row['making_mb']:.0f}", f"{row['disk_mb']:.0f}"]
        cells += [f"{first['opened_mb']:.0f}", f"{first['asked_mb']:.0f}"]
        cells += [f"{row[str(threads)]['ms']:.2f}" for threads in result["threads"]]
        table.add_row(*cells, f"{first['recall_at_1']:.3f}", f"{first['recall_at_10']:.3f}")
    console.print(table)


def measure_towns(towns: Path, model: str, kinds: list[str]) -> list[dict[str, Any]]:
    """What each kind misses among pictures of rendered towns."""
    known, asked = describe_towns(towns, model)
    rows = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as name:
            folder, index = Path(name), index_class(kind)
            np.save(folder / DESCRIPTORS_FILE, known.astype(index.storage))
            stored = np.load(folder / DESCRIPTORS_FILE, mmap_mode="r")
            fields = index.write(folder, stored, None, IndexRequest(kind))
            similarities, found = index.open(folder, fields, stored).search(Described(asked), ASKED_FOR)
            order = np.lexsort((found, -similarities), axis=1)[:, :NEIGHBOURS]
            measured = recalls(np.take_along_axis(found, order, 1), exact_rows(asked, stored))
        rows.append({"model": model, "references": len(known), "queries": len(asked), "kind": kind, "index": fields})
        rows[-1] |= measured
    return rows


def show_towns(rows: list[dict[str, Any]]) -> None:
    table = Table("model", "references", "queries", "index", "recall@1", "recall@10", title="rendered towns")
    for row in rows:
        counts = f"{row['references']:,}", f"{row['queries']:,}"
        table.add_row(row["model"], *counts, row["kind"], f"{row['recall_at_1']:.3f}", f"{row['recall_at_10']:.3f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2_800_000, help="references (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=("flat", *KINDS), metavar="KIND")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="(default: %(default)s)")
    parser.add_argument("--queries", type=int, default=500, help="asked for recall")
    parser.add_argument("--repeats", type=int, default=100, help="queries that are timed, one by one")
    parser.add_argument("--memory-limit", type=amount_of_memory, metavar="SIZE", help="as for `dsformer map build`")
    parser.add_argument("--recall", type=float, default=0.99, help="as for `dsformer map build`")
    parser.add_argument("--towns", type=Path, help="rendered towns: only say what is missed in them")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL", help="which describe the towns")
    parser.add_argument("--folder", type=Path, help="where the references' files are put for the time being")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "make":
        request = IndexRequest(arguments.kinds[0], memory_limit=arguments.memory_limit, recall=arguments.recall)
        print(json.dumps(make(arguments.folder, request)))
        return
    if arguments.part == "ask":
        print(json.dumps(ask(arguments.folder, arguments.kinds[0], arguments.repeats)))
        return
    if arguments.towns:
        rows = [row for model in arguments.models for row in measure_towns(arguments.towns, model, arguments.kinds)]
        result: dict[str, Any] = {"towns": rows}
        show_towns(rows)
    else:
        result = measure(arguments)
        show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
