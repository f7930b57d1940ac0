"""The directory of one training: the recipe as run, its logs, its checkpoints.

recipe.yaml             every hyper-parameter, as run
run.yaml                versions, device, data, command line
log.csv                 one line per `schedule.log_every` iterations
validation.csv          one line per validation: recall@1, @5, ...
tensorboard/            the same numbers, to look at: tensorboard --logdir RUN
last.safetensors/.yaml  the model after the latest epoch
best.safetensors/.yaml  the model after the epoch whose recalls (`validation.measure`) were the best
resume.pt               all that --resume needs
lock                    held by the process that trains
"""

import csv
import json
import platform
import sys
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.lock import LOCK_FILE, working_alone
from dsformer_core.training.recipe import Recipe, differences, load_recipe

LIBRARIES = (
    "dsformer_ros",
    "torch",
    "torchvision",
    "timm",
    "lightning-fabric",
    "pytorch-metric-learning",
    "numpy",
    "pydantic",
)


class RunDirectory:
    """Paths and logs of a training. The process that writes takes it first, and has it until `close`.

    Args:
        path: of the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.facts = path / "run.yaml"
        self.state = path / "resume.pt"
        self.last = path / "last.safetensors"
        self.best = path / "best.safetensors"
        self._tables = {name: path / f"{name}.csv" for name in ("log", "validation")}
        self._tensorboard: SummaryWriter | None = None
        self._taken = ExitStack()

    def create(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Makes the directory.

        Raises:
            UsageError: there is a training in it already, or something else.
            DsformerError: it cannot be made, or another process trains in it.
        """
        self.check_free()
        libraries = {library: version(library) for library in LIBRARIES}
        versions = {"python": platform.python_version(), **libraries}
        self.take()
        self.write_recipe(recipe)
        run = {"command": " ".join(sys.argv), **facts, "versions": versions}
        _write_whole(self.facts, yaml.safe_dump(run, sort_keys=False))

    def check_free(self) -> None:
        """Makes sure that a new training may begin here.

        Raises:
            UsageError: there is a training in it already, or something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file; choose another --output")
        if self.state.is_file():
            raise UsageError(f"{self.path}: holds a training; go on with it by --resume, or choose another --output")
        foreign = self.path.is_dir() and any(entry.name != LOCK_FILE for entry in self.path.iterdir())
        if foreign and not self.recipe.is_file():
            raise UsageError(f"{self.path}: is not empty, and what is in it is no training; choose another --output")

    def take(self) -> None:
        """Keeps other processes from training here until `close`.

        Raises:
            DsformerError: one does already, or the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._taken.enter_context(working_alone(self.path, "training in it"))
        except OSError as error:
            raise DsformerError(f"{error.filename or self.path}: {error.strerror or error}") from error

    def write_recipe(self, recipe: Recipe) -> None:
        """Keeps the recipe as it runs: a resumed one may have more epochs than the one that it began with.

        Raises:
            DsformerError: it cannot be written; the one before it stays.
        """
        _write_whole(self.recipe, recipe.to_yaml())

    def check_recipe(self, recipe: Recipe) -> None:
        """Makes sure that a training goes on with the recipe it began with.

        Raises:
            UsageError: it would not; names what differs as it was, or says that there is nothing to go on with.
        """
        if not self.state.is_file():
            raise UsageError(f"{self.path}: holds no training to resume")
        if changed := differences(load_recipe(self.recipe), recipe):
            begun = ", ".join(f"{key}={json.dumps(value)}" for key, value in changed.items())
            raise UsageError(
                f"{self.path}: was begun with {begun}; resume with the recipe as it was ({self.recipe}), or begin anew "
                "in another --output"
            )

    def open_logs(self, *, trained: int, validated: int) -> None:
        """Begins to log; what an interrupted training logged after its state was saved is forgotten.

        Args:
            trained: the last iteration that counts in log.csv.
            validated: the last one that counts in validation.csv: an epoch may have been trained, but not closed.
        """
        try:
            _cut(self._tables["log"], trained)
            _cut(self._tables["validation"], validated)
            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=trained + 1)
        except OSError as error:
            raise DsformerError(f"{error.filename or self.path}: {error.strerror or error}") from error

    def log(self, table: str, row: dict[str, Any]) -> None:
        """Appends a row to the table ``log`` or ``validation``; the row's ``iteration`` is its time in TensorBoard."""
        path = self._tables[table]
        try:
            with path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise DsformerError(f"{path}: {error.strerror or error}") from error
        assert self._tensorboard is not None
        for key, value in row.items():
            if isinstance(value, float):
                self._tensorboard.add_scalar(f"{table}/{key}", value, row["iteration"])

    def close(self) -> None:
        """Lets others train here; writes out what TensorBoard still holds back, where the disk takes it."""
        if self._tensorboard is not None:
            with suppress(OSError):
                self._tensorboard.close()
        self._taken.close()


def _cut(table: Path, after: int) -> None:
    """Drops rows of iterations after `after`, or keeps the whole table where that fails.

    A process that was killed, or a disk that was full, may have left half a row, and of a table only half a header or
    nothing: what has no end of line was never written.
    """
    if not table.is_file():
        return
    text = table.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if not lines:
        table.unlink()
        return
    header, *rows = lines
    _write_whole(table, header + "".join(row for row in rows if int(row.partition(",")[0]) <= after))


def _write_whole(path: Path, text: str) -> None:
    """Replaces a file; the old one stays when that fails."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    except OSError as error:
        raise DsformerError(f"{path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
