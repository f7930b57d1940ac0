"""The directory of one training: the recipe as run, its logs, its checkpoints.

recipe.yaml             every hyper-parameter, as run
run.yaml                versions, device, data, command line
log.csv                 one line per `schedule.log_every` iterations
validation.csv          one line per validation: recall@1, @5, ...
tensorboard/            the same numbers, to look at: tensorboard --logdir RUN
last.safetensors/.yaml  the model after the latest epoch
best.safetensors/.yaml  the model after the epoch with the best recall@1
resume.pt               all that --resume needs
"""

import csv
import platform
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from dsformer_core.errors import DsformerError, UsageError
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
    """Paths and logs of a training.

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

    def create(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Makes the directory.

        Raises:
            UsageError: there is a training in it already, or something else.
            DsformerError: it cannot be made.
        """
        if self.state.is_file():
            raise UsageError(f"{self.path}: holds a training; go on with it by --resume, or choose another --output")
        if self.path.is_dir() and any(self.path.iterdir()) and not self.recipe.is_file():
            raise UsageError(f"{self.path}: is not empty, and what is in it is no training; choose another --output")
        libraries = {library: version(library) for library in LIBRARIES}
        versions = {"python": platform.python_version(), **libraries}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.recipe.write_text(recipe.to_yaml(), encoding="utf-8")
            run = {"command": " ".join(sys.argv), **facts, "versions": versions}
            self.facts.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
        except OSError as error:
            raise DsformerError(f"{error.filename or self.path}: {error.strerror or error}") from error

    def check_recipe(self, recipe: Recipe) -> None:
        """Makes sure that a training goes on with the recipe it began with.

        Raises:
            UsageError: it would not; names the keys that differ, or says that there is nothing to go on with.
        """
        if not self.state.is_file():
            raise UsageError(f"{self.path}: holds no training to resume")
        if changed := differences(load_recipe(self.recipe), recipe):
            raise UsageError(
                f"{self.path}: was begun with another {', '.join(sorted(changed))}; resume with the recipe as it was "
                f"({self.recipe}), or begin anew in another --output"
            )

    def open_logs(self, after: int) -> None:
        """Begins to log; what an interrupted training logged of iterations after `after` is forgotten."""
        try:
            for table in self._tables.values():
                if table.is_file():
                    _cut(table, after)
            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=after + 1)
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

    def close_logs(self) -> None:
        """Writes out what TensorBoard still holds back, where the disk takes it; log.csv has the same numbers."""
        if self._tensorboard is not None:
            with suppress(OSError):
                self._tensorboard.close()


def _cut(table: Path, after: int) -> None:
    """Drops rows of iterations after `after`, or keeps the whole table where that fails."""
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    # A process that was killed may have left half a row, of an iteration that is done again.
    kept = [row for row in rows if row.count(",") == header.count(",") and int(row.split(",")[0]) <= after]
    part = table.with_name(table.name + ".part")
    try:
        part.write_text("\n".join([header, *kept, ""]), encoding="utf-8")
        part.replace(table)
    except OSError as error:
        raise DsformerError(f"{table}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
