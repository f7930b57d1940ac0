"""How long a query of a flat float16 map takes, beside reading its descriptors from memory once.

Examples:
  python benchmarks/flat_search.py                          a million references of 512 numbers; 3 GB of memory
  python benchmarks/flat_search.py --count 100000 --json flat_search.json

One query on one thread. Reading is the sum of the descriptors' bytes as 64-bit integers, by NumPy, on one thread, of
memory in large pages. The node and the commands that localize (`PlaceMap.search_on`) search in such memory, too, for
which the first search pays; others do without. All take turns; processor time is compared, because it does not depend
on who else computes, and includes the time spent waiting for memory.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from dsformer_core.described import Described
from dsformer_core.place_map.indexes.flat import HalfFlatIndex

MOST_TIMES_READING = 1.3
DIMENSION, K = 512, 20
AT_ONCE = 50_000
OFTEN, ONCE = "searched after search_on", "searched without"


def made_up(count: int) -> np.ndarray:
    """(count, 512) float16 of unit norm."""
    random = np.random.default_rng(0)
    descriptors = np.empty((count, DIMENSION), np.float16)
    for start in range(0, count, AT_ONCE):
        some = random.standard_normal((min(AT_ONCE, count - start), DIMENSION), np.float32)
        descriptors[start : start + AT_ONCE] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return descriptors


def seconds(work: Callable[[], object]) -> float:
    """Of all processors."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(count: int, repeats: int) -> list[dict[str, Any]]:
    descriptors = made_up(count)
    query = Described(np.array(descriptors[:1], np.float32))
    numbers = descriptors.view(np.uint64).ravel()
    once = HalfFlatIndex(descriptors)
    often = once.on("cpu")
    first = {name: seconds(lambda i=index: i.search(query, K)) for name, index in ((ONCE, once), (OFTEN, often))}
    works: dict[str, Callable[[], object]] = {
        "read": numbers.sum,
        OFTEN: lambda: often.search(query, K),
        ONCE: lambda: once.search(query, K),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    rows = []
    for name, its in times.items():
        pairs = zip(times["read"], its, strict=True)
        rows.append(
            {
                f"{count:,} descriptors": name,
                "ms": 1e3 * statistics.median(its),
                "GB/s": descriptors.nbytes / 1e9 / statistics.median(its),
                "times reading": statistics.median(search / read for read, search in pairs),
                "first, s": first.get(name, 0.0),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="references (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows = measure(arguments.count, arguments.repeats)
    table = Table(title="one query, one thread")
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.3g}" for value in row.values()))
    Console().print(table)
    if arguments.json:
        result = {"machine": platform.processor() or platform.machine(), "faiss": faiss.__version__, "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if (ratio := rows[1]["times reading"]) > MOST_TIMES_READING:
        sys.exit(f"a search takes {ratio:.2f} times as long as reading, {MOST_TIMES_READING} is wanted")


if __name__ == "__main__":
    main()
