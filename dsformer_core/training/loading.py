"""Batches from disk: processes that load and decode while the device computes."""

import re
from collections.abc import Generator, Iterable
from itertools import cycle, islice

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.training.data import ClassPictures, ClassSampler, Draw, PlaceSampler, TrainingData
from dsformer_core.training.interruption import leave_signals_to_the_parent
from dsformer_core.training.rand_augmented import RandAugmented
from dsformer_core.training.recipe import Recipe


def endless_batches(
    pictures: ClassPictures, recipe: Recipe, fabric: Fabric, *, epoch: int, group: int, view: int, first: int
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """This process's share of every batch of an epoch, in `schedule.accumulate` parts each, for ever.

    Args:
        pictures: of one view of a group.
        recipe: says how many at a time, and how many processes load.
        fabric: knows which of how many processes this is.
        epoch: from 0; with group, view and the recipe's seed it decides the order.
        group: of the epoch.
        view: of the group.
        first: iteration of the epoch to begin at.

    Returns:
        As `load` gives them; under `schedule.overfit` the same pictures again and again, in every epoch, as they are.
    """
    schedule, pictures_per_place = recipe.schedule, recipe.data.pictures_per_place
    stream = {
        "seed": schedule.seed,
        "epoch": 0 if schedule.overfit else epoch,
        "group": group,
        "view": view,
        "start": 0 if schedule.overfit else first * schedule.batch_size,
        "rank": fabric.global_rank,
        "world_size": fabric.world_size,
    }
    draws: Iterable[Draw]
    if pictures_per_place:
        draws = PlaceSampler(
            pictures.counts,
            pictures.cities,
            pictures_per_place=pictures_per_place,
            places_per_batch=schedule.batch_size // pictures_per_place,
            **stream,
        )
    else:
        draws = ClassSampler(len(pictures), **stream)
    share = schedule.batch_size // fabric.world_size
    return load(
        pictures,
        cycle(islice(draws, share)) if schedule.overfit else draws,
        share // schedule.accumulate,
        recipe.data.workers,
        pinned=fabric.device.type == "cuda",
        rand_augment=0 if schedule.overfit else recipe.augmentation.rand_augment,
    )


def load(
    pictures: ClassPictures,
    draws: Iterable[Draw],
    batch_size: int,
    workers: int,
    *,
    pinned: bool,
    rand_augment: int,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Pictures in the order in which they are drawn.

    Args:
        pictures: to load.
        draws: which of them.
        batch_size: how many at a time.
        workers: processes that load; 0 for this one.
        pinned: whether they come in memory that a CUDA device can read.
        rand_augment: how many random operations each goes through; 0 for none.

    Yields:
        (B, 3, H, W) uint8 pictures and their (B,) int64 classes.

    Raises:
        DsformerError: no picture of a class can be read, or a loading process died.
    """
    loader = DataLoader(
        RandAugmented(pictures, rand_augment) if rand_augment else pictures,
        batch_size=batch_size,
        sampler=draws,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=leave_signals_to_the_parent,
        # For seeds that nobody uses here; left out, they would be drawn from the numbers that augmentation uses.
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except DsformerError as error:
        # One from a loading process comes wrapped in that process's traceback, of which the last line is the message.
        last = str(error).strip().splitlines()[-1]
        message = last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
    except RuntimeError as error:
        died = re.search(r"DataLoader worker .*", str(error))
        if died is None:
            raise
        message = f"{died[0]}; a process that loads pictures died, often for want of memory: try --set data.workers=1"
    else:
        return
    # Not chained to the first error, whose traceback would keep the loading processes alive.
    raise DsformerError(message)


def check_batch_size(recipe: Recipe, processes: int) -> None:
    """Makes sure that a batch can be shared out evenly: otherwise some pictures would count more than others.

    Raises:
        UsageError: it cannot.
    """
    batch, accumulate = recipe.schedule.batch_size, recipe.schedule.accumulate
    if batch % (processes * accumulate):
        raise UsageError(
            f"schedule.batch_size: {batch} pictures cannot be shared out over {processes} processes with "
            f"{accumulate} parts each; choose a multiple of {processes * accumulate}"
        )


def check_places(recipe: Recipe, data: TrainingData) -> None:
    """Makes sure that every view has the places that one batch needs.

    Raises:
        UsageError: one has fewer.
    """
    pictures = recipe.data.pictures_per_place
    if not pictures:
        return
    needed = recipe.schedule.batch_size // pictures
    for view in (view for group in data.groups for view in group):
        places = int((view.counts >= pictures).sum())
        if places < needed:
            raise UsageError(
                f"schedule.batch_size: {needed} places with {pictures} pictures each make a batch, but {view.name} of "
                f"{data.path} has {places} such places of {len(view)}: choose a smaller batch"
            )
