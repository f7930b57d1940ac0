"""The options of `dsformer map` that say how a map is searched."""

import argparse

# As in dsformer_core/place_map/index.py, which is slow to import.
INDEX_KINDS = ("flat", "flat_fp16", "binary")


def add_index_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--index` and what goes with some kinds of it."""
    parser.add_argument(
        "--index",
        choices=INDEX_KINDS,
        default="flat_fp16",
        help="how it is searched: flat (exact; memory for each reference: 4 bytes per number of the descriptor, 2048 "
        "for 512), flat_fp16 (similarities within 0.001; half of that) or binary (64 bytes whatever the descriptor, "
        "then floats of the best from disk; for 100,000 references and more) (default: %(default)s)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help="of a binary index, how many references that codes found are put in order by floats: more than there are "
        "views that look alike (default: 300)",
    )
