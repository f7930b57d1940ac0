"""Opening a place map of a million references: seconds and memory, by kind of index.

Examples:
  python benchmarks/opening.py                              a million references of 512 numbers; 1.1 GB of disk
  python benchmarks/opening.py --count 100000 --kinds flat_fp16 binary ivf_pq hnsw

Each map is opened in processes of its own, whose libraries are imported before: the median of --repeats. Checksums of
every file are compared but that of the descriptors ("quick", as the node opens a map); "deep" compares that, too. Files
are in the disk's cache. Memory is what opening adds to what the process held.
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

from index_kinds import KINDS, make, resident_mb, write_references
from rich.console import Console
from rich.table import Table

from dsformer_core.place_map import IndexRequest, PlaceMap

MOST_SECONDS, MOST_MB = 1.5, 100

console = Console()


def open_once(directory: Path, *, deep: bool) -> dict[str, float]:
    before, start = resident_mb(), time.perf_counter()
    place_map = PlaceMap.open(directory, verify="full" if deep else "quick")
    seconds = time.perf_counter() - start
    assert len(place_map) and (deep or place_map.unread)
    return {"seconds": seconds, "mb": resident_mb() - before}


def opened(directory: Path, repeats: int, *, deep: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", str(directory), *(["--deep"] if deep else [])]
    runs: list[dict[str, float]] = []
    for _ in range(repeats):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout))
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_references(folder, arguments.count, 1)
        for kind in arguments.kinds:
            # Opening takes as long however well it was tuned.
            make(folder, IndexRequest(kind, effort=16 if kind in ("ivf_pq", "hnsw") else None))
            row: dict[str, Any] = {"kind": kind, "quick": opened(folder / kind, arguments.repeats, deep=False)}
            rows.append(row | {"deep": opened(folder / kind, arguments.repeats, deep=True)})
            console.print_json(json.dumps(rows[-1]))
    return {"count": arguments.count, "cores": os.cpu_count(), "kinds": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="references (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, metavar="KIND")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the references' files are put for the time being")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--deep", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(open_once(arguments.part, deep=arguments.deep)))
        return
    result = measure(arguments)
    table = Table("index", "s", "MB", "deep, s", title=f"opening {result['count']:,} references")
    for row in result["kinds"]:
        quick, deep = row["quick"], row["deep"]
        table.add_row(row["kind"], f"{quick['seconds']:.2f}", f"{quick['mb']:.0f}", f"{deep['seconds']:.2f}")
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    beyond = [
        row["kind"] for row in result["kinds"] if row["quick"]["seconds"] > MOST_SECONDS or row["quick"]["mb"] > MOST_MB
    ]
    if beyond:
        sys.exit(f"{', '.join(beyond)}: more than {MOST_SECONDS} s or {MOST_MB} MB to open")


if __name__ == "__main__":
    main()
