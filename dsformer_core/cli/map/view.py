"""`dsformer map view`: a map as one page."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, steps

EXAMPLES = """\
examples:
  dsformer map view town.map                       writes town.html beside it
  dsformer map view town.map --output /tmp/a.html
  dsformer map view after.map --before before.map  what was added, what went
  dsformer map view city.map --likes 5000          ask 5,000 references which place they look like
"""


def register(verbs: Any) -> None:
    """Adds `view` to `dsformer map`."""
    parser = verbs.add_parser(
        "view",
        help="draw a map as one HTML page",
        description="Writes one self-contained HTML page: references, headings, and thumbnails when clicked; as layers "
        "to switch on, how densely the ground is covered, where only one direction is known, what looks like another "
        "place, and which drive a reference comes from. It works without internet; with it, streets lie underneath.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="page to write (default: the map's name with .html)"
    )
    parser.add_argument(
        "--before", type=Path, metavar="MAP", help="an earlier state of the map: shows what was added and what went"
    )
    parser.add_argument(
        "--likes",
        type=int,
        metavar="N",
        help="references that are asked which other place they look like, 0 for none (default: all of a small map, of "
        "a large one as many as take some ten seconds)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Draws the page."""
    from dsformer_core.pages import require_page_name
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.inspection.view import write_view

    output = arguments.output or arguments.map.absolute().with_suffix(".html")
    require_page_name(output)
    place_map = PlaceMap.open(arguments.map)
    before = PlaceMap.open(arguments.before) if arguments.before is not None else None
    with steps() as show:
        pictures = write_view(place_map, output, before=before, aliases=arguments.likes, on_progress=show)
    some = f", pictures of {pictures} of them" if 0 < pictures < place_map.count else ""
    answers.print(f"{output}: {place_map.count} references{some}", markup=False, highlight=False)
