"""The option `--optimize` of commands that run a network, and what it cost."""

import argparse
from typing import TYPE_CHECKING

from dsformer_core.cli.console import errors

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor


def add_optimize_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--optimize`."""
    parser.add_argument(
        "--optimize",
        default="safe",
        metavar="LEVEL",
        help="off; safe: the same descriptors sooner; max: the network compiled as well, which takes half a minute or "
        "more when the first pictures come: on the CPUs where it was measured it gained little or nothing over safe, "
        "on CUDA it was not measured. .onnx and .engine files are as they were exported (default, on every device: "
        "%(default)s)",
    )


def say_what_starting_took(extractor: "Extractor") -> None:
    """Where a network was compiled: the price of it."""
    if extractor.optimize == "max":
        words = f"{extractor.model_name}: loaded and compiled in {extractor.startup_seconds:.1f} s"
        errors.print(words, markup=False, highlight=False)
