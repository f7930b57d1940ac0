"""Runs configurations, each in a fresh process; what it is compared with runs in another, and the two take turns."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dsformer_core.benchmark.configuration import Configuration
from dsformer_core.benchmark.machine import describe_machine
from dsformer_core.benchmark.report import Measured
from dsformer_core.errors import DsformerError


@dataclass(frozen=True)
class Limits:
    """When a configuration has been measured enough.

    Attributes:
        repeats: batches.
        seconds: after which it ends all the same, once there are three.
    """

    repeats: int = 50
    seconds: float = 60.0

    def left(self, done: int, start: float) -> bool:
        """Whether to go on."""
        return done < self.repeats and (done < 3 or time.monotonic() - start < self.seconds)


def measure(
    configurations: Sequence[Configuration],
    *,
    limits: Limits = Limits(),
    against: bool = False,
    place_map: Path | None = None,
    pictures: Sequence[Path] = (),
    on_row: Callable[[Measured], None] = lambda _: None,
    on_progress: Callable[[Configuration, int, int], None] = lambda configuration, done, total: None,
) -> Measured:
    """Measures configurations one after the other.

    Args:
        configurations: what to measure.
        limits: how long.
        against: whether the straightforward formulation (`Configuration.eager`) takes turns with each.
        place_map: measure the way of a picture file to hypotheses in this map, by stage.
        pictures: files for that; made-up ones of 1280x720 where there are none.
        on_row: called with all so far after each configuration.
        on_progress: called with a configuration, how many of its batches are done, and of how many, when it begins and
            after each; once time is up or it failed, it is of no more than were done.

    Returns:
        A row each; those that could not be run have an "error".
    """
    found = Measured(describe_machine(), [])
    for configuration in configurations:
        told = partial(on_progress, configuration)
        told(0, limits.repeats)
        try:
            row = _measured(configuration, limits, against, place_map, pictures, told)
        except DsformerError as error:
            row = {**configuration.to_dict(), "error": str(error)}
        told(row.get("repeats", 0), row.get("repeats", 0))
        found = replace(found, rows=[*found.rows, row])
        on_row(found)
    return found


def _measured(
    configuration: Configuration,
    limits: Limits,
    against: bool,
    place_map: Path | None,
    pictures: Sequence[Path],
    told: Callable[[int, int], None],
) -> dict[str, Any]:
    wanted = [configuration]
    # A map refuses random weights; without one they take as long, and are on every machine.
    straightforward = configuration.eager("auto" if place_map else "untrained")
    if against and configuration != straightforward:
        wanted.append(straightforward)
    asked = {"map": str(place_map), "pictures": [str(path) for path in pictures]} if place_map else {}
    with ExitStack() as stack:
        workers, begun = [], []
        for one in wanted:
            ask = stack.enter_context(_worker(one.threads))
            begun.append(ask({"load": vars(one), **asked}))
            workers.append(ask)
        runs: list[list[dict[str, float]]] = [[] for _ in workers]
        answers: list[dict[str, Any]] = [{} for _ in workers]
        start = time.monotonic()
        while limits.left(len(runs[0]), start):
            for number, ask in enumerate(workers):
                answers[number] = ask({"run": 1})
                runs[number] += answers[number].pop("runs")
            told(len(runs[0]), limits.repeats)
    row = {
        **configuration.to_dict(),
        **begun[0],
        "startup_s": begun[0]["load_s"] + begun[0]["first_s"],
        **_statistics(runs[0], configuration.batch if place_map is None else 1),
        **answers[0],
    }
    if len(runs) > 1:
        eager = _statistics(runs[1], configuration.batch if place_map is None else 1)
        row["eager"] = {"precision": "float32", "optimize": "off", **begun[1], **eager, **answers[1]}
        row["times_as_fast"] = eager["p50_ms"] / row["p50_ms"]
    return row


def _statistics(runs: Sequence[dict[str, float]], pictures: int) -> dict[str, Any]:
    """Of seconds of batches: milliseconds, pictures a second, and medians of the stages."""
    total = np.array([run["total"] for run in runs])
    p50, p95, p99 = (float(value) for value in np.percentile(total, (50, 95, 99)) * 1e3)
    found: dict[str, Any] = {
        "repeats": len(total),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "pictures_per_s": pictures * len(total) / float(total.sum()),
    }
    stages = {
        name: {f"p{share}_ms": float(np.percentile([run[name] for run in runs], share) * 1e3) for share in (50, 95)}
        for name in runs[0]
        if name not in ("total", "device")
    }
    if "device" in runs[0]:
        found["device_p50_ms"] = float(np.median([run["device"] for run in runs]) * 1e3)
    return found | ({"stages": stages} if stages else {})


Ask = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def _worker(threads: int) -> Iterator[Ask]:
    """A fresh process that runs one configuration; it ends with the block."""
    environment = {
        # As the node waits.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-m", "dsformer_core.benchmark.worker"]
    # A session of its own: the Ctrl-C that ends a benchmark is dealt with here.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        try:
            print(json.dumps(request), file=stdin, flush=True)
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise DsformerError(f"the process that was measured ended with status {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DsformerError(answer["error"])
        return answer

    try:
        yield ask
    finally:
        process.kill()
        process.wait()
        stdout.close()
        with suppress(BrokenPipeError):
            stdin.close()
