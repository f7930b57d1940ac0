"""`dsformer map add`: another drive for a map that exists."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, print_json, steps
from dsformer_core.cli.map.build import STEPS, saying_what_is_kept
from dsformer_core.cli.map.describing_arguments import add_describing_arguments
from dsformer_core.cli.map.left_out import LeftOut
from dsformer_core.cli.map.source_arguments import add_source_arguments, chosen_source

EXAMPLES = """\
examples:
  dsformer map add town.map --images tuesday/
  dsformer map add town.map --images tuesday/ --resume             # after Ctrl-C or a power cut
  dsformer map add town.map --images tuesday/ --weights mine.pth   # weights that were never released
"""


def register(verbs: Any) -> None:
    """Adds `add` to `dsformer map`."""
    parser = verbs.add_parser(
        "add",
        help="append a drive to a map",
        description="Describes pictures with the network that the map was made with and appends them to the map, which "
        "keeps its frame, its index and its references. Pictures that the map has already are left out. The map is "
        "replaced at the end, whole or not at all; who has it open goes on searching the old one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    add_source_arguments(parser)
    parser.add_argument(
        "--weights", help="file, or name of released weights (default: those that the map names, if they were released)"
    )
    add_describing_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted addition was")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Adds the pictures and says how many."""
    from dsformer_core.cli.map.info import describe
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.building.build import add_to_place_map
    from dsformer_core.place_map.network import network_of

    left_out = LeftOut()
    source = chosen_source(arguments)
    # Through a symbolic link the map that it names grows; the link stays what it is.
    directory = arguments.map.resolve() if arguments.map.is_symlink() else arguments.map
    before = PlaceMap.open(directory)
    extractor = network_of(
        before,
        arguments.weights,
        device=arguments.device,
        precision=arguments.precision,
        optimize=arguments.optimize,
        runtime=arguments.runtime,
    )
    with steps() as show, saying_what_is_kept(directory):
        after = add_to_place_map(
            before,
            source,
            extractor,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            strict=arguments.strict,
            resume=arguments.resume,
            on_progress=lambda progress: show(STEPS[progress.step], progress.done, progress.total),
            on_skipped=left_out.add,
        )
    if arguments.json:
        print_json(describe(after) | {"added": after.count - before.count, "skipped": left_out.values()})
        return
    added = f"{after.count - before.count} references added, {after.count} in all{left_out.words()}"
    answers.print(f"{arguments.map}: {added}", markup=False, highlight=False)
