"""How fast maps are built, beside what decoding alone, the network alone and the disk allow.

Examples:
  python benchmarks/building.py
  python benchmarks/building.py --only decoding --pictures 500 --input-size 64
  python benchmarks/building.py --only network --model gem_mobilenet_v2
  python benchmarks/building.py --only shards --references 1000000 --json building.json

decoding: a build of JPEGs of 1280x720 with a network that costs nothing, against OpenCV decoding the same files and
dropping the pixels, with as many threads, at full size and at the scale at which the build decodes. They take turns, so
that a busy machine slows all alike; processor time is given beside the clock's, because it does not depend on who else
computes. All of them keep freed memory, as builds with a real network do.
network: a build with a real network from JPEGs, against the same build of pictures that lie decoded in memory.
shards: writing described pictures to disk, putting the map together from them, and opening it.
Pictures are made up, with the spectrum of photographs; files are in the page cache.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from training_data import PICTURE, photograph

from dsformer_core.described import Described
from dsformer_core.extractor import Extractor
from dsformer_core.models import list_models
from dsformer_core.models.inference import keep_freed_memory
from dsformer_core.models.registry import DescriptorModel, Features, Preprocessing
from dsformer_core.pictures import Picture, read_picture
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.place_map.building.assemble import About, assemble
from dsformer_core.place_map.building.build import Progress
from dsformer_core.place_map.building.describe import THUMBNAIL_SIDE, Here, records
from dsformer_core.place_map.building.shards import Shards, shard_size
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.sources import GeotaggedPicture, Skipped, open_source

# Photographs that differ; files repeat them, moved sideways.
DIFFERENT = 40
SHARE_WANTED, MOST_DECODING = 0.9, 5
METRES_PER_DEGREE = 111_320
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

console = Console()


class Free(DescriptorModel):
    """A network that costs nothing but what surrounds it: a projection of 8x8 pixels."""

    descriptor_dim = 512
    map_channels = (3,)
    weight: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(size=(side, side))
        random = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(self.descriptor_dim, 3 * 64, generator=random))

    def represent(self, images: Tensor) -> Features:
        """The pictures themselves."""
        return Features((images,))

    def aggregate(self, features: Features) -> Tensor:
        """Of 8x8 of their pixels."""
        images = features.maps[0]
        step = max(1, images.shape[-1] // 8)
        return F.normalize(F.linear(images[..., ::step, ::step][..., :8, :8].flatten(1), self.weight), dim=-1)


@dataclass
class Taken:
    """Seconds of the clock and of all processors."""

    clock: float
    processor: float


def taken(work: Callable[[], Any]) -> Taken:
    clock, processor = time.perf_counter(), processor_seconds()
    work()
    return Taken(time.perf_counter() - clock, processor_seconds() - processor)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def write_pictures(folder: Path, count: int) -> Path:
    """A drive north, a picture every two metres, with GPS in its EXIF."""
    folder.mkdir()
    random = np.random.default_rng(0)
    different = [np.asarray(photograph(random, PICTURE)) for _ in range(min(DIFFERENT, count))]
    for number in range(count):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {
                ExifTags.GPS.GPSLatitudeRef: "N",
                ExifTags.GPS.GPSLatitude: (55.7 + 2 * number / METRES_PER_DEGREE, 0.0, 0.0),
                ExifTags.GPS.GPSLongitudeRef: "E",
                ExifTags.GPS.GPSLongitude: (13.0, 0.0, 0.0),
            }
        )
        pixels = np.roll(different[number % DIFFERENT], 8 * (number // DIFFERENT), axis=1)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=90, exif=exif)
    return folder


def decoded_scale(at_least: int) -> int:
    """The scale at which a build decodes these pictures."""
    return next(scale for scale in (8, 4, 2, 1) if scale == 1 or min(PICTURE) // scale >= at_least)


def decode(paths: Sequence[Path], scale: int, threads: int) -> None:
    """What OpenCV alone can do."""

    def one(path: Path) -> int:
        pixels = cv2.imread(str(path), REDUCED[scale])
        return pixels.size

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(one, paths))


def measure_decoding(folder: Path, threads: int, side: int, repeats: int) -> list[dict[str, Any]]:
    paths = sorted(folder.iterdir())
    extractor = Extractor.of_model(Free(side), "free", device="cpu")
    scale = decoded_scale(max(extractor.decode_size))
    sides: dict[str, list[Taken]] = {}
    keep_freed_memory()
    steps: dict[str, list[float]] = {}

    def build(thumbnails: bool) -> None:
        begun: dict[str, float] = {}

        def note(progress: Progress) -> None:
            begun.setdefault(progress.step, time.perf_counter())

        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            build_place_map(
                open_source(folder),
                Here(extractor, workers=threads),
                Path(place) / "a.map",
                thumbnails=thumbnails,
                on_progress=note,
            )
            end = time.perf_counter()
        for step, until in (("scanning", begun["describing"]), ("describing", begun["finishing"]), ("finishing", end)):
            steps.setdefault(step, []).append(until - begun[step])

    full, own = "OpenCV, 1/1", f"OpenCV, 1/{scale}"
    works: dict[str, Callable[[], None]] = {
        full: lambda: decode(paths, 1, threads),
        own: lambda: decode(paths, scale, threads),
        "build without thumbnails": lambda: build(False),
        "build": lambda: build(True),
    }
    for work in works.values():
        work()
    steps.clear()
    for _ in range(repeats):
        for name, work in works.items():
            sides.setdefault(name, []).append(taken(work))
    rows = []
    for name, its in sides.items():
        row: dict[str, Any] = {
            f"{len(paths)} JPEGs of 1280x720": name,
            "pictures/s": statistics.median(len(paths) / one.clock for one in its),
            "processor ms each": statistics.median(1e3 * one.processor / len(paths) for one in its),
        }
        for base in dict.fromkeys((full, own)):
            pairs = list(zip(sides[base], its, strict=True))
            row[f"share of {base}"] = statistics.median(a.clock / b.clock for a, b in pairs)
            row[f"{base}, by processor"] = statistics.median(a.processor / b.processor for a, b in pairs)
        rows.append(row)
    console.print({step: f"{statistics.median(its):.2f} s" for step, its in steps.items()}, "of a build, by the clock")
    return rows


class InMemory:
    """The pictures of a folder, decoded before anything is measured."""

    name = "memory"

    def __init__(self, folder: Path) -> None:
        self._pictures, _ = open_source(folder).scan()
        self._pixels = [read_picture(one.image) for one in self._pictures]

    def scan(self, on_progress: Any = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """See `Source.scan`."""

        def loader(pixels: Picture) -> Any:
            return lambda *, at_least=None: pixels

        found = zip(self._pictures, self._pixels, strict=True)
        return [GeotaggedPicture(one.id, one.latitude, one.longitude, one.image, loader(p)) for one, p in found], []


def measure_network(folder: Path, model: str, threads: int, repeats: int) -> list[dict[str, Any]]:
    extractor = Extractor(model, "untrained" if model != "dsformer_tiny" else "auto", threads=threads)
    sources = {"decoded in memory": InMemory(folder), "JPEGs": open_source(folder)}
    times: dict[str, list[Taken]] = {name: [] for name in sources}
    count = len(list(folder.iterdir()))

    def build(source: Any) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            build_place_map(source, Here(extractor, workers=2), Path(place) / "a.map")

    for source in sources.values():
        build(source)
    for _ in range(repeats):
        for name, source in sources.items():
            times[name].append(taken(lambda s=source: build(s)))
    pairs = list(zip(times["decoded in memory"], times["JPEGs"], strict=True))
    rows: list[dict[str, Any]] = [
        {
            model: name,
            "pictures/s": statistics.median(count / one.clock for one in its),
            "processor ms each": statistics.median(1e3 * one.processor / count for one in its),
        }
        for name, its in times.items()
    ]
    rows[0] |= {"decoding costs, %": 0.0, "of processor time, %": 0.0}
    rows[1] |= {
        "decoding costs, %": statistics.median(100 * (b.clock / a.clock - 1) for a, b in pairs),
        "of processor time, %": statistics.median(100 * (b.processor / a.processor - 1) for a, b in pairs),
    }
    return rows


def measure_shards(folder: Path, references: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    thumbnail = photograph(random, (THUMBNAIL_SIDE * 9 // 16, THUMBNAIL_SIDE))
    thumbnail.save(folder / "thumbnail.jpg", quality=80)
    content = (folder / "thumbnail.jpg").read_bytes()
    shards = Shards(folder / "shards", references, shard_size(references), "float16")
    some = random.standard_normal((shards.size, 512), np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)

    def write() -> None:
        for number in range(len(shards)):
            described = [
                (
                    GeotaggedPicture(
                        f"camera_front/{row:09d}.jpg",
                        55.7 + row % 3000 * 2 / METRES_PER_DEGREE,
                        13.0 + row // 3000 * 4 / METRES_PER_DEGREE,
                        f"/data/copenhagen/drive/camera_front/{row:09d}.jpg",
                        read_picture,
                        heading_deg=90.0,
                    ),
                    Described(some[place : place + 1]),
                    content,
                )
                for place, row in enumerate(shards.rows(number))
            ]
            shards.write(number, records(described, "drive", "float16"), [])

    def put_together() -> None:
        (folder / "map").mkdir()
        assemble(
            folder / "map",
            [shards.part(number) for number in range(len(shards))],
            About("made up", "2026-01-01T00:00:00+00:00", "gem_mobilenet_v2", "0" * 64, "made up", "float32", 512),
            index=IndexRequest("flat_fp16"),
        )

    times = {"shards written": taken(write), "map put together": taken(put_together)}
    times["map opened"] = taken(lambda: PlaceMap.open(folder / "map"))
    sizes = {"shards written": folder / "shards", "map put together": folder / "map", "map opened": folder / "map"}
    return [
        {
            f"{references} references": name,
            "seconds": its.clock,
            "processor s": its.processor,
            "per 100,000 s": its.clock * 1e5 / references,
            "bytes each": size_of(sizes[name]) / references,
        }
        for name, its in times.items()
    ]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.3g}" for value in row.values()))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("decoding", "network", "shards"), help="measure nothing else")
    parser.add_argument("--pictures", type=int, default=2000, help="that are decoded (default: %(default)s)")
    parser.add_argument("--input-size", type=int, default=224, help="of the free network (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="that decode (default: %(default)s)")
    parser.add_argument("--model", choices=list_models(), default="dsformer_tiny", metavar="MODEL")
    parser.add_argument("--network-pictures", type=int, default=120, help="for the network (default: %(default)s)")
    parser.add_argument("--network-threads", type=int, default=2, help="of the network (default: %(default)s)")
    parser.add_argument("--references", type=int, default=100_000, help="in shards (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement")
    parser.add_argument("--folder", type=Path, help="disk to work on (default: that of temporary files)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    # Threads are those asked for, and no more.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }
    wanted = [arguments.only] if arguments.only else ["decoding", "network", "shards"]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if "decoding" in wanted:
            pictures = write_pictures(folder / "pictures", arguments.pictures)
            result["decoding"] = measure_decoding(pictures, arguments.threads, arguments.input_size, arguments.repeats)
            side = f"{arguments.input_size}x{arguments.input_size}"
            show(f"building with a free network of {side}, {arguments.threads} threads", result["decoding"])
        if "network" in wanted:
            few = write_pictures(folder / "few", arguments.network_pictures)
            result["network"] = measure_network(few, arguments.model, arguments.network_threads, arguments.repeats)
            show(f"building with {arguments.model}, {arguments.network_threads} threads", result["network"])
        if "shards" in wanted:
            result["shards"] = measure_shards(folder, arguments.references)
            show("writing", result["shards"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    missed = []
    if "decoding" in result:
        shares = {key: share for key, share in result["decoding"][-1].items() if key.endswith(", by processor")}
        missed += [
            f"a build runs at {share:.2f} of the rate of {key.removesuffix(', by processor')}, {SHARE_WANTED} is wanted"
            for key, share in shares.items()
            if share < SHARE_WANTED
        ]
    if "network" in result and (cost := result["network"][-1]["of processor time, %"]) > MOST_DECODING:
        missed.append(f"decoding costs the network {cost:.1f} %, {MOST_DECODING} % at most is wanted")
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
