"""`dsformer cluster`: partition images into classes for training, look at partitions, extract their views."""

import argparse
from typing import Any

from dsformer_core.cli.cluster import build, extract, info, view

EXAMPLES = """\
examples:
  dsformer cluster build --images panoramas/ --kind panoramas --output city.partition
  dsformer cluster build --images drive/ --output drive.partition
  dsformer cluster info city.partition
  dsformer cluster view city.partition --output city.html
"""


def register(subparsers: Any) -> None:
    """Adds `cluster` and its verbs to the command line."""
    parser = subparsers.add_parser(
        "cluster",
        help="partition images into classes for training",
        description="Partitions geotagged images into groups of classes for training, and shows what came out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (build, extract, info, view):
        verb.register(verbs)
