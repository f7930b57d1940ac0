"""How long an image message takes to become published hypotheses, and what the node adds to the unavoidable.

Examples:
  python benchmarks/node_latency.py
  python benchmarks/node_latency.py --pictures 300 --threads 2 --json node.json

This process is the camera (640x480 JPEGs) and the listener, the node is another; between them are DDS and two
serialisations each way. Times are medians in milliseconds. "Added" is everything but decoding, network and search.
Weights are random: they do not change the time.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CompressedImage

from dsformer_core.extractor import Extractor
from dsformer_core.place_map import build_place_map
from dsformer_core.sources import open_source
from dsformer_ros.diagnostics import STAGES
from dsformer_ros.domains import private_domain

TOPIC = "/benchmark/image/compressed"
NODE = "/dsformer_localizer"
UNAVOIDABLE = ("decode", "extract", "search")
REFERENCES = 64
PAUSE = 0.05


def scene(seed: int) -> bytes:
    """A 640x480 JPEG of about 60 kB, as a camera makes of a street."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (480, 640, 3), np.uint8), (0, 0), 1.2)
    for _ in range(40):
        x, y = int(rng.integers(0, 640)), int(rng.integers(0, 480))
        cv2.rectangle(picture, (x, y), (x + 60, y + 90), tuple(int(v) for v in rng.integers(0, 255, 3)), -1)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def build_map(folder: Path, model: str) -> Path:
    rows = ["path,latitude,longitude"]
    for number in range(REFERENCES):
        (folder / f"{number}.jpg").write_bytes(scene(number))
        rows.append(f"{number}.jpg,{55.7 + number * 1e-4:.6f},13.2")
    (folder / "drive.csv").write_text("\n".join(rows))
    directory = folder / "benchmark.map"
    build_place_map(open_source(folder / "drive.csv"), Extractor(model, "untrained"), directory)
    return directory


@contextmanager
def localizer(place_map: Path, threads: int) -> Iterator[None]:
    parameters = {
        "map": str(place_map),
        "weights": "untrained",
        "cameras": f"[{TOPIC}]",
        "threads": str(threads),
        "device": "cpu",
        "autostart": "true",
    }
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "dsformer_ros.localizer_node", "--ros-args", "--log-level", "error", *given]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def measure(node: Node, pictures: int) -> dict[str, Any]:
    """Shows pictures one at a time and waits for each answer."""
    answered: list[int] = []
    stages: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if TOPIC in status.name:
                stages.update({value.key: value.value for value in status.values})

    publisher = node.create_publisher(CompressedImage, TOPIC, 10)
    node.create_subscription(PoseArray, f"{NODE}/hypotheses", lambda m: answered.append(m.header.stamp.nanosec), 10)
    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    deadline = time.monotonic() + 120
    while not (publisher.get_subscription_count() and node.count_publishers(f"{NODE}/hypotheses")):
        rclpy.spin_once(node, timeout_sec=0.1)
        if time.monotonic() > deadline:
            sys.exit("the node did not come up")
    time.sleep(1)

    totals = []
    files = [scene(1000 + number) for number in range(16)]
    for number in range(pictures):
        message = CompressedImage(format="jpeg", data=files[number % len(files)])
        message.header.stamp.sec, message.header.stamp.nanosec = 1, number
        start = time.perf_counter()
        publisher.publish(message)
        while number not in answered and time.perf_counter() - start < 5:
            rclpy.spin_once(node, timeout_sec=1)
        if number in answered:
            totals.append(1e3 * (time.perf_counter() - start))
        time.sleep(PAUSE)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)

    medians = {name: float(stages[f"{name} p50 [ms]"]) for name in STAGES}
    total = statistics.median(totals)
    return {
        "stages_ms": {"transport": total - sum(medians.values()), **medians},
        "total_ms": total,
        "total_p95_ms": float(np.percentile(totals, 95)),
        "added_ms": total - sum(medians[name] for name in UNAVOIDABLE),
        "answered": len(totals),
        "pictures": pictures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=150, help="pictures to show (default: %(default)s)")
    parser.add_argument("--model", default="dsformer_tiny", help="network (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the network (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, private_domain() as domain:
        os.environ |= {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        place_map = build_map(Path(folder), arguments.model)
        rclpy.init()
        node = rclpy.create_node("node_latency")
        try:
            with localizer(place_map, arguments.threads):
                result = measure(node, arguments.pictures)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()

    table = Table(title=f"{arguments.model}, {arguments.threads} thread(s), {os.cpu_count()} cores, 640x480 JPEG")
    table.add_column("stage")
    table.add_column("median ms", justify="right")
    for name, value in result["stages_ms"].items():
        table.add_row(name, f"{value:.2f}")
    table.add_section()
    table.add_row("image message to hypotheses", f"{result['total_ms']:.2f}")
    table.add_row("of which added by the node and DDS", f"{result['added_ms']:.2f}")
    Console().print(table)
    if arguments.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
        settings = {"model": arguments.model, "threads": arguments.threads}
        arguments.json.write_text(json.dumps({**settings, **result, **machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
