"""Counts and times of a running node, and the `/diagnostics` messages made from them.

As diagnostic_updater has them: once per second on the absolute topic, names are "<node>: <part>", a
hardware_id is always given, and levels mean OK (works), WARN (works, look at it), ERROR (does not work), STALE (what
was said is old).
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from resource import getpagesize

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.node import Node

from dsformer_ros.engine import Engine
from dsformer_ros.images import libraries
from dsformer_ros.parameters import Settings

# Answers over which percentiles are taken, and seconds over which rates are.
_ANSWERS = 200
_RATE_WINDOW = 10.0

HARDWARE_ID = "none"
"""What diagnostic_updater wants from a program that is no driver of a device; empty, it would warn."""

STAGES = ("queue", "decode", "extract", "search", "localize", "publish")
"""Stages of an answer inside the node, in their order; together they make the latency."""


def diagnostic_name(node: Node) -> str:
    """What names of diagnostics begin with: the node's name, in a namespace its full name.

    diagnostic_updater leaves the namespace out unless `use_fqn` is set; robots side by side would then overwrite each
    other's entries.
    """
    return node.get_name() if node.get_namespace() == "/" else node.get_fully_qualified_name()


class CameraStatistics:
    """What happened to the pictures of one camera. Safe between threads."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._arrivals: deque[float] = deque()
        self._seconds: deque[dict[str, float]] = deque(maxlen=_ANSWERS)
        self._stamp_lag = 0.0
        self._oldest = 0.0

    def received(self, now: float, stamp_lag: float) -> None:
        """A picture came, whose stamp lies `stamp_lag` seconds behind the clock."""
        with self._lock:
            self._counts["received"] += 1
            self._arrivals.append(now)
            self._stamp_lag = stamp_lag

    def count(self, what: str) -> None:
        """A picture was "dropped" (a newer one came first, or it was too old), "skipped" (not wanted) or "unusable"."""
        with self._lock:
            self._counts[what] += 1

    def begun(self, age: float) -> None:
        """A picture of that age, in seconds, is being localized."""
        with self._lock:
            self._oldest = max(self._oldest, age)

    def answered(self, seconds: dict[str, float]) -> None:
        """A picture was answered; `seconds` has every stage of `STAGES`."""
        with self._lock:
            self._counts["answered"] += 1
            self._seconds.append(seconds)

    def status(self, node_name: str, settings: Settings, why_silent: str | None, paused: str) -> DiagnosticStatus:
        """One camera's entry in `/diagnostics`.

        Args:
            node_name: what names of diagnostics begin with.
            settings: for the limits.
            why_silent: None while its pictures come.
            paused: why nobody's can, '' while time goes on.
        """
        now = time.monotonic()
        with self._lock:
            while self._arrivals and now - self._arrivals[0] > _RATE_WINDOW:
                self._arrivals.popleft()
            arrivals, counts, seconds = list(self._arrivals), self._counts.copy(), list(self._seconds)
            lag, oldest = self._stamp_lag, self._oldest
        level, message = DiagnosticStatus.OK, "pictures come"
        if why_silent is not None and paused:
            level, message = DiagnosticStatus.STALE, paused
        elif why_silent is not None:
            level, message = DiagnosticStatus.ERROR, why_silent
        elif abs(lag) > settings.max_stamp_lag:
            level = DiagnosticStatus.WARN
            message = f"stamps are {lag:.1f} s behind the clock: is use_sim_time right, do the clocks agree?"
        values = {
            "rate [Hz]": f"{_rate(arrivals):.2f}",
            **{what: str(counts[what]) for what in ("received", "answered", "dropped", "skipped", "unusable")},
            "stamp lag [s]": f"{lag:.3f}",
            "oldest localized [ms]": f"{1e3 * oldest:.1f}",
            **_latencies(seconds),
        }
        return entry(level, f"{node_name}: camera {self.topic}", message, values)


class LastError:
    """The most recent failure, for people who come later."""

    def __init__(self) -> None:
        self._message, self._when = "", 0.0

    def set(self, message: str) -> None:
        """Remembers one line."""
        self._message, self._when = message, time.monotonic()

    def __str__(self) -> str:
        return f"{self._message} ({time.monotonic() - self._when:.0f} s ago)" if self._message else "none"


def node_status(node_name: str, state: str, engine: Engine | None, last_error: LastError) -> DiagnosticStatus:
    """The node's own entry in `/diagnostics`."""
    values = {"lifecycle state": state, "last error": str(last_error), "memory [MiB]": f"{_resident_mib():.0f}"}
    level, message = DiagnosticStatus.OK, state
    if engine is None:
        level, message = DiagnosticStatus.WARN, f"{state}: no map is loaded"
        return entry(level, f"{node_name}: node", message, values)
    place_map, extractor = engine.place_map, engine.extractor
    values |= {
        "map": f"{place_map.name} ({place_map.directory})",
        "references": str(place_map.count),
        "model": extractor.model_name,
        "weights": f"{extractor.weights} {extractor.weights_sha256[:12]}",
        "device": str(extractor.device),
        "precision": extractor.precision,
        "optimize": extractor.optimize,
        "decoding": libraries(),
    }
    if extractor.device.type == "cuda":
        import torch

        values["GPU memory [MiB]"] = f"{torch.cuda.memory_allocated(extractor.device) / 2**20:.0f}"
    if extractor.weights == "untrained":
        level, message = DiagnosticStatus.WARN, f"{state}, with UNTRAINED weights: answers mean nothing"
    return entry(level, f"{node_name}: node", message, values)


def entry(level: bytes, name: str, message: str, values: dict[str, str]) -> DiagnosticStatus:
    """One part's entry in `/diagnostics`."""
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=HARDWARE_ID, values=pairs)


def _rate(arrivals: Sequence[float]) -> float:
    return (
        (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 and arrivals[-1] > arrivals[0] else 0.0
    )


def _latencies(seconds: Iterable[dict[str, float]]) -> dict[str, str]:
    table = np.array([[stages[name] for name in STAGES] for stages in seconds]) * 1e3
    if not len(table):
        return {}
    total = table.sum(axis=1)
    medians = dict(zip(STAGES, np.median(table, axis=0), strict=True))
    return {
        "latency p50 [ms]": f"{np.median(total):.1f}",
        "latency p95 [ms]": f"{np.percentile(total, 95):.1f}",
        **{f"{name} p50 [ms]": f"{median:.2f}" for name, median in medians.items()},
    }


def _resident_mib() -> float:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * getpagesize() / 2**20 if statm.is_file() else 0.0
