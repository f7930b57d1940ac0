"""The process that runs one configuration and nothing else: `python -m dsformer_core.benchmark.worker`.

It is told as JSON lines on stdin, and answers each with one on stdout: {"load": configuration, "map": directory,
"pictures": files} first, then {"run": times} as often as wanted. What cannot be done is answered with {"error": why}.
"""

import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor

STAGES = ("decode", "prepare", "network", "search", "localize")
"""From a picture file in memory to hypotheses."""


class NetworkRun:
    """Pictures of the network's size, in memory, become descriptors in memory."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        import numpy as np

        self.extractor = load(configuration)
        height, width = self.extractor.preprocessing.size
        batch = configuration["batch"]
        self._pictures = list(np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8))

    def run(self) -> dict[str, float]:
        """Seconds of one batch, and on CUDA those of the device."""
        start = time.perf_counter()
        with _DeviceClock(self.extractor) as device:
            # Returns when descriptors are on the host: no GPU is still at work.
            self.extractor.describe(self._pictures, batch_size=len(self._pictures))
        return {"total": time.perf_counter() - start, **device.seconds}


class StagesRun:
    """Picture files in memory become hypotheses in a map, stage by stage."""

    def __init__(self, configuration: dict[str, Any], place_map: str, pictures: list[str]) -> None:
        from dsformer_core.benchmark.scenes import made_up_scene
        from dsformer_core.network_input import NetworkInput
        from dsformer_core.place_map import PlaceMap

        self.extractor = load(configuration)
        self._input = NetworkInput(self.extractor.preprocessing, self.extractor.device)
        self._map = PlaceMap.open(place_map)
        self._map.check_model(self.extractor.model_name, self.extractor.weights_sha256)
        self._map.search_on(str(self.extractor.device))
        self._files = [Path(path).read_bytes() for path in pictures] or [made_up_scene(seed) for seed in range(8)]
        self._turn = 0

    def run(self) -> dict[str, float]:
        """Seconds of each of `STAGES`, and of all together."""
        from dsformer_core.localization import LocalizationConfig, judge, localize
        from dsformer_core.pictures import decode_picture

        data = self._files[self._turn % len(self._files)]
        self._turn += 1
        config = LocalizationConfig()
        times = [time.perf_counter()]
        picture = decode_picture(data, "picture", at_least=self.extractor.decode_size)
        times.append(time.perf_counter())
        ready = self._input.ready(picture, "picture")
        times.append(time.perf_counter())
        described = self.extractor.describe([ready])
        times.append(time.perf_counter())
        matches = self._map.search(described, k=config.top_k)
        times.append(time.perf_counter())
        judge(localize(matches[0], self._map, config), config)
        times.append(time.perf_counter())
        stages = {name: end - start for name, start, end in zip(STAGES, times, times[1:], strict=False)}
        return {"total": times[-1] - times[0], **stages}


class _DeviceClock:
    """Seconds between two CUDA events, where the network is on a GPU."""

    def __init__(self, extractor: "Extractor") -> None:
        self.seconds: dict[str, float] = {}
        self._on_gpu = extractor.device.type == "cuda"

    def __enter__(self) -> "_DeviceClock":
        if self._on_gpu:
            import torch

            self._start, self._end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self._start.record()
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_gpu:
            self._end.record()
            self._end.synchronize()
            self.seconds["device"] = self._start.elapsed_time(self._end) / 1e3


def load(configuration: dict[str, Any]) -> "Extractor":
    """The configuration's extractor."""
    from dsformer_core.extractor import Extractor

    names = ("device", "precision", "threads", "optimize", "runtime")
    chosen = {name: configuration[name] for name in names}
    return Extractor(configuration["model"], configuration["weights"], **chosen)


def memory(extractor: "Extractor") -> dict[str, float]:
    """Most memory that the process has had, and on CUDA what PyTorch took of the GPU's, MiB."""
    found = {"peak_mib": _peak_mib()}
    if extractor.device.type == "cuda":
        import torch

        found["gpu_peak_mib"] = torch.cuda.max_memory_allocated(extractor.device) / 2**20
        found["gpu_reserved_mib"] = torch.cuda.max_memory_reserved(extractor.device) / 2**20
    return found


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage's, it does not count what the process was forked from.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _answer(request: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    if "load" in request:
        start = time.perf_counter()
        import dsformer_core.extractor  # noqa: F401

        imported, imports_mib = time.perf_counter() - start, _peak_mib()
        start = time.perf_counter()
        place_map = request.get("map")
        state["run"] = (
            StagesRun(request["load"], place_map, request["pictures"]) if place_map else NetworkRun(request["load"])
        )
        loaded = time.perf_counter() - start
        start = time.perf_counter()
        state["run"].run()
        extractor = state["run"].extractor
        return {
            "import_s": imported,
            "load_s": loaded,
            "first_s": time.perf_counter() - start,
            "imports_mib": imports_mib,
            "runtime": extractor.runtime,
            "precision": extractor.precision,
            "optimize": extractor.optimize,
            "device": str(extractor.device),
        }
    runs = [state["run"].run() for _ in range(request["run"])]
    return {"runs": runs, **memory(state["run"].extractor)}


def main() -> None:
    """Serves requests until stdin ends."""
    from dsformer_core.errors import DsformerError

    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    state: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line), state)
        except DsformerError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(1)
