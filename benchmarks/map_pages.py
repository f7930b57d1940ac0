"""Size and time of the pages of a map, `dsformer map view` and `dsformer map report`, by its number of references.

Examples:
  python benchmarks/map_pages.py                          10,000, 100,000 and a million references; 3 GB of disk
  python benchmarks/map_pages.py --counts 10000 --index binary --keep pages/

References are made up (`made_up_map.py`): a drive through the streets of a town, descriptors of places that were seen
ten times each. Each page is made by a process of its own, whose memory at most is told, too.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_up_map import write_map
from rich.console import Console
from rich.table import Table

from dsformer_core.models import DESCRIPTOR_DIM

COUNTS = (10_000, 100_000, 1_000_000)
VIEWS = 10
_WRITTEN_AT_ONCE = 20_000


def views(count: int) -> Iterator[np.ndarray]:
    """Descriptors of a drive on which each place is seen `VIEWS` times on end, a chunk at a time."""
    random = np.random.default_rng(1)
    for start in range(0, count, _WRITTEN_AT_ONCE):
        rows = min(_WRITTEN_AT_ONCE, count - start)
        places = random.standard_normal((-(-rows // VIEWS), DESCRIPTOR_DIM), np.float32).repeat(VIEWS, axis=0)[:rows]
        vectors = places + 0.7 * random.standard_normal((rows, DESCRIPTOR_DIM), np.float32)
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(verb: str, directory: Path, page: Path) -> tuple[float, float, float]:
    """Seconds, seconds of computing, and MB of memory of one command, in a process that has no other child."""
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    program = "import sys; from dsformer_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "map", verb, directory, "--output", page]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script, *command], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    computing, kilobytes = (float(number) for number in done.stdout.split())
    return seconds, computing, kilobytes / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="references (default: %(default)s)")
    parser.add_argument("--index", default="flat_fp16", help="kind of search (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the pages (default: they are deleted)")
    parser.add_argument("--json", type=Path, help="file for the same as JSON")
    arguments = parser.parse_args()
    measured = []
    table = Table(title=f"Pages of maps with the index {arguments.index}")
    for column in ("references", "page", "MB", "seconds", "of computing", "MB of memory"):
        table.add_column(column, justify="right")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "town.map"
            write_map(directory, arguments.index, views(count), count, DESCRIPTOR_DIM)
            for verb in ("view", "report"):
                page = Path(folder) / f"{verb}_{count}.html"
                seconds, computing, memory = measure(verb, directory, page)
                megabytes = page.stat().st_size / 1e6
                taken = f"{seconds:.1f}", f"{computing:.1f}"
                measured.append(
                    {
                        "references": count,
                        "page": verb,
                        "megabytes": megabytes,
                        "seconds": seconds,
                        "computing_seconds": computing,
                        "memory_megabytes": memory,
                    }
                )
                table.add_row(f"{count:,}", verb, f"{megabytes:.1f}", *taken, f"{memory:,.0f}")
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(page, arguments.keep)
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"index": arguments.index, "pages": measured}, indent=2))


if __name__ == "__main__":
    main()
