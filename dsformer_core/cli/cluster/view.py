"""`dsformer cluster view`: a partition as one page."""

import argparse
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers

EXAMPLES = """\
examples:
  dsformer cluster view city.partition                       writes city.html beside it
  dsformer cluster view city.partition --output /tmp/a.html
"""


def register(verbs: Any) -> None:
    """Adds `view` to `dsformer cluster`."""
    parser = verbs.add_parser(
        "view",
        help="draw a partition as one HTML page",
        description="Writes one self-contained HTML page: classes, coloured by group, with an arrow along their "
        "street, and the images of small partitions. It works without internet; with it, streets lie underneath.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("partition", type=Path, metavar="PARTITION", help="the partition's directory")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="page to write (default: the partition's name with .html)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Draws the page."""
    from dsformer_core.clustering import Partition
    from dsformer_core.clustering.view import write_view
    from dsformer_core.pages import require_page_name

    partition = Partition.open(arguments.partition)
    output = arguments.output or arguments.partition.absolute().with_suffix(".html")
    require_page_name(output)
    classes = write_view(partition, output)
    answers.print(f"{output}: {classes} classes", markup=False, highlight=False)
