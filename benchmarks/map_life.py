"""What the verbs of a map's life cost: `dsformer map remove`, `merge`, `thin` and so on, by number of references.

Examples:
  python benchmarks/map_life.py                       a million references; 6 GB of disk
  python benchmarks/map_life.py --count 100000 --verbs remove merge --folder /data

References are made up (`made_up_map.py`): a drive through the streets of a town, descriptors of places that were seen
ten times each, no thumbnails. Every verb runs in a process of its own, its start included, with one thread. Seconds of
computing depend less on what else the machine does than seconds on the clock. Memory is what a process held at most,
files that it has mapped included.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from made_up_map import write_map
from map_pages import views
from rich.console import Console
from rich.table import Table

from dsformer_core.models import DESCRIPTOR_DIM

COUNT = 1_000_000
VERBS = {
    "remove": "remove town.map --match *7.jpg --output rest.map",
    "merge": "merge rest.map town.map --output merged.map",
    "diff": "diff rest.map town.map --json",
    "thin": "thin town.map --every-metres 5 --output thin.map",
    "reindex": "reindex town.map --index binary --output binary.map",
    "geoparquet": "export town.map --format geoparquet --output town.parquet",
    "geojson": "export town.map --format geojson --output town.geojson",
    "split": "split town.map --tiles 2000 --output tiles",
}
"""What is measured: the first two make what later ones need."""

_KEPT = ("town.map", "rest.map")


def measure(command: str, folder: Path) -> dict[str, float]:
    """Seconds on the clock, seconds of computing, and MB of memory of one command."""
    program = "import sys; from dsformer_core.cli.main import main; sys.exit(main(['map', *sys.argv[1:]]))"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command.split()],
        cwd=folder,
        env=os.environ | threads,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"dsformer map {command}: failed")
    return {
        "seconds": time.perf_counter() - start,
        "computing_seconds": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="references (default: %(default)s)")
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=list(VERBS), help="which (default: all)")
    parser.add_argument("--folder", type=Path, help="where the maps are put for the time being")
    parser.add_argument("--json", type=Path, help="file for the same as JSON")
    arguments = parser.parse_args()

    measured = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_map(folder / "town.map", "flat_fp16", views(arguments.count), arguments.count, DESCRIPTOR_DIM)
        for verb in arguments.verbs:
            measured[verb] = measure(VERBS[verb], folder)
            print(verb, json.dumps(measured[verb]), file=sys.stderr, flush=True)
            for path in folder.iterdir():
                if path.name not in _KEPT:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    table = Table("verb", "seconds", "of computing", "memory MB", title=f"{arguments.count:,} references")
    for verb, row in measured.items():
        table.add_row(verb, *(f"{row[key]:.0f}" for key in ("seconds", "computing_seconds", "memory_mb")))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"count": arguments.count, "verbs": measured}, indent=2))


if __name__ == "__main__":
    main()
