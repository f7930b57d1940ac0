"""Opening a place map of a million references: seconds and memory, by kind of index.

Examples:
  python benchmarks/opening.py                              a million references of 512 numbers; 1.1 GB of disk
  python benchmarks/opening.py --count 100000 --kinds flat_fp16 binary ivf_pq hnsw

Each map is opened in processes of its own, whose libraries are imported before: the median of --repeats. Checksums of
every file are compared but that of more than 256 MiB of descriptors ("quick", as maps are opened); "deep" compares
that, too. Files are in the disk's cache. Memory is what opening adds to what the process held after importing the place
map; that of the process counts Python and all libraries, too, and is what must not be more than 100 MB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from index_kinds import KINDS, make, write_references
from rich.console import Console
from rich.table import Table

from dsformer_core.place_map import IndexRequest

MOST_SECONDS, MOST_MB = 1.5, 100

console = Console()


# In a process that has imported nothing else, as `dsformer map info` is one.
OPEN = """
import json, os, sys, time
from pathlib import Path
from dsformer_core.place_map import PlaceMap

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

before, start = resident_mb(), time.perf_counter()
place_map = PlaceMap.open(sys.argv[1], verify=sys.argv[2])
seconds = time.perf_counter() - start
assert len(place_map)
print(json.dumps({"seconds": seconds, "mb": resident_mb() - before, "process_mb": resident_mb()}))
"""


def opened(directory: Path, repeats: int, *, deep: bool) -> dict[str, float]:
    command = [sys.executable, "-c", OPEN, str(directory), "full" if deep else "quick"]
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
    arguments = parser.parse_args()
    result = measure(arguments)
    table = Table("index", "s", "MB", "MB of the process", "deep, s", title=f"opening {result['count']:,} references")
    for row in result["kinds"]:
        quick, deep = row["quick"], row["deep"]
        table.add_row(
            row["kind"],
            f"{quick['seconds']:.2f}",
            f"{quick['mb']:.0f}",
            f"{quick['process_mb']:.0f}",
            f"{deep['seconds']:.2f}",
        )
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    beyond = [
        row["kind"]
        for row in result["kinds"]
        if row["quick"]["seconds"] > MOST_SECONDS or row["quick"]["process_mb"] > MOST_MB
    ]
    if beyond:
        sys.exit(f"{', '.join(beyond)}: more than {MOST_SECONDS} s to open, or a process of more than {MOST_MB} MB")


if __name__ == "__main__":
    main()
