"""`dsformer evaluate --sequence`: a drive asked of a map as a robot would ask it."""

import argparse
import json
from pathlib import Path

from dsformer_core.cli.console import answers, errors, print_json, print_table, steps
from dsformer_core.cli.map.source_arguments import add_drive_arguments, chosen_options, refuse_maps
from dsformer_core.cli.odometry_argument import add_odometry_argument
from dsformer_core.errors import UsageError

_OF_DATA_SETS = ("root", "check", "radius", "index", "candidates", "submission", "cache")


def add_sequence_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--sequence` and what belongs to it."""
    drive = parser.add_argument_group("a drive through a map")
    drive.add_argument(
        "--sequence",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="drive with times and positions, as of `map build`",
    )
    drive.add_argument("--map", type=Path, metavar="MAP", help="the map that is asked")
    drive.add_argument(
        "--kidnap",
        type=int,
        default=0,
        metavar="N",
        help="carry the robot N times: the drive is driven in pieces, with odometry that is made",
    )
    add_odometry_argument(drive)
    add_drive_arguments(parser, drive)


def refuse_options_of_drives(arguments: argparse.Namespace) -> None:
    """For an evaluation of something else, where only `--zone` means anything.

    Raises:
        UsageError: names one that was given.
    """
    from dsformer_core.sources.options import option

    given = [name for name in chosen_options(arguments).given() if name != "zone"]
    if given:
        raise UsageError(f"{option(given[0])} is for recordings and videos of a drive: give it with --sequence")


def evaluate_a_sequence(arguments: argparse.Namespace) -> None:
    """Evaluates the drive and prints what came out.

    Raises:
        UsageError: the arguments do not go together.
        DsformerError: the drive or the map cannot be used.
    """
    from dsformer_core.cli.map.left_out import LeftOut
    from dsformer_core.evaluation.sequence import evaluate_sequence
    from dsformer_core.evaluation.sequence_odometry import choose_odometry
    from dsformer_core.evaluation.sequence_page import sequence_table
    from dsformer_core.evaluation.sequence_source import ScannedSource
    from dsformer_core.localization.fusion.replay import describe_drive
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
    from dsformer_core.place_map.network import network_of
    from dsformer_core.sources import open_sources

    if arguments.map is None:
        raise UsageError("--sequence is asked of a map: give --map MAP")
    if arguments.dataset or arguments.database or arguments.queries or arguments.model:
        raise UsageError("--sequence goes with --map alone: no data set, --database, --queries or --model beside it")
    if arguments.weights and len(arguments.weights) > 1:
        raise UsageError("a map has one network: give --weights once")
    for name in _OF_DATA_SETS:
        if getattr(arguments, name):
            raise UsageError(f"--{name.replace('_', '-')} means nothing to a drive: leave it out with --sequence")
    refuse_maps(arguments.sequence, "--sequence")
    if arguments.kidnap < 0:
        raise UsageError(f"--kidnap {arguments.kidnap}: it must be 0 or more")
    options = chosen_options(arguments)
    source = open_sources(arguments.sequence, options)
    odometry = choose_odometry(arguments.odometry, arguments.sequence, options, kidnap=bool(arguments.kidnap))
    place_map = PlaceMap.open(arguments.map)
    scanned = ScannedSource.of(source)
    off_map = ~scanned.mapped(place_map)
    if off_map.any():
        errors.print(
            f"{off_map.sum()} of {len(off_map)} pictures were taken more than {RIGHT_PLACE_RADIUS:.0f} m from any "
            "reference: silence is right there, and counts against availability",
            style="yellow",
            highlight=False,
        )
    weights = arguments.weights[0] if arguments.weights else None
    extractor = network_of(
        place_map,
        weights,
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
    odometry.check(drive)
    found = evaluate_sequence(
        place_map,
        drive,
        odometry=odometry.moves,
        odometry_words=odometry.words,
        covariances=odometry.covariances,
        kidnap=arguments.kidnap,
    )
    if arguments.json:
        print_json(found.numbers() | {"skipped": left_out.values()})
    else:
        answers.print(
            f"{len(drive)} pictures, {found.drive.kilometres:.2f} km in {place_map.name}; odometry: {odometry.words}",
            markup=False,
            highlight=False,
        )
        print_table(sequence_table(found))
    if arguments.output is not None:
        from dsformer_core.evaluation.sequence_page import write_sequence_page
        from dsformer_core.pages import write_page

        arguments.output.mkdir(parents=True, exist_ok=True)
        write_page(arguments.output / "sequence.json", json.dumps(found.numbers(), indent=2, ensure_ascii=False) + "\n")
        write_sequence_page(found, arguments.output / "sequence.html")
        errors.print(f"wrote sequence.json and sequence.html in {arguments.output}", markup=False, highlight=False)
