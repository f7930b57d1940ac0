"""The options of `dsformer map` that say how pictures are described."""

import argparse

from dsformer_core.cli.optimize_argument import add_optimize_argument
from dsformer_core.cli.runtime_argument import add_runtime_argument


def add_describing_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--device` and what else concerns the network at work."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: %(default)s)")
    parser.add_argument(
        "--precision",
        default="auto",
        help="auto, float32, bfloat16 or float16 (default: bfloat16 on CUDA, else float32)",
    )
    add_optimize_argument(parser)
    add_runtime_argument(parser)
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode (default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="stop at the first picture that cannot be used")
