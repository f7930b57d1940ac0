"""How long a descriptor takes, and how long the search for it in a map.

Examples:
  python benchmarks/descriptor_and_search.py
  python benchmarks/descriptor_and_search.py --models gem_mobilenet_v2 --json speed.json
  python benchmarks/descriptor_and_search.py --models dsformer_resnet50 --device cuda --precision float32
  python benchmarks/descriptor_and_search.py --official     DSFormer against the official formulation

Times are medians in milliseconds, from pictures in memory to descriptors in memory, on a GPU with both copies. Weights
are random: they do not change the time. Decoding and resizing of pictures is not part of it. The search, and the
official formulation's comparison, are on the CPU.
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from official_formulation import official_formulation
from rich.console import Console
from rich.table import Table

from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Extractor
from dsformer_core.models import DESCRIPTOR_DIM, create_model, list_models
from dsformer_core.models.inference import optimize_for_inference

THREADS = (1, 2)
BATCHES = (1, 8)
NEIGHBOURS = 20
# How many times as fast as the official formulation.
WHOLE_WANTED = {"dsformer_resnet50": 2.2, "dsformer_dinov2_vitb14": 1.75}
MODULE_WANTED = {"dsformer_resnet50": 2.5}

console = Console()


def medians_ms(*functions: Callable[[], Any], repeats: int) -> list[float]:
    """Median time of each function in milliseconds; they take turns, so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for function, its_times in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            its_times.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(its_times) for its_times in times]


def measure_descriptors(models: list[str], repeats: int, *, device: str, precision: str) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    rows = []
    for name in models:
        extractor = Extractor.of_model(create_model(name), name, device=device, precision=precision)
        # A GPU is fed by one.
        for threads in THREADS if extractor.device.type == "cpu" else THREADS[:1]:
            torch.set_num_threads(threads)
            for batch in BATCHES:
                pictures = list(generator.integers(0, 256, (batch, *extractor.preprocessing.size, 3), np.uint8))
                # The descriptors are in memory when it returns: no GPU is still at work.
                (median,) = medians_ms(lambda e=extractor, x=pictures: e.extract(x), repeats=repeats)
                rows.append(
                    {
                        "model": name,
                        "device": str(extractor.device),
                        "precision": extractor.precision,
                        "threads": threads,
                        "batch": batch,
                        "ms": median,
                        "ms_each": median / batch,
                    }
                )
    return rows


def measure_search(references: int, repeats: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    descriptors = generator.standard_normal((references, DESCRIPTOR_DIM), dtype=np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(DESCRIPTOR_DIM)
    index.add(descriptors)
    rows = []
    for threads in THREADS:
        faiss.omp_set_num_threads(threads)
        for batch in BATCHES:
            queries = descriptors[:batch]
            (median,) = medians_ms(lambda q=queries: index.search(q, NEIGHBOURS), repeats=repeats)
            rows.append({"references": references, "threads": threads, "queries": batch, "ms": median})
    return rows


def compare_with_official(repeats: int) -> list[dict[str, Any]]:
    """Ours as it was trained and optimized, against the official formulation, on one thread, a picture at a time."""
    torch.set_num_threads(1)
    rows = []
    for name in WHOLE_WANTED:
        model = create_model(name)
        for part, parameter in model.former.named_parameters():
            if ".position." in part:  # they start at zero, which would make all agree without a reason
                torch.nn.init.normal_(parameter, std=0.1)
        theirs, optimized = copy.deepcopy(model), copy.deepcopy(model)
        theirs.former = official_formulation(theirs.former)
        optimize_for_inference(optimized, float32=True)
        images = torch.randn(1, 3, *model.preprocessing.size)
        rows.append(_compared(name, theirs, model, optimized, (images,), WHOLE_WANTED[name], repeats))
        if name in MODULE_WANTED:
            maps = model.backbone(images).maps
            formers = theirs.former, model.former, optimized.former
            rows.append(_compared("  its DSFormer module", *formers, maps, MODULE_WANTED[name], repeats))
    return rows


def _compared(
    name: str,
    theirs: torch.nn.Module,
    ours: torch.nn.Module,
    optimized: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    wanted: float,
    repeats: int,
) -> dict[str, Any]:
    official_ms, ours_ms, optimized_ms = medians_ms(
        *(lambda network=network: network(*inputs) for network in (theirs, ours, optimized)), repeats=repeats
    )
    expected, found = theirs(*inputs), optimized(*inputs)
    pairs = zip(expected, found, strict=True)
    return {
        "1 thread, 1 picture": name,
        "official ms": official_ms,
        "off ms": ours_ms,
        "safe ms": optimized_ms,
        "times faster": official_ms / optimized_ms,
        "wanted": wanted,
        "largest difference": max((one - other).abs().max().item() for one, other in pairs),
    }


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) else "right", no_wrap=isinstance(value, str))
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    console.print(table)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list_models(), default=list_models(), metavar="MODEL")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, … (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="auto, float32, bfloat16, float16 (default: %(default)s)")
    parser.add_argument("--references", type=int, default=100_000, help="descriptors in the searched map")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement")
    parser.add_argument("--official", action="store_true", help="only compare with the official formulation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()

    result: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    if torch.cuda.is_available():
        result["gpu"] = torch.cuda.get_device_name()
    if arguments.official:
        result["official"] = compare_with_official(arguments.repeats)
        show("against the official formulation, by what `optimize` says", result["official"])
    else:
        try:
            result["descriptor"] = measure_descriptors(
                arguments.models, arguments.repeats, device=arguments.device, precision=arguments.precision
            )
        except DsformerError as error:
            parser.error(str(error))
        show("descriptor", result["descriptor"])
        result["search"] = measure_search(arguments.references, arguments.repeats)
        show(f"exact search for the {NEIGHBOURS} most similar references", result["search"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    slow = [
        str(row["1 thread, 1 picture"]) for row in result.get("official", ()) if row["times faster"] < row["wanted"]
    ]
    if slow:
        sys.exit(f"not as fast as wanted: {', '.join(slow)}")


if __name__ == "__main__":
    main()
