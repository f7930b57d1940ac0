"""`dsformer map remove`: fewer references, by id, source, area or time."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, print_json, progress
from dsformer_core.cli.map.rewriting_arguments import add_rewriting_arguments
from dsformer_core.errors import UsageError

if TYPE_CHECKING:
    from dsformer_core.place_map.changes.selection import Selection

EXAMPLES = """\
examples:
  dsformer map remove town.map --match 'tuesday/*' --dry-run
  dsformer map remove town.map --within building_site.geojson --before 2026-05-01
  dsformer map remove town.map --bbox 12.55 55.67 12.58 55.69 --output rest.map
  dsformer map remove town.map --ids blurred.txt

What is given together must all apply: --source tuesday --within park.geojson removes what is of both.
"""

# Ids on the terminal; all of them are in the JSON.
_SHOWN = 3


def register(verbs: Any) -> None:
    """Adds `remove` to `dsformer map`."""
    parser = verbs.add_parser(
        "remove",
        help="take references out of a map",
        description="Takes references out of a map, which keeps its frame; the others stay as they are, to the bit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_rewriting_arguments(parser)
    which = parser.add_argument_group("which references")
    which.add_argument("--match", nargs="+", default=[], metavar="GLOB", help="those whose ids match; * matches / too")
    which.add_argument("--ids", type=Path, metavar="FILE", help="those whose ids are in a file, one a line")
    which.add_argument("--source", nargs="+", default=[], metavar="NAME", help="those that were read from this source")
    which.add_argument("--within", type=Path, metavar="AREA", help="those within the polygons of a GeoJSON file")
    which.add_argument(
        "--bbox", type=float, nargs=4, metavar=("WEST", "SOUTH", "EAST", "NORTH"), help="those within a box, degrees"
    )
    which.add_argument("--after", metavar="TIME", help="those taken from then on, ISO 8601, UTC without an offset")
    which.add_argument("--before", metavar="TIME", help="those taken before then")
    parser.add_argument("--dry-run", action="store_true", help="only say how many and which")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Finds the references, removes them, and says how many are left."""
    import numpy as np

    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.rewriting import keep_rows

    selection = _selection(arguments)
    place_map = PlaceMap.open(arguments.map)
    chosen = selection.rows(place_map)
    if selection.ids and (missing := len(selection.ids) - len(set(place_map.ids) & selection.ids)):
        errors.print(
            f"{missing} of the {len(selection.ids)} ids of {arguments.ids} are not in {arguments.map}",
            style="yellow",
            markup=False,
            highlight=False,
        )
    for line in selection.met_by_none(place_map):
        errors.print(f"{arguments.map}: {line}", style="yellow", markup=False, highlight=False)
    ids = [place_map.ids[row] for row in chosen.tolist()]
    output = arguments.output or arguments.map
    kept = np.setdiff1d(np.arange(place_map.count), chosen, assume_unique=True)
    wanted = len(chosen) > 0 or arguments.output is not None
    if wanted and not arguments.dry_run:
        with progress("writing references", len(kept)) as advance:
            keep_rows(place_map, kept, arguments.output, overwrite=arguments.overwrite, on_progress=advance)
    if arguments.json:
        counts = {"removed": len(chosen), "count": len(kept), "dry_run": arguments.dry_run}
        print_json({"directory": str(output), **counts, "ids": ids})
        return
    words = "would be removed" if arguments.dry_run else "removed"
    some = f": {', '.join(ids[:_SHOWN])}{', …' if len(ids) > _SHOWN else ''}" if ids else ""
    answers.print(
        f"{output}: {len(chosen)} of {place_map.count} references {words}, {len(kept)} left{some}",
        markup=False,
        highlight=False,
    )


def _selection(arguments: argparse.Namespace) -> "Selection":
    import math

    from dsformer_core.place_map.changes.areas import read_areas
    from dsformer_core.place_map.changes.selection import Selection, read_ids

    return Selection(
        match=arguments.match,
        ids=read_ids(arguments.ids) if arguments.ids else None,
        sources=arguments.source,
        within=read_areas(arguments.within) if arguments.within else (),
        bbox=tuple(arguments.bbox) if arguments.bbox else None,
        after=_time("--after", arguments.after) if arguments.after else math.nan,
        before=_time("--before", arguments.before) if arguments.before else math.nan,
    )


def _time(option: str, text: str) -> float:
    from dsformer_core.sources.times import parse_time

    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(f"{option} '{text}' is no time: write e.g. 2026-05-01T12:00:00+02:00") from None
