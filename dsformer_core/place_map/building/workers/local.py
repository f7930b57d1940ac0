"""Workers that are processes of this machine."""

import os
import pickle
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from dsformer_core.cores import usable_cores
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import announce_untrained
from dsformer_core.place_map.building.describe import DescribedShard, Describer, ShardTask
from dsformer_core.place_map.building.workers.network import (
    MOST_LOSSES,
    Facts,
    Failure,
    Network,
    describe_task,
    lost_too_often,
    packed,
)
from dsformer_core.sources import Skipped

# Seconds that a worker has to end by itself once nobody needs it any more.
_PATIENCE = 10.0


class LocalWorkers(Describer):
    """Describes shards in processes of this machine, one network each. A context: the processes end with it.

    A process that is lost is replaced, and its shard described by another.

    Args:
        network: what each loads.
        workers: how many; None for one per GPU, or where there is none (or `device` is "cpu") one per core.
        device: "auto", "cpu" or "cuda"; the GPUs are dealt out.
        gpus_per_worker: with 0.5, two workers share a GPU; None for 1.

    Raises:
        UsageError: a number makes no sense, or the device is one GPU of several.
    """

    def __init__(
        self,
        network: Network,
        *,
        workers: int | None = None,
        device: str = "auto",
        gpus_per_worker: float | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers: there must be 1 or more")
        if gpus_per_worker is not None and not 0 < gpus_per_worker <= 1:
            raise UsageError(f"{gpus_per_worker} GPUs per worker: a network runs on one GPU, or on a part of it")
        self._network = network
        self._devices = _devices(device, workers, gpus_per_worker or 1.0)
        self._facts: Facts | None = None
        self._running: list[_Worker] = []
        self._lost_loading = 0

    def __enter__(self) -> "LocalWorkers":
        try:
            self._start_missing()
            while self._facts is None:
                self._hear()
        except BaseException:
            self._kill()
            raise
        if self._network.file is None:
            announce_untrained(self._network.model)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            for worker in self._running:
                worker.connection.close()
            for worker in self._running:
                # One that is still loading the network would only find out when it has.
                worker.process.join(_PATIENCE if worker.ready else 0)
        self._kill()

    def describe_shards(
        self,
        tasks: Iterable[ShardTask],
        *,
        on_described: Callable[[int], None],
        on_skipped: Callable[[Skipped], None],
    ) -> Generator[DescribedShard, None, None]:
        """See `Describer.describe_shards`."""
        queue = _Queue(tasks)
        try:
            self._start_missing()
            while True:
                for worker in self._running:
                    if worker.ready and worker.task is None:
                        worker.give(queue.next())
                if queue.empty and all(worker.task is None for worker in self._running):
                    return
                heard = self._hear()
                for task in heard.lost:
                    queue.put_back(task)
                # Before any of it is written: nobody waits for a disk.
                for worker in heard.free:
                    worker.give(queue.next())
                for shard, pictures in heard.described:
                    for skipped in shard.skipped:
                        on_skipped(skipped)
                    on_described(pictures)
                    yield shard
        except BaseException:
            self._kill()
            raise

    def _hear(self) -> "_Heard":
        """Waits for workers to say something; replaces those that are lost.

        Raises:
            DsformerError: the network failed, or workers are lost while they load it.
        """
        heard = _Heard()
        connections = {worker.connection: worker for worker in self._running}
        for ready in connection.wait(list(connections)):
            worker = connections[ready]  # type: ignore[index]  # what was given comes back
            said = worker.hear()
            if isinstance(said, Failure):
                raise said.error()
            if isinstance(said, Facts):
                self._facts = self._facts or said
                self._facts.check(said)
                self._facts.tell(self)
                worker.ready, self._lost_loading = True, 0
            elif isinstance(said, DescribedShard):
                assert worker.task is not None
                heard.described.append((said, len(worker.task.pictures)))
                worker.task = None
                heard.free.append(worker)
            else:
                self._bury(worker, heard)
        return heard

    def _bury(self, worker: "_Worker", heard: "_Heard") -> None:
        worker.process.join()
        self._running.remove(worker)
        if worker.task is not None:
            heard.lost.append(worker.task)
        elif not worker.ready:
            self._lost_loading += 1
            if self._lost_loading == MOST_LOSSES:
                code = worker.process.exitcode
                raise DsformerError(
                    f"{MOST_LOSSES} workers ended while they loaded {self._network.model} (exit status {code}): "
                    "give each more memory, with fewer of them"
                )
        self._start_missing()

    def _start_missing(self) -> None:
        for number, device in enumerate(self._devices):
            if all(worker.number != number for worker in self._running):
                self._running.append(_Worker.start(number, self._network, device))

    def _kill(self) -> None:
        for worker in self._running:
            worker.process.kill()
        for worker in self._running:
            worker.process.join()
            worker.connection.close()
        self._running.clear()


class _Queue:
    """Tasks that are to be given to workers, those of lost workers first.

    Attributes:
        empty: whether the last who asked got nothing.
    """

    def __init__(self, tasks: Iterable[ShardTask]) -> None:
        self._tasks = iter(tasks)
        self._again: deque[ShardTask] = deque()
        self._losses: Counter[int] = Counter()
        self.empty = False

    def next(self) -> ShardTask | None:
        task = self._again.popleft() if self._again else next(self._tasks, None)
        self.empty = task is None
        return task

    def put_back(self, task: ShardTask) -> None:
        """A worker was lost with it.

        Raises:
            DsformerError: too often.
        """
        self._losses[task.number] += 1
        if self._losses[task.number] == MOST_LOSSES:
            raise lost_too_often(task, MOST_LOSSES)
        self._again.append(task)
        self.empty = False


@dataclass(frozen=True)
class _Heard:
    """What workers said.

    Attributes:
        described: shards, with the number of their pictures.
        free: workers that wait for the next.
        lost: what those had in hand who are no more.
    """

    described: list[tuple[DescribedShard, int]] = field(default_factory=list)
    free: list["_Worker"] = field(default_factory=list)
    lost: list[ShardTask] = field(default_factory=list)


@dataclass(eq=False)
class _Worker:
    """One process, seen from the driver.

    Attributes:
        number: which of the devices it has.
        process: itself.
        connection: to it.
        ready: whether it has loaded the network.
        task: what it is describing.
    """

    number: int
    process: BaseProcess
    connection: Connection
    ready: bool = False
    task: ShardTask | None = None

    @classmethod
    def start(cls, number: int, network: Network, device: str) -> "_Worker":
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, network, device), daemon=True)
        with _interruption_for_the_driver_alone():
            process.start()
        # Its only other end is the process: when that is gone, reading says so.
        theirs.close()
        return cls(number, process, ours)

    def give(self, task: ShardTask | None) -> None:
        self.task = task
        if task is not None:
            content = packed(task)
            # One that has just been lost is noticed when it is heard.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.connection.send_bytes(content)

    def hear(self) -> "Facts | DescribedShard | Failure | None":
        """What it says; None where it is lost."""
        try:
            said: Facts | DescribedShard | Failure = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        return said


@contextmanager
def _interruption_for_the_driver_alone() -> Iterator[None]:
    """Processes that the block starts never get a Ctrl-C, which a terminal sends to all: the driver ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(driver: Connection, network: Network, device: str) -> None:
    """The life of a worker: loads the network, then describes a shard whenever it gets one."""
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    with suppress(EOFError, OSError):
        try:
            describer = network.open(device)
            driver.send(Facts.of(describer))
            while True:
                driver.send(describe_task(describer, driver.recv()))
        except DsformerError as error:
            driver.send(Failure(str(error), error.exit_status))
        except EOFError:
            raise
        except Exception:
            driver.send(Failure(traceback.format_exc(), None))


def _end_with_the_driver() -> None:
    """Leaves no worker behind, however the driver ended."""
    driver = parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def _devices(device: str, workers: int | None, gpus_per_worker: float) -> list[str]:
    """Where each worker's network computes."""
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device}: workers share what there is; choose auto, cpu or cuda")
    if device == "cuda" and not gpus:
        raise DsformerError("device cuda: PyTorch finds no CUDA GPU here; choose cpu or auto")
    if not gpus:
        return ["cpu"] * (workers or usable_cores())
    places = [f"cuda:{int(number * gpus_per_worker)}" for number in range(max(1, int(gpus / gpus_per_worker)))]
    return [places[number % len(places)] for number in range(workers or len(places))]
