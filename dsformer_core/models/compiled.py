"""A network as code of its own for the batches it gets: torch.compile, and on CUDA one graph of kernels per batch size.

Compiling takes from half a minute to a few minutes the first time on a machine, and some of that in each process after.
A batch of one size is compiled once; one of at least half that size that was not compiled by itself is filled up to it.
Each size holds a copy of the weights as its code wants them, beside the original.
"""

import importlib.util
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from dsformer_core.errors import DsformerError

Forward = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""(B, 3, H, W) normalised float -> descriptors (B, D), and codes (B, 512) or None."""

_MOST_SIZES = 8
"""Of batches that are compiled; PyTorch's compiler leaves a ninth as it was, without a word (its recompile limit)."""

# Runs before a graph is captured, in which libraries choose their kernels and take their memory.
_WARM_UPS = 3

log = logging.getLogger(__name__)


class CompiledForward:
    """Stands for a network's `Forward`; safe between threads.

    Attributes:
        compile_seconds: what compiling has taken so far.
    """

    def __init__(self, forward: Forward, device: torch.device) -> None:
        """Compiles nothing yet: that happens at the first batch of each size.

        Args:
            forward: of a network whose weights will not change any more; called without gradients.
            device: where it computes.

        Raises:
            DsformerError: there is no compiler for the device's code on this machine.
        """
        self.compile_seconds = 0.0
        self._forward, self._device = forward, device
        self._compiles = device.type == "cpu" or importlib.util.find_spec("triton") is not None
        if device.type == "cpu":
            _require_cpp_compiler()
        elif not self._compiles:
            log.warning("optimize max: no triton here, so kernels stay PyTorch's own; only their launches are recorded")
        self._by_size: dict[int, Forward] = {}
        self._lock = threading.Lock()

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, H, W) normalised float -> descriptors (B, D), and codes (B, 512) or None."""
        count = len(images)
        with self._lock:
            size = self._size_for(count)
            if size not in self._by_size:
                self._by_size[size] = self._prepare(images)
            run = self._by_size[size]
        if size < count:
            parts = [self(part) for part in images.split(size)]
            their_codes = [codes for _, codes in parts if codes is not None]
            return torch.cat([descriptors for descriptors, _ in parts]), torch.cat(their_codes) if their_codes else None
        if size > count:
            images = torch.cat([images, images.new_zeros(size - count, *images.shape[1:])])
        descriptors, codes = run(images)
        return descriptors[:count], None if codes is None else codes[:count]

    def _size_for(self, count: int) -> int:
        """The size of batches in which so many pictures are computed."""
        larger = [size for size in self._by_size if size >= count]
        size = min(larger, default=count)
        if size <= 2 * count and larger:
            return size
        if len(self._by_size) < _MOST_SIZES:
            return count
        return size if larger else max(self._by_size)

    def _prepare(self, images: Tensor) -> Forward:
        start = time.perf_counter()
        run = self._forward
        if self._compiles:
            # Weights become constants of the code: folded, packed and laid out as its kernels want them.
            run = torch.compile(run, dynamic=False, options={"freezing": True})
        try:
            with warnings.catch_warnings():
                # The compiler's, about PyTorch's own code.
                warnings.simplefilter("ignore")
                run(images)
                if self._device.type == "cuda":
                    run = _RecordedKernels(run, images)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            # Its exceptions are of many kinds, by version and by stage, and mostly hundreds of lines long.
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise DsformerError(f"optimize max: compiling failed ({first.strip()}): choose optimize safe") from error
        seconds = time.perf_counter() - start
        self.compile_seconds += seconds
        log.info("compiled for batches of %d in %.1f s", len(images), seconds)
        return run


class _RecordedKernels:
    """A CUDA graph: all launches of one batch's kernels as one. Safe between threads, which take turns."""

    def __init__(self, forward: Forward, images: Tensor) -> None:
        self._lock = threading.Lock()
        with torch.cuda.device(images.device):
            self._images = images.clone()
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UPS):
                    forward(self._images)
            torch.cuda.current_stream().wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may go on copying pictures meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._results = forward(self._images)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        with self._lock, torch.cuda.device(images.device):
            self._images.copy_(images)
            self._graph.replay()
            descriptors, codes = self._results
            # The next batch overwrites them.
            return descriptors.clone(), None if codes is None else codes.clone()


def _require_cpp_compiler() -> None:
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise DsformerError(
            f"optimize max compiles C++ for a CPU, and {name} is not on this machine: install it (apt install g++), "
            "name another in CXX, or choose optimize safe"
        )
