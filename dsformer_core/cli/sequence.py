"""`dsformer evaluate --sequence`: a drive asked of a map as a robot would ask it."""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsformer_core.cli.console import answers, errors, print_json, print_table, steps
from dsformer_core.errors import UsageError


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
        "--odometry",
        metavar="FILE|made|none",
        help="CSV file with stamp, x, y, yaw; 'made' of the drive's positions, 2 %% off and 0.5 degrees a metre; or "
        "'none' (default: made)",
    )
    drive.add_argument(
        "--kidnap", type=int, default=0, metavar="N", help="carry the robot N times: the drive is driven in pieces"
    )


def evaluate_a_sequence(arguments: argparse.Namespace) -> None:
    """Evaluates the drive and prints what came out.

    Raises:
        UsageError: the arguments do not go together.
        DsformerError: the drive or the map cannot be used.
    """
    from dsformer_core.cli.map.left_out import LeftOut
    from dsformer_core.evaluation.sequence import evaluate_sequence, read_odometry
    from dsformer_core.evaluation.sequence_page import sequence_table
    from dsformer_core.geodesy import UtmZone
    from dsformer_core.localization.fusion.replay import describe_drive
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.network import network_of
    from dsformer_core.sources import SourceOptions, open_sources

    if arguments.map is None:
        raise UsageError("--sequence is asked of a map: give --map MAP")
    if arguments.dataset or arguments.database or arguments.queries or arguments.model:
        raise UsageError("--sequence goes with --map alone: no data set, --database, --queries or --model beside it")
    if arguments.weights and len(arguments.weights) > 1:
        raise UsageError("a map has one network: give --weights once")
    if arguments.kidnap < 0:
        raise UsageError(f"--kidnap {arguments.kidnap}: it must be 0 or more")
    asked = arguments.odometry or "made"
    made = asked == "made"
    if arguments.kidnap and asked not in ("made", "none"):
        raise UsageError("--kidnap drives pieces in another order, of which a file of odometry tells nothing")
    odometry: NDArray[np.float64] | None = None if made else np.empty((0, 4))
    if asked not in ("made", "none"):
        odometry = read_odometry(Path(asked))
    place_map = PlaceMap.open(arguments.map)
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
    options = SourceOptions(zone=UtmZone.parse(arguments.zone) if arguments.zone else None)
    left_out = LeftOut()
    with steps() as show:
        drive = describe_drive(
            open_sources(arguments.sequence, options),
            extractor,
            place_map,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            on_progress=lambda done, total: show("describing pictures", done, total),
            on_skipped=left_out.add,
        )
    words = {"made": "made of the drive's positions", "none": "none"}.get(asked, asked)
    found = evaluate_sequence(place_map, drive, odometry=odometry, odometry_words=words, kidnap=arguments.kidnap)
    if arguments.json:
        print_json(found.numbers() | {"skipped": left_out.values()})
    else:
        answers.print(
            f"{len(drive)} pictures, {found.drive.kilometres:.2f} km in {place_map.name}; odometry: {words}",
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
