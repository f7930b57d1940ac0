"""`dsformer map thin`: fewer references that show as much."""

import argparse
from typing import Any

from dsformer_core.cli.console import answers, print_json, progress
from dsformer_core.cli.map.rewriting_arguments import add_rewriting_arguments

EXAMPLES = """\
examples:
  dsformer map thin town.map --every-metres 5 --dry-run
  dsformer map thin town.map --every-metres 5 --every-degrees 30 --output thin.map
  dsformer map thin town.map --every-metres 5 --similar 0.9       # thins less: only what looks nearly the same goes
"""


def register(verbs: Any) -> None:
    """Adds `thin` to `dsformer map`."""
    parser = verbs.add_parser(
        "thin",
        help="leave out references that others stand for",
        description="Leaves out references that are near one that stays, look the same way, and look alike: what was "
        "taken by night stays beside what was taken by day. The earlier of two in the map stays.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_rewriting_arguments(parser)
    parser.add_argument("--every-metres", type=float, required=True, metavar="D", help="how near is near")
    parser.add_argument(
        "--every-degrees",
        type=float,
        default=30.0,
        metavar="A",
        help="up to which difference of headings two look the same way (default: %(default)s)",
    )
    parser.add_argument(
        "--similar",
        type=float,
        metavar="S",
        help="from which similarity of descriptors on two look alike, -1 to 1 (default: two spreads above what wrong "
        "places score in this map, which `dsformer map info` says)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Thins the map and says what it was before and after."""
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.rewriting import keep_rows
    from dsformer_core.place_map.changes.thinning import Thinning, rows_to_keep, usual_similarity

    place_map = PlaceMap.open(arguments.map)
    similar = usual_similarity(place_map) if arguments.similar is None else arguments.similar
    thinning = Thinning(arguments.every_metres, arguments.every_degrees, similar)
    with progress("comparing references", place_map.count) as advance:
        kept = rows_to_keep(place_map, thinning, on_progress=advance)
    output = arguments.output or arguments.map
    after: dict[str, float] = {"count": len(kept)}
    if not arguments.dry_run and (len(kept) < place_map.count or arguments.output is not None):
        with progress("writing references", len(kept)) as advance:
            made = keep_rows(place_map, kept, arguments.output, overwrite=arguments.overwrite, on_progress=advance)
        after["spacing_m"] = made.spacing
    if arguments.json:
        before = {"count": place_map.count, "spacing_m": place_map.spacing}
        said = {"directory": str(output), "similar": similar, "dry_run": arguments.dry_run}
        print_json(said | {"before": before, "after": after})
        return
    share = 100 * len(kept) / place_map.count
    words = "would stay" if arguments.dry_run else "stay"
    answers.print(
        f"{output}: {len(kept)} of {place_map.count} references {words} ({share:.0f} %); those left out are within "
        f"{thinning.metres:g} m and {thinning.degrees:g} degrees of one that stays, and similar to it by "
        f"{similar:.3f} or more",
        markup=False,
        highlight=False,
    )
