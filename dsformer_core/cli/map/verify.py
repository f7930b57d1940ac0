"""`dsformer map verify`: whether a map is as it was built."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, print_json

EXAMPLES = """\
examples:
  dsformer map verify town.map && echo fit to drive
  dsformer map verify --deep city.map              every byte, however many descriptors there are
"""


def register(verbs: Any) -> None:
    """Adds `verify` to `dsformer map`."""
    parser = verbs.add_parser(
        "verify",
        help="check the bytes of a map",
        description="Checks version, shapes, counts and the checksum of every file, thumbnails included; of "
        "descriptors.npy beyond 256 MiB only with --deep. Exit status 1 and one line when something is wrong.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument("--deep", action="store_true", help="read descriptors of any size, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Opens the map with every check there is, or all but one."""
    from dsformer_core.place_map import PlaceMap

    place_map = PlaceMap.open(arguments.map, verify="full" if arguments.deep else "most")
    unread = list(place_map.unread)
    if arguments.json:
        print_json({"directory": str(arguments.map), "intact": True, "count": place_map.count, "not_read": unread})
        return
    checked = f"every checksum agrees but that of {unread[0]}, which was not read: --deep does" if unread else ""
    answers.print(
        f"{arguments.map} is intact: {place_map.count} references, {checked or 'every checksum agrees'}",
        markup=False,
        highlight=False,
    )
