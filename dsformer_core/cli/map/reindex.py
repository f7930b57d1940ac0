"""`dsformer map reindex`: another index of the same descriptors."""

import argparse
from typing import Any

from dsformer_core.cli.console import answers, errors, print_json, progress
from dsformer_core.cli.map.index_arguments import add_index_arguments, requested_index, say_why_that_index
from dsformer_core.cli.map.rewriting_arguments import add_rewriting_arguments

EXAMPLES = """\
examples:
  dsformer map reindex city.map --index binary
  dsformer map reindex city.map --index binary --candidates 500 --output city_binary.map
"""


def register(verbs: Any) -> None:
    """Adds `reindex` to `dsformer map`."""
    parser = verbs.add_parser(
        "reindex",
        help="search a map another way",
        description="Makes another index of the descriptors that the map has; neither its pictures nor the network are "
        "needed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_rewriting_arguments(parser)
    add_index_arguments(parser, required=True)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Makes the index and says what it is."""
    import numpy as np

    from dsformer_core.cli.map.info import describe
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.rewriting import keep_rows

    request = requested_index(arguments)
    before = PlaceMap.open(arguments.map)
    with progress("writing references", before.count) as advance:
        after = keep_rows(
            before,
            np.arange(before.count),
            arguments.output,
            index=request,
            overwrite=arguments.overwrite,
            on_progress=advance,
        )
    if before.descriptors.dtype.itemsize < after.descriptors.dtype.itemsize:
        errors.print(
            f"descriptors are kept in {after.descriptors.dtype} now, with the precision of {before.descriptors.dtype} "
            "that they had",
            style="yellow",
            markup=False,
            highlight=False,
        )
    say_why_that_index(after)
    if arguments.json:
        print_json(describe(after))
        return
    instead = "as before" if after.index_kind == before.index_kind else f"instead of {before.index_kind}"
    answers.print(
        f"{after.directory}: {after.count} references, searched by {after.index_kind} {instead}",
        markup=False,
        highlight=False,
    )
