"""`dsformer demo`: the whole path once, in an invented town, through real processes."""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dsformer_core.errors import UsageError

EXAMPLES = """\
examples:
  dsformer demo                                  a few minutes on two cores; writes demo_output/index.html
  dsformer demo --output /tmp/town --town 12     another town
"""


def register(subparsers: Any) -> None:
    """Adds `demo` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="render a town, map it, drive through it again and localize with the real node",
        description="Renders a map drive and later query drives of an invented town, builds the map, starts the node "
        "and a camera as processes of their own, and compares what the node publishes with the truth.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for pictures, map and page")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier demo left in the folder")
    parser.add_argument("--town", type=int, default=1, help="seed of the town (default: %(default)s)")
    parser.add_argument("--model", default="dsformer_tiny", help="network to describe with (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Renders, maps, drives, reports."""
    from dsformer_ros.demo.page import write_report
    from dsformer_ros.demo.report import compare, print_table, summarise
    from dsformer_ros.demo.robot import drive
    from dsformer_ros.demo.town import build_map, render_drives

    output: Path = arguments.output
    if output.exists():
        if not arguments.overwrite:
            raise UsageError(f"{output} exists: name another --output, or --overwrite it")
        if any(output.iterdir()) and not (output / "map_drive").is_dir():
            raise UsageError(f"{output} was not made by a demo, so it is left alone: name another --output")
        shutil.rmtree(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place until it is whole: an interrupted demo leaves nothing that looks like a finished one.
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as workplace:
        folder = Path(workplace) / output.name
        drives = render_drives(folder, town_seed=arguments.town)
        place_map = build_map(folder, model=arguments.model)
        results = {name: compare(drive(place_map.directory, pictures), place_map) for name, pictures in drives.items()}
        summaries = {name: summarise(of_drive) for name, of_drive in results.items()}
        write_report(folder / "index.html", results, summaries, place_map)
        folder.rename(output)
    print_table(summaries, output / "index.html", as_json=arguments.json)
