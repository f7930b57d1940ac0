"""How much longer an evaluation's matching takes than FAISS alone, and how much memory it needs.

Examples:
  python benchmarks/evaluation_matching.py
  python benchmarks/evaluation_matching.py --references 2800000 --queries 1000 --repeats 1 --only-memory

FAISS alone searches an array that is in memory already. Ours reads the same descriptors from the file in which an
evaluation keeps them, a chunk at a time. The two take turns, so that a busy machine slows both alike.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from dsformer_core.evaluation.matching import best_matches

DIMENSION = 512
NEIGHBOURS = 100
THREADS = (1, 2)
_WRITTEN_AT_ONCE = 2_000

console = Console()


def unit(random: np.random.Generator, count: int) -> np.ndarray:
    vectors = random.standard_normal((count, DIMENSION), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_descriptors(path: Path, count: int) -> None:
    """A little at a time, so that it is not writing that sets the process's peak of memory."""
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        description = {"descr": "<f4", "fortran_order": False, "shape": (count, DIMENSION)}
        np.lib.format.write_array_header_1_0(file, description)
        for start in range(0, count, _WRITTEN_AT_ONCE):
            file.write(unit(random, min(_WRITTEN_AT_ONCE, count - start)).tobytes())


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(queries: np.ndarray, kept: np.memmap, repeats: int) -> list[dict[str, Any]]:
    index = faiss.IndexFlatIP(DIMENSION)
    index.add(np.ascontiguousarray(kept))
    rows = []
    for threads in THREADS:
        faiss.omp_set_num_threads(threads)
        alone, ours = [], []
        best_matches(queries[:32], kept, NEIGHBOURS)
        for _ in range(repeats):
            alone.append(seconds(lambda: index.search(queries, NEIGHBOURS)))
            ours.append(seconds(lambda: best_matches(queries, kept, NEIGHBOURS)))
        ratio = statistics.median(b / a for a, b in zip(alone, ours, strict=True))
        rows.append(
            {
                "threads": threads,
                "faiss_s": statistics.median(alone),
                "ours_s": statistics.median(ours),
                "ratio": ratio,
            }
        )
    return rows


def peak_memory_growth(queries: np.ndarray, kept: np.memmap) -> float:
    """MiB by which the process's peak grows while it matches; measured before anything else has grown it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best_matches(queries, kept, NEIGHBOURS)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--references", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only-memory", action="store_true", help="do not hold the references in memory for FAISS")
    parser.add_argument("--folder", type=Path, help="where the descriptors' file is put for the time being")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "descriptors.npy"
        write_descriptors(path, arguments.references)
        kept = np.load(path, mmap_mode="r")
        queries = unit(np.random.default_rng(1), arguments.queries)
        memory = peak_memory_growth(queries, kept)
        rows = [] if arguments.only_memory else measure(queries, kept, arguments.repeats)

    table = Table("threads", "FAISS alone, s", "ours, s", "ratio")
    for row in rows:
        table.add_row(str(row["threads"]), f"{row['faiss_s']:.2f}", f"{row['ours_s']:.2f}", f"{row['ratio']:.2f}")
    if rows:
        console.print(table)
    console.print(f"matching {arguments.references:,} references took {memory:.0f} MiB of memory at its peak")
    if arguments.json:
        arguments.json.write_text(json.dumps({"matching": rows, "peak_memory_mib": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
