"""`dsformer map merge`: several maps become one."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, errors, print_json, progress
from dsformer_core.cli.map.index_arguments import add_index_arguments, say_why_that_index
from dsformer_core.cli.map.rewriting_arguments import chosen_index

EXAMPLES = """\
examples:
  dsformer map merge north.map south.map --output town.map
  dsformer map merge tiles/*.map --output city.map --index auto
  dsformer map merge town.map tuesday.map --output town.map --overwrite
"""


def register(verbs: Any) -> None:
    """Adds `merge` to `dsformer map`."""
    parser = verbs.add_parser(
        "merge",
        help="make one map of several",
        description="Puts maps of one network together, in the frame of the first. A picture that several of them have "
        "(the same image, taken at the same time) is kept once; references whose ids collide get the name of their map "
        "before it. Nothing is described anew.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("maps", type=Path, nargs="+", metavar="MAP", help="the maps' directories, two or more")
    parser.add_argument("--output", type=Path, required=True, metavar="MAP", help="directory to make")
    parser.add_argument("--name", help="what to call the map (default: the directory's name)")
    add_index_arguments(parser, otherwise="that of the first map")
    parser.add_argument("--overwrite", action="store_true", help="replace the map that is there")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Merges the maps and says what became of their references."""
    from dsformer_core.cli.map.info import describe
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.merging import merge_place_maps

    place_maps = [PlaceMap.open(directory) for directory in arguments.maps]
    with progress("writing references", sum(one.count for one in place_maps)) as advance:
        merged = merge_place_maps(
            place_maps,
            arguments.output,
            name=arguments.name,
            index=chosen_index(arguments),
            overwrite=arguments.overwrite,
            on_progress=advance,
        )
    if merged.altitudes_lost:
        errors.print(
            f"{merged.altitudes_lost} altitudes are above something else than those of the first map, "
            "and are unknown now",
            style="yellow",
            markup=False,
            highlight=False,
        )
    say_why_that_index(merged.place_map)
    counts = {"repeated": merged.repeated, "renamed": merged.renamed, "altitudes_lost": merged.altitudes_lost}
    if arguments.json:
        print_json(describe(merged.place_map) | counts)
        return
    repeated = f", {merged.repeated} were there twice and are kept once" if merged.repeated else ""
    renamed = f", {merged.renamed} have their map's name before theirs" if merged.renamed else ""
    answers.print(
        f"{arguments.output}: {merged.place_map.count} references of {len(place_maps)} maps{repeated}{renamed}",
        markup=False,
        highlight=False,
    )
