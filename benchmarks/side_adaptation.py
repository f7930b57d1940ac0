"""What SelaVPR++'s adapters cost beside their frozen backbone: time of a descriptor, memory of a training step.

Examples:
  python benchmarks/side_adaptation.py
  python benchmarks/side_adaptation.py --model selavprpp_large --repeats 5
  python benchmarks/side_adaptation.py --batch 32 --json side_adaptation.json

Time: one picture of 322 x 322 on the CPU through the bare backbone, the float branch, and both branches; they take
turns, so that a busy machine slows all alike. Weights are random: they do not change the time.

Memory: peak of a process that makes two steps of Adam, beyond what it has after importing the libraries. Full
fine-tuning trains the same backbone and the same head without adapters.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dsformer_core.models import DescriptorModel, create_model
from dsformer_core.models.backbones import patch_map

THREADS = (1, 2)
TRAINING_SIDE = 224
METHODS = ("full fine-tuning", "float branch", "hash branch")

console = Console()


def bare(model: DescriptorModel, images: Tensor) -> Tensor:
    """The backbone's own output map, no adapter asked."""
    tokens, grid = model.backbone.embed(images)
    for block in model.backbone.vit.blocks:
        tokens = block(tokens)
    return patch_map(model.backbone.vit.norm(tokens), grid)


def measure_time(name: str, repeats: int) -> list[dict[str, Any]]:
    model = create_model(name, variant="rerank")
    images = torch.randn(1, 3, *model.preprocessing.size)
    functions: list[Callable[[], Any]] = [
        lambda: bare(model, images),
        lambda: model(images),
        lambda: model.describe(images),
    ]
    rows = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        times: list[list[float]] = [[] for _ in functions]
        with torch.inference_mode():
            for function in functions:
                function()
            for _ in range(repeats):
                for function, its_times in zip(functions, times, strict=True):
                    start = time.perf_counter()
                    function()
                    its_times.append(1e3 * (time.perf_counter() - start))
        alone, floats, both = map(statistics.median, times)
        ratios = [statistics.median(b / a for a, b in zip(times[0], other, strict=True)) for other in times[1:]]
        rows.append(
            {
                "threads": threads,
                "backbone_ms": alone,
                "float_branch_ms": floats,
                "both_branches_ms": both,
                "float_branch_ratio": ratios[0],
                "both_branches_ratio": ratios[1],
            }
        )
    return rows


def train_twice(name: str, method: str, batch: int) -> int:
    """Two steps; returns by how many KiB the process's peak of memory grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = create_model(name, variant="rerank" if method == "hash branch" else "standard")
    forward: Callable[[Tensor], Tensor] = model
    if method == "full fine-tuning":
        del model.adapters
        model.backbone.requires_grad_(True)
        forward = lambda images: model.head((bare(model, images),))  # noqa: E731
    elif method == "hash branch":
        model.freeze_descriptors()
        forward = model.hash_floats
    model.train()
    optimizer = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad])
    for _ in range(2):
        descriptors = forward(torch.randn(batch, 3, TRAINING_SIDE, TRAINING_SIDE))
        (descriptors @ descriptors.T).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def measure_memory(name: str, batch: int) -> dict[str, float]:
    """MiB of each method, in a process of its own."""
    found = {}
    for method in METHODS:
        command = [sys.executable, __file__, "--model", name, "--batch", str(batch), "--train", method]
        found[method] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("selavprpp_base", "selavprpp_large"), default="selavprpp_base")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16, help="pictures of a training step (default: %(default)s)")
    parser.add_argument("--train", choices=METHODS, help="only make two steps and print the KiB they took")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    if arguments.train:
        print(train_twice(arguments.model, arguments.train, arguments.batch))
        return
    rows = measure_time(arguments.model, arguments.repeats)
    table = Table("threads", "backbone, ms", "float branch, ms", "ratio", "both branches, ms", "ratio")
    for row in rows:
        table.add_row(
            str(row["threads"]),
            f"{row['backbone_ms']:.0f}",
            f"{row['float_branch_ms']:.0f}",
            f"{row['float_branch_ratio']:.2f}",
            f"{row['both_branches_ms']:.0f}",
            f"{row['both_branches_ratio']:.2f}",
        )
    console.print(table)
    memory = measure_memory(arguments.model, arguments.batch)
    whole = memory["full fine-tuning"]
    table = Table(f"trained, {arguments.batch} pictures", "memory, MiB", "share")
    for method, used in memory.items():
        table.add_row(method, f"{used:.0f}", f"{100 * used / whole:.0f} %")
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"time": rows, "training_memory_mib": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
