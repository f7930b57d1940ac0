"""`dsformer map view`: a map as one page."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, progress

EXAMPLES = """\
examples:
  dsformer map view town.map                       writes town.html beside it
  dsformer map view town.map --output /tmp/a.html
"""


def register(verbs: Any) -> None:
    """Adds `view` to `dsformer map`."""
    parser = verbs.add_parser(
        "view",
        help="draw a map as one HTML page",
        description="Writes one self-contained HTML page: references, headings, and thumbnails when clicked. "
        "It works without internet; with it, streets lie underneath.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="page to write (default: the map's name with .html)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Draws the page."""
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.view import write_view

    place_map = PlaceMap.open(arguments.map)
    output = arguments.output or arguments.map.absolute().with_suffix(".html")
    with progress("drawing references", place_map.count) as advance:
        write_view(place_map, output, on_progress=advance)
    answers.print(f"{output}: {place_map.count} references", markup=False, highlight=False)
