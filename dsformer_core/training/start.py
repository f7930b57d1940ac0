"""From a recipe and paths to a trainer that is ready to go."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies import DDPStrategy

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.models import DescriptorModel, create_model
from dsformer_core.training.augmentation import Augmentation, of_training
from dsformer_core.training.data import TrainingData, kind_of, open_training_data
from dsformer_core.training.freezing import check_branches
from dsformer_core.training.learned_whitening import learn_projection
from dsformer_core.training.loading import check_batch_size, check_places
from dsformer_core.training.recipe import Recipe
from dsformer_core.training.run_directory import RunDirectory
from dsformer_core.training.trainer import Trainer
from dsformer_core.training.validation import Validation

# Other processes wait while the first one validates or writes; what the default allows is too short for large cities.
PATIENCE = timedelta(hours=4)


def start(
    recipe: Recipe,
    data_path: Path,
    output: Path | None,
    *,
    device: str = "auto",
    resume: bool = False,
    validate: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Trainer:
    """Opens the data, makes the model, and makes or opens the run directory.

    Args:
        recipe: what to do.
        data_path: a partition directory, a subset, or a GSV-Cities root.
        output: the run directory; None to write nothing.
        device: "auto", "cpu" or "cuda". Under torchrun each process takes its own.
        resume: go on with the training in `output`.
        validate: folder with ``database`` and ``queries``, whose recall is measured after epochs.
        report: takes lines for people, in the first process.

    Raises:
        UsageError: the recipe does not fit data, model or devices, or there is something else in `output`.
        DsformerError: data or weights are missing, or cannot be read.
    """
    kind = accelerator(device)
    recipe = with_precision(recipe, kind)
    run = RunDirectory(output) if output else None
    # What needs only a look comes first: nobody should wait for weights or pictures to hear of a wrong path.
    if run and resume:
        run.check_recipe(recipe)
    elif run:
        run.check_free()
    kind_of(data_path)
    validation = Validation(validate, recipe) if validate else None
    fabric, scaler = devices(recipe, kind)
    check_batch_size(recipe, fabric.world_size)
    model = make_model(recipe)
    check_branches(model, recipe)
    size = of_training(recipe, model).size
    data = open_training_data(data_path, size=size, aspect=recipe.data.aspect)
    check_partition(recipe, data)
    check_classes(data)
    check_places(recipe, data)
    class_means = None
    if recipe.model.whitening_pictures and not resume:
        if fabric.is_global_zero:
            count = recipe.model.whitening_pictures * sum(len(view) for group in data.groups for view in group)
            report(f"learning the first projection from {count} pictures")
            class_means = learn_projection(
                model,
                data,
                Augmentation(recipe.augmentation, of_training(recipe, model)),
                recipe.model.whitening_pictures,
                seed=recipe.schedule.seed,
                device=fabric.device,
                workers=recipe.data.workers,
                rand_augment=recipe.augmentation.rand_augment,
            )
        # The projection goes to the other processes with the rest of the model.
        class_means = fabric.broadcast(class_means)
    trainer = Trainer(
        recipe,
        model,
        data,
        run,
        fabric,
        scaler,
        validate=validation,
        report=report if fabric.is_global_zero else lambda line: None,
    )
    if class_means is not None:
        trainer.imprint(class_means)
    trainer.report(_summary(trainer))
    if run:
        try:
            _enter(run, trainer, resume)
        except BaseException:
            run.close()
            raise
    fabric.barrier()
    return trainer


def _enter(run: RunDirectory, trainer: Trainer, resume: bool) -> None:
    """Makes the run directory, or goes back to where the training in it was; the first process takes it and logs."""
    writes = trainer.fabric.is_global_zero
    if resume:
        if writes:
            run.take()
        trainer.resume()
        if writes:
            run.write_recipe(trainer.recipe)
    elif writes:
        run.create(trainer.recipe, _facts(trainer))
        # A disk that cannot hold the state shows itself now, not after the first epoch.
        trainer.save_state()
    if writes:
        validated = trainer.closed_epochs * trainer.recipe.schedule.iterations_per_epoch
        run.open_logs(trained=trainer.iteration, validated=validated)


def check_partition(recipe: Recipe, data: TrainingData) -> None:
    """Makes sure that the data were partitioned as the recipe wants it.

    Raises:
        UsageError: they were not; names the settings that differ.
    """
    if data.partition is None:
        if recipe.data.partition:
            raise UsageError(
                f"{data.path}: GSV-Cities comes with its own places, the recipe wants a partition: "
                "--set data.partition=null takes them"
            )
        return
    said = data.partition
    found = {"kind": said.get("kind"), "method": said.get("method"), **said.get("config", {})}
    differing = [
        f"{key} is {found.get(key, 'unknown')} instead of {value}"
        for key, value in recipe.data.partition.items()
        if found.get(key) != value
    ]
    if differing:
        raise UsageError(
            f"{data.path}: not partitioned as the recipe wants it: {', '.join(differing)}; build it so with "
            "`dsformer cluster build`, or take it as it is by --set data.partition=null"
        )


def check_classes(data: TrainingData) -> None:
    """Makes sure that every group has classes to tell from each other.

    Raises:
        DsformerError: one has not: no view of it has a second class, so its loss is 0 whatever the network does.
    """
    for group in data.groups:
        if max(map(len, group)) == 1:
            more = (
                "build the partition with fewer --groups, with smaller --min-images, or of a larger area"
                if data.partition
                else "add places or cities"
            )
            raise DsformerError(
                f"{data.path}: only one class in {' and in '.join(view.name for view in group)}: with no other to tell "
                f"it from, nothing is learned; {more}"
            )


def make_model(recipe: Recipe) -> DescriptorModel:
    """The network of a recipe, with the weights that it starts from, at the size that it is trained with.

    Raises:
        UsageError: there is no such model, option or weights.
        DsformerError: the weights are not on this machine; the message says how to get them.
    """
    torch.manual_seed(recipe.schedule.seed)
    model = create_model(recipe.model.name, recipe.model.weights, to_train=True, **recipe.model.options)
    if recipe.data.size is not None:
        model.preprocessing = replace(model.preprocessing, size=recipe.data.size)
    return model


def accelerator(device: str) -> str:
    """What computes, "cpu" or "cuda".

    Raises:
        UsageError: there is no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no usable CUDA device")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def with_precision(recipe: Recipe, kind: str) -> Recipe:
    """The recipe with the precision that "auto" means on a kind of device.

    So the run directory says what the training computed in, and a training does not go on in another one.
    """
    if recipe.schedule.precision != "auto":
        return recipe
    precision = "float16" if kind == "cuda" else "float32"
    return recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"precision": precision})})


def devices(recipe: Recipe, kind: str) -> tuple[Fabric, torch.amp.GradScaler]:
    """The processes of this training, launched, and what scales their gradients.

    One process on one device; under torchrun, as many as it started, on all the machines it started them.

    Args:
        recipe: whose precision is decided.
        kind: of device, "cpu" or "cuda".
    """
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    precision = recipe.schedule.precision
    scaler = torch.amp.GradScaler(kind, enabled=precision == "float16")
    plugins: list[Any] = {
        "float32": [],
        "float16": [MixedPrecision("16-mixed", kind, scaler)],
        "bfloat16": [MixedPrecision("bf16-mixed", kind)],
    }[precision]
    processes, processes_here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator=kind,
        devices=processes_here,
        num_nodes=processes // processes_here,
        strategy=DDPStrategy(timeout=PATIENCE) if processes > 1 else "auto",
        plugins=plugins,
    )
    fabric.launch()
    return fabric, scaler


def _summary(trainer: Trainer) -> str:
    parameters = list(trainer.model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    data, schedule = trainer.data, trainer.recipe.schedule
    pictures = sum(view.picture_count for group in data.groups for view in group)
    return (
        f"{trainer.model.name}: {sum(map(torch.Tensor.numel, parameters)) / 1e6:.2f} M parameters, "
        f"{trained / 1e6:.2f} M of them trained; {len(data.groups)} groups, {data.class_count} classes, "
        f"{max(map(len, data.groups))} views, {pictures} pictures"
        + (f", the same {schedule.batch_size} per view in every iteration" if schedule.overfit else "")
    )


def _facts(trainer: Trainer) -> dict[str, object]:
    device = trainer.fabric.device
    return {
        "data": str(trainer.data.path.resolve()),
        "classes": [[len(view) for view in group] for group in trainer.data.groups],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "processes": trainer.fabric.world_size,
    }
