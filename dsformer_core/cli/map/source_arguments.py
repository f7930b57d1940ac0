"""The options of `dsformer map` that say where pictures come from."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsformer_core.sources import Source


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--images` and what helps to read them."""
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder of pictures with GPS in their EXIF or '@' file names, or a .csv/.parquet manifest",
    )
    parser.add_argument("--zone", help="UTM zone of coordinates that come without one, e.g. 33N")


def chosen_source(arguments: argparse.Namespace) -> "Source":
    """The source that a command line names.

    Raises:
        UsageError: there is nothing, or nothing that pictures come from.
        DsformerError: it cannot be read.
    """
    from dsformer_core.geodesy import UtmZone
    from dsformer_core.sources import open_source

    return open_source(arguments.images, zone=UtmZone.parse(arguments.zone) if arguments.zone else None)
