"""The option `--runtime` of commands that run a network."""

import argparse


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--runtime`."""
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="NAME",
        help="torch, onnx or tensorrt; auto goes by the file of --weights: .onnx and .engine files come from "
        "`dsformer export` (default: %(default)s)",
    )
