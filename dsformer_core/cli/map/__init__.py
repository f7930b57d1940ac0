"""`dsformer map`: make place maps, change them, look at them, check them."""

import argparse
from typing import Any

from dsformer_core.cli.map import (
    add,
    build,
    calibrate,
    diff,
    export,
    import_descriptors,
    info,
    merge,
    reindex,
    remove,
    report,
    sources,
    split,
    thin,
    verify,
    view,
)

EXAMPLES = """\
examples:
  dsformer map build --images drive/ --output town.map --model dsformer_tiny
  dsformer map sources                                  where pictures may come from
  dsformer map add town.map --images tuesday.mcap       docs/maps.md: the life of a map
  dsformer map merge north.map south.map --output town.map
  dsformer map thin town.map --every-metres 5
  dsformer map diff monday.map tuesday.map
  dsformer map info town.map
  dsformer map view town.map --output town.html
  dsformer map report town.map --output report.html     what is good in it, and what to mend
  dsformer map verify town.map
"""


def register(subparsers: Any) -> None:
    """Adds `map` and its verbs to the command line."""
    parser = subparsers.add_parser(
        "map",
        help="make place maps, change them, look at them, check them",
        description="Make place maps of geotagged pictures, change them, look at them, check them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (
        *(build, add, merge, remove, thin, split, reindex),
        *(import_descriptors, export),
        *(info, calibrate, diff, report, view, verify, sources),
    ):
        verb.register(verbs)
