"""How long block clustering takes, and what a plain transcription of the method takes on the same locations.

Examples:
  python benchmarks/block_clustering.py
  python benchmarks/block_clustering.py --city city.npz --sizes 100000 300000 1000000
  python benchmarks/block_clustering.py --sizes 3431092 --no-plain --json clustering.json

The plain one does what equations 7 to 9 say, step by step: a pass over all locations per strip, the `hdbscan` package,
neighbours by brute force, full distance matrices between peaks. Every measurement runs in a process of its own, so that
its peak memory is its own; memory is what comes on top of imports and the locations. Compiling is measured apart. The
ratio is of times, ours on several threads; that of CPU times, both on one, is the one to trust on a busy machine.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

SIZES = (100_000, 300_000, 1_000_000)

console = Console(width=120)


def invented_city(count: int) -> np.ndarray:
    """(count, 2) metres: square districts of a kilometre, each a street grid at an angle of its own."""
    random = np.random.default_rng(0)
    districts: list[np.ndarray] = []
    found, side = 0, 1000.0
    columns = int(np.ceil(np.sqrt(count / 20_000)))
    while found < count:
        angle = random.uniform(0, np.pi / 2)
        along = np.array([np.cos(angle), np.sin(angle)])
        streets = []
        for ahead, spacing in ((along, 90.0), (np.array([-along[1], along[0]]), 140.0)):
            left = np.array([-ahead[1], ahead[0]])
            for offset in np.arange(-side, side, spacing):
                for _ in range(1 + random.poisson(2.2)):
                    way = np.arange(-side + random.uniform(0, 2.5), side, 2.5)
                    beside = offset + random.choice([-5.25, -1.75, 1.75, 5.25])
                    points = np.outer(way, ahead) + beside * left
                    streets.append(points + random.normal(0, random.uniform(0.5, 1.0), points.shape))
        points = np.concatenate(streets)
        corner = side * np.array(divmod(len(districts), columns))
        districts.append(points[(np.abs(points) < side / 2).all(axis=1)] + corner)
        found += len(districts[-1])
    return np.round(np.concatenate(districts)[:count] + np.array([548_000.0, 4_179_000.0]), 2)


def locations(city: Path | None, count: int) -> np.ndarray:
    """(count, 2) metres: the middle of a city that is large enough, else as many copies side by side as it takes."""
    if city is None:
        return invented_city(count)
    utm = np.load(city)["utm"]
    if count <= len(utm):
        middle = (utm.min(axis=0) + utm.max(axis=0)) / 2
        return utm[np.sort(np.argsort(np.abs(utm - middle).max(axis=1), kind="stable")[:count])]
    copies = int(np.ceil(count / len(utm)))
    columns = int(np.ceil(np.sqrt(copies)))
    step = np.ptp(utm, axis=0) + 100.0
    return np.concatenate([utm + step * np.array(divmod(copy, columns)) for copy in range(copies)])[:count]


def plain_clustering(utm: np.ndarray) -> int:
    """The method as it is written down; returns how many classes come out."""
    import hdbscan
    from scipy.spatial.distance import cdist
    from sklearn.neighbors import NearestNeighbors

    width, groups, radius, least, focal_distance, fewest = 10.0, 5, 7.5, 40.0, 15.0, 10
    clusterer = hdbscan.HDBSCAN(min_cluster_size=15, min_samples=15, core_dist_n_jobs=1)
    neighbours = NearestNeighbors(algorithm="brute")
    merged: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(groups)]
    for axis in (0, 1):
        found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(groups)]
        lowest = utm[:, axis].min()
        for strip in range(int((utm[:, axis].max() - lowest) / width) + 1):
            inside = (utm[:, axis] >= lowest + strip * width) & (utm[:, axis] < lowest + (strip + 1) * width)
            points = utm[inside]
            if len(points) <= 15:
                continue
            labels = clusterer.fit_predict(points)
            for label in range(labels.max() + 1):
                members = points[labels == label]
                near = neighbours.fit(members).radius_neighbors(members, radius, return_distance=False)
                peak = int(np.argmax([len(rows) for rows in near]))
                if len(near[peak]) >= fewest:
                    found[strip % groups].append((members[peak], members[near[peak]]))
        for group in range(groups):
            merged[group] += _far_apart(found[group], least, cdist)
    classes = 0
    for group in range(groups):
        for _, members in _far_apart(merged[group], least, cdist):
            centre = members.mean(axis=0)
            directions, _, _ = np.linalg.svd((members - centre).T, full_matrices=False)
            _ = centre + focal_distance * directions.T
            classes += 1
    return classes


def _far_apart(classes: list[tuple[np.ndarray, np.ndarray]], least: float, cdist: Callable[..., Any]) -> list[Any]:
    """The larger classes first, each that is far enough from all kept before."""
    classes = sorted(classes, key=lambda one: (-len(one[1]), *one[0]))
    if not classes:
        return []
    close = cdist([peak for peak, _ in classes], [peak for peak, _ in classes]) < least
    kept: list[int] = []
    for number in range(len(classes)):
        if not close[number, kept].any():
            kept.append(number)
    return [classes[number] for number in kept]


def our_clustering(utm: np.ndarray, workers: int) -> int:
    from dsformer_core.clustering import cluster_blocks

    return sum(len(group.classes) for group in cluster_blocks(utm, workers=workers))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One measurement, in this process."""
    warnings.simplefilter("ignore")
    utm = locations(arguments.city, arguments.size)
    run = plain_clustering if arguments.measure == "plain" else lambda part: our_clustering(part, arguments.workers)
    start = time.perf_counter()
    run(locations(arguments.city, 3000))
    first = time.perf_counter() - start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    classes = run(utm)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - busy,
        "first_call_seconds": first,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "classes": classes,
    }


def measured(arguments: argparse.Namespace, method: str, size: int, workers: int, cache: str | None = None) -> Any:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "--measure", method, "--size", str(size), "--workers", str(workers)]
    command += ["--city", str(arguments.city)] if arguments.city else []
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment |= {"NUMBA_CACHE_DIR": cache} if cache else {}
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as empty:
        compiling = measured(arguments, "ours", 3000, 1, empty)["first_call_seconds"]
        loading = measured(arguments, "ours", 3000, 1, empty)["first_call_seconds"]
    console.print(f"compiling, once per machine: {compiling:.1f} s; loading what was compiled: {loading:.2f} s")

    table = Table(box=None, header_style="bold")
    columns = ["locations", "1 thread", f"{arguments.workers} threads", "memory", "CPU/NlogN"]
    for title in [*columns, *([] if arguments.no_plain else ["plain", "memory", "ratio", "CPU ratio"])]:
        table.add_column(title, justify="right", no_wrap=True)
    rows = []
    for size in arguments.sizes:
        # They take turns, so that a busy machine slows all alike.
        turns = [
            (
                measured(arguments, "ours", size, 1),
                measured(arguments, "ours", size, arguments.workers),
                None if arguments.no_plain else measured(arguments, "plain", size, 1),
            )
            for _ in range(arguments.repeats)
        ]

        def median(kind: int, value: str, turns: list[Any] = turns) -> float:
            return statistics.median(turn[kind][value] for turn in turns)

        row = {
            "locations": size,
            "classes": turns[0][0]["classes"],
            "one_thread_s": median(0, "seconds"),
            "threads_s": median(1, "seconds"),
            "cpu_s": median(0, "cpu_seconds"),
            "megabytes": median(1, "megabytes"),
            "cpu_us_per_n_log_n": 1e6 * median(0, "cpu_seconds") / (size * np.log2(size)),
        }
        shown = [
            f"{size:,}",
            f"{row['one_thread_s']:.2f} s",
            f"{row['threads_s']:.2f} s",
            f"{row['megabytes']:.0f} MB",
            f"{row['cpu_us_per_n_log_n']:.2f} µs",
        ]
        if not arguments.no_plain:
            row |= {
                "plain_s": median(2, "seconds"),
                "plain_cpu_s": median(2, "cpu_seconds"),
                "plain_megabytes": median(2, "megabytes"),
                "plain_classes": turns[0][2]["classes"],
            }
            row |= {"ratio": row["plain_s"] / row["threads_s"], "cpu_ratio": row["plain_cpu_s"] / row["cpu_s"]}
            shown += [f"{row['plain_s']:.1f} s", f"{row['plain_megabytes']:.0f} MB"]
            shown += [f"{row['ratio']:.1f}x", f"{row['cpu_ratio']:.1f}x"]
        rows.append(row)
        table.add_row(*shown)
    console.print(table)
    return {"compile_s": compiling, "load_s": loading, "workers": arguments.workers, "sizes": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--city", type=Path, help=".npz with 'utm' to take locations from (default: an invented city)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="locations (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="medians of so many turns (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="threads of ours (default: %(default)s)")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain transcription out")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--measure", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    results = {"machine": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    results |= compare(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
