"""The options of verbs that make a map of one that exists."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dsformer_core.cli.map.index_arguments import requested_index

if TYPE_CHECKING:
    from dsformer_core.place_map.indexes.request import IndexRequest


def add_rewriting_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the map, and where the new one goes."""
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="MAP",
        help="directory to make (default: the map is replaced; who has it open goes on searching the old one)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the map that is at --output")
    parser.add_argument("--json", action="store_true", help="print JSON")


def chosen_index(arguments: argparse.Namespace) -> "IndexRequest | None":
    """The index that a command line asks for; None where it names none."""
    from dsformer_core.errors import UsageError

    if arguments.index is not None:
        return requested_index(arguments)
    for name in ("candidates", "memory_limit", "factory", "effort"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is of an index that is named: say --index, too")
    return None
