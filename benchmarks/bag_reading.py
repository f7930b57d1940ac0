"""How fast a recording becomes pictures with positions, against its own length and against plain reading by rosbags.

Examples:
  python benchmarks/bag_reading.py
  python benchmarks/bag_reading.py --speed 1.5 --threads 1 --repeats 5 --json bag_reading.json

A minute of 1280x720 JPEGs at 10 Hz and of fixes at 5 Hz is written by rosbags, as SQLite and as MCAP. Reading it is
what `dsformer map build` does before the network: `scan` reads every message, and `load` decodes the pictures that are
kept, one every two metres, in threads. Plain reading only iterates over all messages with rosbags and looks into none.
They take turns. Pictures have the spectrum of photographs, so that their JPEGs are as large and take as long to decode
as those of streets. Files are in the page cache: no disk is measured.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from training_data import photograph

from dsformer_core.sources import SourceOptions, open_source
from dsformer_core.sources.bags.frames import shared_frames
from dsformer_core.sources.options import CameraYaw

SIZE = (720, 1280)
SECONDS, IMAGE_RATE, FIX_RATE = 60, 10, 5
WANTED = 20
START = 1_700_000_000
METRES_PER_DEGREE = 62_875.0  # of longitude, at the latitude of the drive
# What a network of 320x320 asks for.
AT_LEAST = (640, 640)
DISTINCT = 20

AHEAD = SourceOptions(camera_yaws=(CameraYaw("", 0.0),))

console = Console()


def write_bag(path: Path, plugin: StoragePlugin, jpegs: list[bytes], speed: float) -> None:
    """A drive due east."""
    store = get_typestore(Stores.LATEST)
    types = {name.rpartition("/")[2]: kind for name, kind in store.types.items() if "/" in name}

    def header(moment: int) -> Any:
        return types["Header"](types["Time"](*divmod(moment, 10**9)), "front")

    with Writer(path, version=9, storage_plugin=plugin) as writer:
        image_type, fix_type = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/NavSatFix"
        images = writer.add_connection("/front/image/compressed", image_type, typestore=store)
        fixes = writer.add_connection("/fix", fix_type, typestore=store)
        for number in range(SECONDS * IMAGE_RATE + 1):
            moment = START * 10**9 + number * 10**9 // IMAGE_RATE
            if number % (IMAGE_RATE // FIX_RATE) == 0:
                longitude = 13.2 + speed * number / IMAGE_RATE / METRES_PER_DEGREE
                status = types["NavSatStatus"](0, 1)
                fix = types["NavSatFix"](header(moment), status, 55.7, longitude, 80.0, np.eye(3).ravel(), 2)
                writer.write(fixes, moment, store.serialize_cdr(fix, fix_type))
            data = np.frombuffer(jpegs[number % DISTINCT], np.uint8)
            image = types["CompressedImage"](header(moment), "jpeg", data)
            writer.write(images, moment, store.serialize_cdr(image, image_type))


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def iterate(path: Path) -> int:
    with AnyReader([path]) as reader:
        return sum(len(data) for _, _, data in reader.messages())


def measure(path: Path, threads: int, repeats: int) -> dict[str, Any]:
    taken: dict[str, list[float]] = {"plain": [], "scan": [], "load": [], "CPU": []}
    with ThreadPoolExecutor(threads) as executor:
        for _ in range(repeats):
            plain, size = seconds(lambda: iterate(path))
            shared_frames(path.absolute()).close()
            before = time.process_time()
            scan, (pictures, _) = seconds(lambda: open_source(path, options=AHEAD).scan())
            load, shapes = seconds(
                lambda found=pictures: list(executor.map(lambda one: one.load(at_least=AT_LEAST).shape, found))
            )
            assert set(shapes) == {(*SIZE, 3)}
            cpu = time.process_time() - before
            for name, value in (("plain", plain), ("scan", scan), ("load", load), ("CPU", cpu)):
                taken[name].append(value)
    median = {name: statistics.median(values) for name, values in taken.items()}
    totals = [scan + load for scan, load in zip(taken["scan"], taken["load"], strict=True)]
    return {
        "storage": path.name,
        "MB": size / 1e6,
        "kept of 601": len(pictures),
        "plain reading s": median["plain"],
        "scan s": median["scan"],
        "load s": median["load"],
        "CPU s": median["CPU"],
        "x real time": SECONDS / statistics.median(totals),
        "slowest x real time": SECONDS / max(totals),
        "x plain reading": statistics.median(a / b for a, b in zip(totals, taken["plain"], strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", type=float, default=5.0, help="of the vehicle, m/s (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="that decode (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    jpegs = []
    for _ in range(DISTINCT):
        buffer = BytesIO()
        photograph(random, SIZE).save(buffer, "JPEG", quality=90)
        jpegs.append(buffer.getvalue())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for plugin in (StoragePlugin.SQLITE3, StoragePlugin.MCAP):
            path = Path(name) / plugin.name.lower()
            write_bag(path, plugin, jpegs, arguments.speed)
            rows.append(measure(path, arguments.threads, arguments.repeats))
    speed = f"{arguments.speed:g} m/s, {arguments.threads} threads"
    table = Table(title=f"{SECONDS} s of {SIZE[1]}x{SIZE[0]} at {IMAGE_RATE} Hz and fixes, {speed}")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "storage" else "right")
    for row in rows:
        cells = (str(v) if isinstance(v, str | int) else f"{v:.1f}" if v >= 10 else f"{v:.2f}" for v in row.values())
        table.add_row(*cells)
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    slow = [row["storage"] for row in rows if row["x real time"] < WANTED]
    if slow:
        sys.exit(f"{' and '.join(slow)}: slower than {WANTED} times real time")


if __name__ == "__main__":
    main()
