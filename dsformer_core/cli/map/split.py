"""`dsformer map split`: tiles of a city, or its districts."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, errors, print_json, progress

EXAMPLES = """\
examples:
  dsformer map split city.map --tiles 2000 --overlap 100 --output tiles/
  dsformer map split city.map --areas districts.geojson --output districts/
  dsformer map merge tiles/*.map --output city_again.map
"""


def register(verbs: Any) -> None:
    """Adds `split` to `dsformer map`."""
    parser = verbs.add_parser(
        "split",
        help="divide a map by area",
        description="Writes a directory of maps, whole or not at all, and beside them areas.geojson, which says what "
        "ground each is of. All keep the frame of the map they are of: poses in one are poses in all.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--tiles", type=float, metavar="METRES", help="into squares of the UTM grid with such sides")
    by.add_argument("--areas", type=Path, metavar="FILE", help="by the polygons of a GeoJSON file, each with a name")
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="METRES",
        help="of tiles: references so near a tile belong to it as well (default: 0)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="directory to make")
    parser.add_argument("--overwrite", action="store_true", help="replace the directory of maps that is there")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Divides the map and says what into."""
    from dsformer_core.errors import UsageError
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.areas import read_areas
    from dsformer_core.place_map.changes.splitting import MAP_SUFFIX, districts, tiles, write_pieces

    if arguments.areas and arguments.overlap is not None:
        raise UsageError("--overlap is for --tiles: areas overlap where their polygons do")
    areas = read_areas(arguments.areas) if arguments.areas else []
    place_map = PlaceMap.open(arguments.map)
    nowhere = 0
    if areas:
        pieces, nowhere = districts(place_map, areas)
    else:
        pieces = tiles(place_map, arguments.tiles, overlap=arguments.overlap or 0.0)
    with progress("writing references", sum(len(piece.rows) for piece in pieces)) as advance:
        write_pieces(place_map, pieces, arguments.output, overwrite=arguments.overwrite, on_progress=advance)
    if nowhere:
        errors.print(
            f"{nowhere} of {place_map.count} references lie in none of the areas",
            style="yellow",
            markup=False,
            highlight=False,
        )
    if arguments.json:
        maps = [{"map": f"{piece.name}{MAP_SUFFIX}", "count": len(piece.rows)} for piece in pieces]
        print_json({"directory": str(arguments.output), "maps": maps, "in_no_area": nowhere})
        return
    answers.print(
        f"{arguments.output}: {len(pieces)} maps of {place_map.count - nowhere} references",
        markup=False,
        highlight=False,
    )
