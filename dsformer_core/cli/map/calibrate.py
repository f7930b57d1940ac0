"""`dsformer map calibrate`: what a drive on another day teaches about a map's probabilities and covariances."""

import argparse
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, print_json, print_table, steps
from dsformer_core.cli.map.describing_arguments import add_describing_arguments
from dsformer_core.cli.map.left_out import LeftOut
from dsformer_core.cli.map.source_arguments import add_source_arguments, chosen_options, chosen_source, refuse_maps
from dsformer_core.cli.odometry_argument import add_odometry_argument
from dsformer_core.errors import DsformerError, UsageError

if TYPE_CHECKING:
    from dsformer_core.evaluation.sequence_source import ScannedSource
    from dsformer_core.localization.fusion.recalibrating import Honesty
    from dsformer_core.place_map import PlaceMap

FEWEST = 30
"""Pictures; of fewer, nothing about probabilities can be learnt."""

EXAMPLES = """\
examples:
  dsformer map calibrate town.map --queries tuesday_night/
  dsformer map calibrate town.map --queries tuesday.mcap                with the odometry that was recorded
  dsformer map calibrate town.map --queries tuesday.mcap --datum 55.68,12.57
  dsformer map calibrate town.map --queries tuesday_night/ --dry-run    only say how honest the map is
  dsformer map calibrate town.map --forget                              back to what the map knew of itself

The drive is one through the mapped streets, at another time than the map's own, with positions and, if there are some,
headings and times. It is asked as a robot would ask it, with its odometry, or with some made of its positions.
Drives of several conditions teach more: give them together.
"""


def register(verbs: Any) -> None:
    """Adds `calibrate` to `dsformer map`."""
    parser = verbs.add_parser(
        "calibrate",
        help="make a map's probabilities and covariances honest by a drive on another day",
        description="Fits corrections of a map's probabilities and covariances to a drive with known positions, and "
        "keeps them in its map.yaml.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="the map's directory")
    add_source_arguments(parser, "--queries", required=False)
    add_odometry_argument(parser.add_argument_group("odometry"))
    parser.add_argument("--weights", help="file of the map's network, where its weights were not released")
    add_describing_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="leave the map as it is")
    parser.add_argument("--forget", action="store_true", help="forget what earlier drives taught, and learn nothing")
    parser.add_argument("--json", action="store_true", help="print what was learnt as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Learns from the drive and says how honest the map was and is."""
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.changes.recalibration import keep_recalibration

    if arguments.forget == bool(arguments.images):
        raise UsageError("give --queries DRIVE, or --forget what was learnt, and not both")
    if arguments.forget and arguments.odometry is not None:
        raise UsageError("--odometry is of a drive: give it with --queries")
    place_map = PlaceMap.open(arguments.map)
    if arguments.forget:
        keep_recalibration(place_map, None)
        answers.print(f"{arguments.map}: forgotten", markup=False, highlight=False)
        return

    from dsformer_core.evaluation.sequence_odometry import choose_odometry
    from dsformer_core.evaluation.sequence_source import ScannedSource
    from dsformer_core.localization.fusion.recalibrating import honesty, learn
    from dsformer_core.localization.fusion.replay import describe_drive
    from dsformer_core.place_map.network import network_of

    refuse_maps(arguments.images, "--queries")
    source = chosen_source(arguments)
    odometry = choose_odometry(arguments.odometry, arguments.images, chosen_options(arguments))
    scanned = ScannedSource.of(source)
    _ask_where_it_lies(scanned, place_map)
    extractor = network_of(
        place_map,
        arguments.weights,
        device=arguments.device,
        precision=arguments.precision,
        optimize=arguments.optimize,
        runtime=arguments.runtime,
    )
    place_map.search_on(str(extractor.device))
    left_out = LeftOut()
    with steps() as show:
        drive = describe_drive(
            scanned,
            extractor,
            place_map,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            on_progress=lambda done, total: show("describing pictures", done, total),
            on_skipped=left_out.add,
        )
    if arguments.strict and left_out.values():
        raise DsformerError(f"{arguments.map} is as it was: some pictures cannot be used{left_out.words()}")
    if len(drive) < FEWEST:
        raise DsformerError(f"{len(drive)} pictures teach nothing: {FEWEST} are the least, some hundred are good")
    odometry.check(drive)
    learnt = learn(place_map, drive, odometry=odometry.moves, covariances=odometry.covariances)
    after = copy.copy(place_map)
    after.recalibration = learnt
    found = {
        when: honesty(one, drive, odometry=odometry.moves, covariances=odometry.covariances)
        for when, one in (("before", place_map), ("after", after))
    }
    if not arguments.dry_run:
        keep_recalibration(place_map, learnt)
    if arguments.json:
        values = {when: {name: vars(one) for name, one in some.items()} for when, some in found.items()}
        described = {"kilometres": drive.kilometres, "odometry": odometry.words, "skipped": left_out.values()}
        print_json(learnt.to_dict() | values | described)
        return
    _print(found)
    kept = "the map is left as it is" if arguments.dry_run else "kept in the map"
    answers.print(
        f"{arguments.map}: {len(drive)} pictures, {drive.kilometres:.1f} km{left_out.words()}; odometry: "
        f"{odometry.words}; {kept}",
        markup=False,
        highlight=False,
    )
    errors.print(
        "measured on the drive that taught it, asked once more as if its streets were not mapped: `dsformer evaluate "
        "--sequence ANOTHER_DRIVE` tells what it is worth in mapped streets",
        style="dim",
        highlight=False,
    )
    if drive.kilometres < 0.5:
        errors.print("a drive this short teaches little: 1 km and more is good", style="yellow", highlight=False)


def _ask_where_it_lies(scanned: "ScannedSource", place_map: "PlaceMap") -> None:
    """Before hours are spent on describing it."""
    from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS

    on_map = scanned.mapped(place_map)
    if len(on_map) and not on_map.any():
        raise DsformerError(
            f"{place_map.directory} is as it was: no picture of the drive was taken within {RIGHT_PLACE_RADIUS:.0f} m "
            "of a reference: is it another place's drive, or are the positions in another zone (--zone)?"
        )
    if len(on_map) and on_map.mean() < 0.5:
        errors.print(
            f"only {on_map.mean():.0%} of the pictures were taken within {RIGHT_PLACE_RADIUS:.0f} m of a reference: "
            "the rest teaches the map to be silent",
            style="yellow",
            highlight=False,
        )


def _print(found: "dict[str, dict[str, Honesty]]") -> None:
    from rich.table import Table

    table = Table("answers", "calibration error before", "after", "95 % ellipses hold before", "after")
    for name in ("single", "fused"):
        before, after = found["before"][name], found["after"][name]
        errors_of = (f"{one.calibration_error:.3f}" for one in (before, after))
        table.add_row(name, *errors_of, *(f"{one.held:.1%}" for one in (before, after)))
    print_table(table)
