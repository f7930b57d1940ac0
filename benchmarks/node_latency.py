"""How long an image message takes to become published hypotheses, and what the node adds to the unavoidable.

Examples:
  python benchmarks/node_latency.py
  python benchmarks/node_latency.py --pictures 300 --threads 1 --json node.json
  python benchmarks/node_latency.py --rate 30 --size 1280x720 --pictures 900     as a camera sends them

This process is the camera and the listener, the node is another; between them are DDS and two serialisations each way.
Times are medians in milliseconds; those of the stages are the node's own, of its last 200 answers. "Added" is all
but decoding, network and search. Weights are random: they do not change the time. With --rate pictures come whether or
not the last one was answered, and it ends with 1 where the 95th percentile of the latency is above 60 ms, or a picture
older than 100 ms was localized.
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

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CompressedImage

from dsformer_core.benchmark.scenes import made_up_scene
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
MOST_P95_MS, OLDEST_MS = 60.0, 100.0


def build_map(folder: Path, model: str) -> Path:
    rows = ["path,latitude,longitude"]
    for number in range(REFERENCES):
        (folder / f"{number}.jpg").write_bytes(made_up_scene(number, (640, 480)))
        rows.append(f"{number}.jpg,{55.7 + number * 1e-4:.6f},13.2")
    (folder / "drive.csv").write_text("\n".join(rows))
    directory = folder / "benchmark.map"
    build_place_map(open_source(folder / "drive.csv"), Extractor(model, "untrained"), directory)
    return directory


@contextmanager
def localizer(place_map: Path, weights: str, threads: int) -> Iterator[None]:
    parameters = {
        "map": str(place_map),
        "weights": weights,
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


def measure(node: Node, pictures: int, size: tuple[int, int], rate: float | None) -> dict[str, Any]:
    """Shows pictures one at a time and waits for each answer, or at a rate whatever comes back."""
    answered: dict[int, float] = {}
    stages: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if TOPIC in status.name:
                stages.update({value.key: value.value for value in status.values})

    def hear(number: int) -> None:
        answered[number] = time.perf_counter()

    publisher = node.create_publisher(CompressedImage, TOPIC, 10)
    node.create_subscription(PoseArray, f"{NODE}/hypotheses", lambda m: hear(m.header.stamp.nanosec), 10)
    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    deadline = time.monotonic() + 120
    while not (publisher.get_subscription_count() and node.count_publishers(f"{NODE}/hypotheses")):
        rclpy.spin_once(node, timeout_sec=0.1)
        if time.monotonic() > deadline:
            sys.exit("the node did not come up")
    time.sleep(1)

    shown: list[float] = []
    messages = [CompressedImage(format="jpeg", data=made_up_scene(1000 + number, size)) for number in range(16)]
    begin = time.perf_counter()
    for number in range(pictures):
        message = messages[number % len(messages)]
        message.header.stamp.sec, message.header.stamp.nanosec = 1, number
        if rate is not None:
            while (left := begin + number / rate - time.perf_counter()) > 0:
                rclpy.spin_once(node, timeout_sec=left)
        shown.append(time.perf_counter())
        publisher.publish(message)
        if rate is None:
            while number not in answered and time.perf_counter() - shown[-1] < 5:
                rclpy.spin_once(node, timeout_sec=1)
            time.sleep(PAUSE)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)

    totals = [1e3 * (when - shown[number]) for number, when in answered.items()]
    medians = {name: float(stages[f"{name} p50 [ms]"]) for name in STAGES}
    result = {
        "stages_ms": medians,
        "total_ms": statistics.median(totals),
        "total_p95_ms": float(np.percentile(totals, 95)),
        "oldest_localized_ms": float(stages["oldest localized [ms]"]),
        "answered": len(totals),
        "pictures": pictures,
    }
    if rate is None:
        # Only while every picture takes about the same do medians add up.
        result["transport_ms"] = result["total_ms"] - sum(medians.values())
        result["added_ms"] = result["total_ms"] - sum(medians[name] for name in UNAVOIDABLE)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=150, help="pictures to show (default: %(default)s)")
    parser.add_argument("--model", default="dsformer_tiny", help="network (default: %(default)s)")
    parser.add_argument("--weights", default="untrained", help="or a file exported of them (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network (default: as the node's)")
    parser.add_argument("--rate", type=float, help="pictures per second (default: the next one after each answer)")
    parser.add_argument("--size", default="640x480", help="of a picture, in pixels (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))

    with tempfile.TemporaryDirectory() as folder, private_domain() as domain:
        os.environ |= {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        place_map = build_map(Path(folder), arguments.model)
        rclpy.init()
        node = rclpy.create_node("node_latency")
        try:
            with localizer(place_map, arguments.weights, arguments.threads):
                result = measure(node, arguments.pictures, (width, height), arguments.rate)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()

    table = Table(
        title=f"{arguments.model}, threads {arguments.threads or 'auto'}, {os.cpu_count()} cores, {arguments.size} JPEG"
    )
    table.add_column("stage")
    table.add_column("median ms", justify="right")
    for name, value in result["stages_ms"].items():
        table.add_row(name, f"{value:.2f}")
    table.add_section()
    table.add_row("image message to hypotheses", f"{result['total_ms']:.2f}")
    table.add_row("the same, 95th percentile", f"{result['total_p95_ms']:.2f}")
    if "added_ms" in result:
        table.add_row("of which DDS and serialisation", f"{result['transport_ms']:.2f}")
        table.add_row("of which added by the node and DDS", f"{result['added_ms']:.2f}")
    table.add_row("oldest picture when its turn came", f"{result['oldest_localized_ms']:.2f}")
    table.add_row("pictures answered", f"{result['answered']} of {result['pictures']}")
    Console().print(table)
    if arguments.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
        settings = {
            "model": arguments.model,
            "weights": Path(arguments.weights).name,
            "threads": arguments.threads,
            "size": arguments.size,
            "rate": arguments.rate,
        }
        arguments.json.write_text(json.dumps({**settings, **result, **machine}, indent=2) + "\n")
    if arguments.rate is not None and (
        result["total_p95_ms"] > MOST_P95_MS or result["oldest_localized_ms"] > OLDEST_MS
    ):
        sys.exit(f"above {MOST_P95_MS:.0f} ms at the 95th percentile, or a picture above {OLDEST_MS:.0f} ms localized")


if __name__ == "__main__":
    main()
