"""`dsformer map verify`: whether every byte of a map is as it was built."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, print_json

EXAMPLES = """\
examples:
  dsformer map verify town.map && echo fit to drive
"""


def register(verbs: Any) -> None:
    """Adds `verify` to `dsformer map`."""
    parser = verbs.add_parser(
        "verify",
        help="check every byte of a map",
        description="Checks version, shapes, counts and the checksum of every file, thumbnails included. "
        "Exit status 1 and one line when something is wrong.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Opens the map with every check there is."""
    from dsformer_core.place_map import PlaceMap

    place_map = PlaceMap.open(arguments.map, verify="full")
    if arguments.json:
        print_json({"directory": str(arguments.map), "intact": True, "count": place_map.count})
    else:
        answers.print(
            f"{arguments.map} is intact: {place_map.count} references, every checksum agrees",
            markup=False,
            highlight=False,
        )
