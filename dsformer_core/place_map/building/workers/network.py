"""The network that every worker loads, and how what a worker says comes back to the driver."""

import logging
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dsformer_core.arithmetic import TORCH, Arithmetic
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import UNTRAINED, Extractor
from dsformer_core.models import default_weights, named_weights, require_weights
from dsformer_core.models.inference import check_optimize
from dsformer_core.place_map.building.describe import DescribedShard, Describer, Here, ShardTask
from dsformer_core.sources import Skipped

# How often a worker may be lost with a shard in hand before that shard is what kills workers.
MOST_LOSSES = 3


@dataclass(frozen=True)
class Network:
    """One network, and how a worker runs it.

    Attributes:
        model: one of `list_models()`.
        label: what the weights are, for people.
        file: with the weights; None for random ones.
        content: of that file, for machines that do not have it; None where every worker can read it.
        precision: as for `Extractor`.
        optimize: as for `Extractor`.
        batch_size: pictures that enter the network at a time.
        decoders: threads of each worker that decode.
        threads: CPU threads of each worker's network.
    """

    model: str
    label: str
    file: Path | None
    content: bytes | None = None
    precision: str = "auto"
    optimize: str = "safe"
    batch_size: int = 8
    decoders: int = 2
    threads: int = 1

    @classmethod
    def find(
        cls,
        model: str,
        weights: str | Path | None = "auto",
        *,
        precision: str = "auto",
        optimize: str = "safe",
        batch_size: int = 8,
        decoders: int = 2,
        threads: int = 1,
    ) -> "Network":
        """Finds the weights on this machine.

        Args:
            model: one of `list_models()`.
            weights: as for `Extractor`.
            precision: as above.
            optimize: as above.
            batch_size: as above.
            decoders: as above.
            threads: as above.

        Raises:
            UsageError: there is no such model, weights or optimization, or a number is below 1.
            DsformerError: the weights are not on this machine; the message says how to get them.
        """
        for name, value in (("batch_size", batch_size), ("decoders", decoders), ("threads", threads)):
            if value < 1:
                raise UsageError(f"{name} is {value}: it must be 1 or more")
        label, file = UNTRAINED, None
        if weights is not None and str(weights) != UNTRAINED:
            chosen = default_weights(model) if str(weights) == "auto" else Path(weights)
            label = chosen.name
            file = chosen if chosen.is_file() else require_weights(model, named_weights(model, str(chosen)))
            file = file.absolute()
        check_optimize(optimize)
        return cls(model, label, file, None, precision, optimize, batch_size, decoders, threads)

    def carried(self) -> "Network":
        """The same with its weights in it."""
        return self if self.file is None else replace(self, content=self.file.read_bytes())

    def open(self, device: str) -> Here:
        """Loads it in the process that this is called in.

        Args:
            device: as for `Extractor`.

        Raises:
            DsformerError: the weights cannot be read, do not fit the model, or there is no such device.
        """
        with tempfile.TemporaryDirectory() as folder, _unannounced():
            file = self.file
            if file is not None and self.content is not None:
                file = Path(folder) / file.name
                file.write_bytes(self.content)
            if file is not None and not file.is_file():
                raise DsformerError(f"{file}: the weights of {self.model} are not where a worker could read them")
            extractor = Extractor(
                self.model,
                file,
                device=device,
                precision=self.precision,
                threads=self.threads,
                optimize=self.optimize,
            )
        here = Here(extractor, batch_size=self.batch_size, workers=self.decoders)
        if extractor.runtime == TORCH:  # an exported file knows the name of its weights
            here.weights = self.label
        return here


@contextmanager
def _unannounced() -> Iterator[None]:
    """The driver says once what every worker would."""
    logger = logging.getLogger(Extractor.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Facts:
    """What a worker says of the network that it loaded; see `Describer`."""

    model_name: str
    weights_sha256: str
    weights: str
    arithmetic: Arithmetic
    descriptor_dim: int
    code_bytes: int

    @classmethod
    def of(cls, describer: Describer) -> "Facts":
        """Those of one describer."""
        return cls(**{field.name: getattr(describer, field.name) for field in fields(cls)})

    def tell(self, describer: Describer) -> None:
        """Makes them those of another, who has workers."""
        for field in fields(self):
            setattr(describer, field.name, getattr(self, field.name))

    def check(self, others: "Facts") -> None:
        """Refuses a worker that has another network than the first one.

        Raises:
            DsformerError: what of it is different.
        """
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(others, field.name)
            if mine != theirs:
                raise DsformerError(f"the workers disagree on {field.name}: one has {mine}, another {theirs}")


@dataclass(frozen=True)
class Failure:
    """Why a worker gave up.

    Attributes:
        message: one line, or the traceback of a bug.
        exit_status: of the DsformerError that it was; None for a bug.
    """

    message: str
    exit_status: int | None

    def error(self) -> Exception:
        """What to raise of it in the driver."""
        if self.exit_status is None:
            return RuntimeError(f"in a worker:\n{self.message}")
        return (UsageError if self.exit_status == UsageError.exit_status else DsformerError)(self.message)


def packed(task: ShardTask) -> bytes:
    """A task as it goes to another process.

    Raises:
        UsageError: the source's pictures cannot be loaded there.
    """
    try:
        return pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{task.source}: its pictures can only be loaded by the process that found them ({error}); "
            "describe them here, without workers"
        ) from error


def describe_task(describer: Here, task: ShardTask) -> DescribedShard:
    """Describes one shard, in a worker.

    Raises:
        DsformerError: the network failed.
    """
    (shard,) = describer.describe_shards([task], on_described=_unheard, on_skipped=_unheard)
    return shard


def lost_too_often(task: ShardTask, times: int) -> DsformerError:
    """What a shard is that no worker lives to finish."""
    first, last = task.pictures[0].image, task.pictures[-1].image
    return DsformerError(
        f"{first} to {last}: workers that described these were lost {times} times: "
        "give each more memory (fewer workers, a smaller --batch-size), or take out a picture that kills its decoder"
    )


def _unheard(what: int | Skipped) -> None:
    """Progress within a shard stays with its worker."""
