"""Workers that are actors of a Ray cluster, on as many machines as it has."""

import logging
import os
import pickle
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import announce_untrained
from dsformer_core.place_map.building.describe import DescribedShard, Describer, Here, ShardTask
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

_TASK, _SAID = "task", "said"


class RayWorkers(Describer):
    """Describes shards with Ray Data, one actor with one network per GPU. A context: actors end with it.

    Workers read pictures from storage that all machines see under the same paths; the weights travel to them. An actor
    that is lost is replaced, and its shard described again.

    Args:
        network: what each loads.
        address: of the cluster, as `ray.init` takes it; None for $RAY_ADDRESS, or a Ray of its own on this machine.
        workers: how many; None for as many as the cluster's GPUs suffice for, or its cores where it has no GPU.
        device: "auto", "cpu" or "cuda".
        gpus_per_worker: with 0.5, two workers share a GPU; 0 for none; None for 1 where the cluster has any.

    Raises:
        UsageError: a number makes no sense.
    """

    def __init__(
        self,
        network: Network,
        *,
        address: str | None = None,
        workers: int | None = None,
        device: str = "auto",
        gpus_per_worker: float | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers: there must be 1 or more")
        if gpus_per_worker is not None and not 0 <= gpus_per_worker <= 1:
            raise UsageError(f"{gpus_per_worker} GPUs per worker: a network runs on one GPU, or on a part of it")
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device {device}: workers share what there is; choose auto, cpu or cuda")
        self._given = network
        self._address, self._workers = address, workers
        self._gpus = {"auto": gpus_per_worker, "cpu": 0.0, "cuda": gpus_per_worker or 1.0}[device]
        self._ours = False

    def __enter__(self) -> "RayWorkers":
        ray = _ray()
        try:
            with _ray_errors_in_words():
                self._connect(ray)
                self._network = ray.put(pickle.dumps(self._given.carried()))
                first = ray.remote(**self._resources, max_retries=MOST_LOSSES)(_facts).remote(self._network)
                said = pickle.loads(ray.get(first))
            if isinstance(said, Failure):
                raise said.error()
            said.tell(self)
        except BaseException:
            self._disconnect(ray)
            raise
        if self._given.file is None:
            announce_untrained(self._given.model)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._disconnect(_ray())

    def _connect(self, ray: Any) -> None:
        if not ray.is_initialized():
            # Ray takes SIGTERM for itself, and would tell its makers of everybody's builds.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            terminate = signal.getsignal(signal.SIGTERM)
            ray.init(
                address=self._address,
                include_dashboard=False if self._address is None and "RAY_ADDRESS" not in os.environ else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            self._ours = True
            if terminate is not None:
                signal.signal(signal.SIGTERM, terminate)
        found = ray.cluster_resources()
        gpus = self._gpus if self._gpus is not None else float(found.get("GPU", 0) > 0)
        fit = found.get("GPU", 0) / gpus if gpus else found.get("CPU", 0)
        if fit < 1:
            raise UsageError(f"the Ray cluster has {found.get('GPU', 0):g} GPUs: too few for {gpus:g} per worker")
        self._workers = self._workers or int(fit)
        self._resources = {"num_cpus": 1.0, "num_gpus": gpus}

    def _disconnect(self, ray: Any) -> None:
        if self._ours:
            ray.shutdown()
            self._ours = False

    def describe_shards(
        self,
        tasks: Iterable[ShardTask],
        *,
        on_described: Callable[[int], None],
        on_skipped: Callable[[Skipped], None],
    ) -> Generator[DescribedShard, None, None]:
        """See `Describer.describe_shards`."""
        import ray.data

        # One block per shard: a block is what Ray gives to an actor, and gives again where that is lost.
        sizes: dict[int, int] = {}
        blocks = []
        for task in tasks:
            sizes[task.number] = len(task.pictures)
            blocks.append(pa.table({_TASK: pa.array([packed(task)], pa.large_binary())}))
        if not blocks:
            return
        with _quiet(ray.data), _ray_errors_in_words():
            losses = ray.remote(num_cpus=0)(_Attempts).remote()
            described = ray.data.from_arrow(blocks).map_batches(
                _Actor,
                fn_constructor_args=(self._network, Facts.of(self), losses),
                batch_size=None,
                batch_format="pyarrow",
                concurrency=min(self._workers or 1, len(blocks)),
                **self._resources,
            )
            del blocks
            for batch in described.iter_batches(batch_size=None, batch_format="pyarrow"):
                for content in batch.column(_SAID):
                    said: DescribedShard | Failure = pickle.loads(content.as_buffer())
                    if isinstance(said, Failure):
                        raise said.error()
                    for skipped in said.skipped:
                        on_skipped(skipped)
                    on_described(sizes[said.number])
                    yield said


class _Actor:
    """A worker: what Ray Data makes one of per GPU and calls with one task after the other.

    Ray starts it again wherever it is lost, and gives it the same task again, as often as that takes.
    """

    def __init__(self, network: Any, facts: Facts, attempts: Any) -> None:
        self._attempts = attempts
        # What is raised here Ray would try again for ever.
        self._describer: Here | None = None
        self._failure: Failure | None = None
        try:
            self._describer = _opened(network)
            facts.check(Facts.of(self._describer))
        except Exception as error:
            self._failure = _failure(error)

    def __call__(self, tasks: pa.Table) -> pa.Table:
        return pa.table({_SAID: pa.array([self._answer(task.as_py()) for task in tasks[_TASK]], pa.large_binary())})

    def _answer(self, content: bytes) -> bytes:
        said: DescribedShard | Failure
        try:
            said = self._failure or self._described(content)
        except Exception as error:
            said = _failure(error)
        return pickle.dumps(said, pickle.HIGHEST_PROTOCOL)

    def _described(self, content: bytes) -> DescribedShard:
        import ray

        task: ShardTask = pickle.loads(content)
        if ray.get(self._attempts.begin.remote(task.number)) > MOST_LOSSES:
            raise lost_too_often(task, MOST_LOSSES)
        assert self._describer is not None
        return describe_task(self._describer, task)


class _Attempts:
    """An actor that outlives workers, and knows which shard they were lost with."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Counts that a shard is begun; says how often it was, this time included."""
        self._begun[number] += 1
        return self._begun[number]


def _facts(network: bytes) -> bytes:
    """What a worker says of the network."""
    try:
        return pickle.dumps(Facts.of(_opened(network)))
    except Exception as error:
        return pickle.dumps(_failure(error))


def _opened(network: Any) -> Here:
    import ray

    content = ray.get(network) if isinstance(network, ray.ObjectRef) else network
    return pickle.loads(content).open("cuda" if ray.get_gpu_ids() else "cpu")


def _failure(error: Exception) -> Failure:
    if isinstance(error, DsformerError):
        return Failure(f"on {os.uname().nodename}: {error}", error.exit_status)
    return Failure(traceback.format_exc(), None)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DsformerError(f"a Ray cluster needs Ray ({error}): pip install 'dsformer_ros[cluster]'") from error
    return ray


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Keeps Ray Data's own progress and plans off the terminal."""
    context = data.DataContext.get_current()
    before = context.enable_progress_bars, context.print_on_execution_start
    context.enable_progress_bars = context.print_on_execution_start = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before
        logger.setLevel(level)


@contextmanager
def _ray_errors_in_words() -> Iterator[None]:
    """Turns what Ray raises in the block, when it has tried often enough, into one line."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, ConnectionError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DsformerError(f"the Ray cluster gave up ({type(error).__name__}: {reason})") from error
