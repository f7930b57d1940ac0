"""How fast training pictures are loaded, against the training step that consumes them; reduced against full decoding.

Examples:
  python benchmarks/training_data.py
  python benchmarks/training_data.py --model gem_mobilenet_v2 --repeats 5 --json loading.json

Loading runs alone, by the trainer's own loaders, one process for each of two views. The step is the trainer's own:
augmentation, network and loss forward and backward, optimisers. The two take turns, so that a busy machine slows both
alike. Pictures are made up, with the spectrum of photographs, so that their JPEGs are as large and take as long to
decode as those of streets. Files are in the page cache: no disk is measured.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from rich.console import Console
from rich.table import Table

from dsformer_core.clustering import BlockClusteringConfig, Group, Partition, write_partition
from dsformer_core.models import create_model, list_models
from dsformer_core.panoramas import Size, cut, panorama_window, picture_window, read_views
from dsformer_core.pictures import Picture, read_picture
from dsformer_core.training.data import TrainingData, open_training_data
from dsformer_core.training.data.extract import extract_subset
from dsformer_core.training.loading import endless_batches
from dsformer_core.training.recipe import DataRecipe, ModelRecipe, Recipe, ScheduleRecipe
from dsformer_core.training.trainer import Trainer

PANORAMA = (512, 3328)  # SF-XL's
PICTURE = (720, 1280)
# Exponent of the noise's fall; makes a panorama of quality 90 as large a file as those of SF-XL, about 300 kB.
FALL = 1.35
CLASSES, PER_CLASS = 8, 10
# Batches that loaders have ready or under way when a measurement begins.
AHEAD = 3

console = Console()


def photograph(random: np.random.Generator, size: Size) -> Image.Image:
    """Noise whose amplitude falls with spatial frequency as in photographs of streets, with weaker noise of colours."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(random.standard_normal((3, *size)))
    grey, *colours = np.fft.irfft2(noise / frequency**FALL, s=size)
    weak = [0.2 * colour for colour in colours]
    picture = np.stack([grey + weak[0], grey, grey + weak[1]], axis=-1)
    return Image.fromarray((128 + 48 * picture / grey.std()).clip(0, 255).astype(np.uint8))


def write_data(folder: Path, kind: str, size: Size) -> Partition:
    """A partition with a lateral and a frontal view of equally many classes."""
    random = np.random.default_rng(0)
    count = (1 if kind == "panoramas" else 2) * CLASSES * PER_CLASS
    names = [f"{number:04d}.jpg" for number in range(count)]
    (folder / kind).mkdir()
    for name in names:
        photograph(random, size).save(folder / kind / name, quality=90)
    utm = random.uniform(0, 9, (count, 2))
    classes = list(np.arange(count).reshape(-1, PER_CLASS))
    peaks = np.array([utm[rows].mean(axis=0) for rows in classes])
    angles = np.array([0, 90] * CLASSES, np.int32) if kind == "pictures" else None
    return write_partition(
        folder / f"{kind}.partition",
        [Group(classes, peaks, peaks + np.array([15, 0]), peaks + np.array([0, 15]), angles=angles)],
        utm=utm,
        config=BlockClusteringConfig(),
        kind=kind,
        images=names,
        images_root=folder / kind,
        headings_deg=random.uniform(0, 360, count),
    )


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def loading_rate(data: TrainingData, recipe: Recipe, fabric: Fabric, batches: int) -> float:
    """Pictures per second of both views together."""
    loaders = [
        endless_batches(view, recipe, fabric, epoch=0, group=0, view=number, first=0)
        for number, view in enumerate(data.groups[0])
    ]
    for loader in loaders * AHEAD:
        next(loader)
    taken = seconds(lambda: [next(loader) for _ in range(batches) for loader in loaders])
    return batches * len(loaders) * recipe.schedule.batch_size / taken


def step_rate(trainer: Trainer, steps: int) -> float:
    """Pictures per second of the trainer's step, given batches that are ready."""
    random = torch.Generator().manual_seed(0)
    size, count = trainer.model.preprocessing.size, trainer.recipe.schedule.batch_size
    pictures = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=random)
    classes = torch.randint(0, CLASSES, (count,), generator=random)
    ready = [iter([(pictures, classes)] * steps) for _ in trainer.objectives[0]]
    taken = seconds(lambda: [trainer.step(ready, trainer.objectives[0]) for _ in range(steps)])
    return steps * len(ready) * count / taken


def measure_loading(sources: dict[str, TrainingData], recipe: Recipe, repeats: int) -> list[dict[str, Any]]:
    fabric = Fabric(accelerator="cpu", devices=1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    trainer = Trainer(recipe, create_model(recipe.model.name), next(iter(sources.values())), None, fabric, scaler)
    trainer.model.train()
    loaded: dict[str, list[float]] = {name: [] for name in sources}
    trained: dict[str, list[float]] = {name: [] for name in sources}
    step_rate(trainer, 1)
    for _ in range(repeats):
        for name, data in sources.items():
            trained[name].append(step_rate(trainer, 1))
            loaded[name].append(loading_rate(data, recipe, fabric, 4))
    return [
        {
            "data": name,
            "loaded per s": statistics.median(loaded[name]),
            "trained per s": statistics.median(trained[name]),
            "loading is faster by": statistics.median(a / b for a, b in zip(loaded[name], trained[name], strict=True)),
        }
        for name in sources
    ]


def read_full(path: Path, offset: float | None, size: Size) -> Picture:
    """What `read_views` gives, of all pixels of the file."""
    pixels = read_picture(path)
    shape = pixels.shape[0], pixels.shape[1]
    window = picture_window(shape, "keep", size) if offset is None else panorama_window(shape, offset, "keep", size)
    return cut(pixels, window, size)


def measure_decoding(folder: Path, size: Size, repeats: int) -> list[dict[str, Any]]:
    """One view at a time, in this process."""
    rows = []
    for kind, offset in (("panoramas", 170.0), ("pictures", None)):
        paths = sorted((folder / kind).iterdir())[:20]
        reduced, full = [], []
        for path in paths * repeats:
            reduced.append(1e3 * seconds(partial(read_views, path, [offset], size, "keep")))
            full.append(1e3 * seconds(partial(read_full, path, offset, size)))
        rows.append(
            {
                "data": kind,
                "reduced ms": statistics.median(reduced),
                "full ms": statistics.median(full),
                "full takes": statistics.median(b / a for a, b in zip(reduced, full, strict=True)),
                "kB per file": statistics.mean(path.stat().st_size for path in paths) / 1e3,
            }
        )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.1f}" for value in row.values()))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list_models(), default="dsformer_tiny", metavar="MODEL")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="of the step (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(
        model=ModelRecipe(name=arguments.model),
        data=DataRecipe(workers=1),
        schedule=ScheduleRecipe(batch_size=arguments.batch_size, precision="float32"),
    )
    size = create_model(arguments.model).preprocessing.size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        panoramas = write_data(folder, "panoramas", PANORAMA)
        pictures = write_data(folder, "pictures", PICTURE)
        extract_subset(panoramas, folder / "subset", workers=1)
        sources = {
            "panoramas": open_training_data(panoramas.directory, size=size),
            "subset of panoramas": open_training_data(folder / "subset", size=size),
            "pictures": open_training_data(pictures.directory, size=size),
        }
        result = {
            "loading": measure_loading(sources, recipe, arguments.repeats),
            "decoding": measure_decoding(folder, size, arguments.repeats),
        }
    shape = f"{size[1]}x{size[0]}"
    show(
        f"loading {shape} for {arguments.model}, two processes, and its step, {arguments.threads} threads",
        result["loading"],
    )
    show(f"one view of {shape}, decoded no larger than needed and fully", result["decoding"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
