"""`dsformer train`: a recipe and places in, a run directory with checkpoints out."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from dsformer_core.cli.console import answers, errors, print_json, progress
from dsformer_core.errors import DsformerError, UsageError

if TYPE_CHECKING:
    from dsformer_core.training.trainer import Trainer

EXAMPLES = """\
examples:
  dsformer train training/recipes/dsformer_resnet50.yaml --data sf_xl.partition --output runs/resnet50
  dsformer train training/recipes/dsformer_resnet50.yaml --data sf_xl.partition --output runs/resnet50 --resume
  dsformer train training/recipes/dsformer_tiny.yaml --data town.partition --output runs/tiny --validate other_town/
  dsformer train RECIPE --data sf_xl.partition --output runs/two --set model.options.layers=2
  dsformer train RECIPE --data sf_xl.partition --dry-run           one iteration, nothing is written
  dsformer train RECIPE --data sf_xl.partition --output runs/one --overfit 8     the loss must fall to nearly nothing
  torchrun --nproc-per-node 4 --no-python dsformer train RECIPE --data sf_xl.partition --output runs/four

Every hyper-parameter of a recipe, its default and what it does: dsformer_core/training/recipe.py
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `train` to `dsformer`."""
    parser = subparsers.add_parser(
        "train",
        help="train a network on places",
        description="Trains a network as a recipe says. Ctrl-C saves; --resume goes on where it was.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="YAML file with the hyper-parameters")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="partition of `dsformer cluster build`, subset of `dsformer cluster extract`, or a GSV-Cities root",
    )
    parser.add_argument("--output", type=Path, metavar="RUN", help="directory for logs and checkpoints")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="another value for a key of the recipe, e.g. optimizer.learning_rate=1e-4; may be repeated",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training in RUN")
    parser.add_argument(
        "--validate",
        type=Path,
        metavar="DIR",
        help="folder with database/ and queries/ (EXIF or '@' names): recall after every epoch; the best model is kept",
    )
    parser.add_argument(
        "--overfit", type=int, metavar="N", help="one epoch on the same N pictures per view, not augmented"
    )
    parser.add_argument("--dry-run", action="store_true", help="one iteration, nothing is written")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print how it ended as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Trains, and says what came out and where it lies."""
    try:
        import lightning_fabric  # noqa: F401
        import pydantic  # noqa: F401
        import pytorch_metric_learning  # noqa: F401
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise DsformerError(f"training needs {error.name}: pip install 'dsformer_ros[train]'") from error
    from dsformer_core.training.recipe import load_recipe
    from dsformer_core.training.start import start

    if arguments.output is None and not arguments.dry_run:
        raise UsageError("--output RUN is missing (only --dry-run writes nothing)")
    overrides = list(arguments.overrides)
    if arguments.overfit is not None:
        if arguments.overfit < 1:
            raise UsageError("--overfit: at least 1 picture")
        overrides += [f"schedule.{key}={arguments.overfit}" for key in ("overfit", "batch_size")]
        overrides += ["schedule.epochs=1"]
    if arguments.dry_run:
        overrides += ["schedule.epochs=1", "schedule.iterations_per_epoch=1"]
    trainer = start(
        load_recipe(arguments.recipe, overrides),
        arguments.data,
        None if arguments.dry_run else arguments.output,
        device=arguments.device,
        resume=arguments.resume,
        validate=arguments.validate,
        report=lambda line: errors.print(line, markup=False, highlight=False),
    )
    try:
        finished = _train(trainer)
    finally:
        if trainer.run:
            trainer.run.close()
    if not finished:
        if not trainer.fabric.is_global_zero:
            raise SystemExit(1)
        raise DsformerError(
            f"interrupted after iteration {trainer.iteration} of {trainer.iterations}; its state is saved, go on with: "
            f"{_resume_command(arguments, trainer.fabric.world_size)}"
        )
    if trainer.fabric.is_global_zero:
        _print_result(trainer, arguments)


def _train(trainer: "Trainer") -> bool:
    if not trainer.fabric.is_global_zero:
        return trainer.fit()
    with progress("training", trainer.iterations) as advance:
        shown = trainer.iteration
        advance(shown)

        def show(done: int, total: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        return trainer.fit(show)


def _print_result(trainer: "Trainer", arguments: argparse.Namespace) -> None:
    result = {
        "iterations": trainer.iteration,
        "skipped_iterations": trainer.skipped,
        "replaced_pictures": trainer.data.replaced,
        "loss": trainer.last_loss,
        "best": trainer.best.recalls or None,
        "weights": str(trainer.run.last) if trainer.run else None,
        "best_weights": str(trainer.run.best) if trainer.run and trainer.run.best.is_file() else None,
    }
    if arguments.json:
        print_json(result)
        return
    if trainer.run is None:
        answers.print("dry run: one iteration went through; nothing was written", markup=False, highlight=False)
        return
    best = f", best {trainer.best} in {trainer.run.best}" if trainer.best.recalls else ""
    answers.print(
        f"{trainer.run.last}: {trainer.model.name} after {trainer.iteration} iterations{best}",
        markup=False,
        highlight=False,
    )


def _resume_command(arguments: argparse.Namespace, processes: int) -> str:
    launcher = ["torchrun", "--nproc-per-node", str(processes), "--no-python"] if processes > 1 else []
    words = [
        "dsformer",
        "train",
        str(arguments.recipe),
        "--data",
        str(arguments.data),
        "--output",
        str(arguments.output),
    ]
    for override in arguments.overrides:
        words += ["--set", override]
    if arguments.overfit is not None:
        words += ["--overfit", str(arguments.overfit)]
    if arguments.validate:
        words += ["--validate", str(arguments.validate)]
    if arguments.device != "auto":
        words += ["--device", arguments.device]
    return shlex.join([*launcher, *words, "--resume"])
