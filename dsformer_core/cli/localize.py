"""`dsformer localize`: where pictures were taken, by a map."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from dsformer_core.cli.console import answers as console
from dsformer_core.cli.console import errors, fits, print_json, print_table, progress
from dsformer_core.cli.optimize_argument import add_optimize_argument, say_what_starting_took
from dsformer_core.cli.runtime_argument import add_runtime_argument
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.pages import require_page_name

if TYPE_CHECKING:
    from dsformer_core.localization.queries import Answer, Score
    from dsformer_core.place_map import PlaceMap

EXAMPLES = """\
examples:
  dsformer localize picture.jpg --map town.map
  dsformer localize queries/ --map town.map --html answers.html
  dsformer localize left.jpg --map town.map --camera-yaw-deg 90 --json
  dsformer localize picture.jpg --map city.map --near 55.68,12.57 --radius 500

A picture that cannot be localized is an answer too: the table says why, and the exit status is 0. Where pictures carry
GPS positions of their own, the table shows how far off the best guess is, answered or not, and the last lines sum up.
On a terminal too narrow for the table every picture gets lines of its own.
"""


def register(subparsers: Any) -> None:
    """Adds `localize` to the command line."""
    parser = subparsers.add_parser(
        "localize",
        help="ask a map where pictures were taken",
        description="Finds each picture's most similar references and what pose they speak for.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="picture, or folder of pictures")
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="the map's directory")
    parser.add_argument("--model", metavar="NAME", help="network (default: the map's)")
    parser.add_argument(
        "--weights",
        default="auto",
        help="file, or name of released weights: those the map was made with (default: those released for the model)",
    )
    parser.add_argument("--top-k", type=int, default=20, help="references to retrieve (default: %(default)s)")
    parser.add_argument(
        "--min-probability",
        type=float,
        default=0.6,
        help="probability from which on the best hypothesis is an answer (default: %(default)s)",
    )
    parser.add_argument(
        "--camera-yaw-deg",
        type=float,
        default=0.0,
        help="direction of the camera on the robot, degrees counter-clockwise from ahead (default: %(default)s)",
    )
    parser.add_argument(
        "--near",
        type=_position,
        metavar="LAT,LON",
        help="rough position of all pictures, WGS-84 degrees (--near=LAT,LON where LAT is negative): only references "
        "at most --radius from there are looked at",
    )
    parser.add_argument("--radius", type=float, metavar="M", help="metres around --near")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: %(default)s)")
    add_optimize_argument(parser)
    add_runtime_argument(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with queries, matches and a map")
    parser.add_argument("--json", action="store_true", help="print the answers, with all hypotheses, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Localizes the pictures and prints what came out.

    Raises:
        DsformerError: some pictures could not be read; the answers to the others have been printed by then.
    """
    from dsformer_core.extractor import Extractor
    from dsformer_core.localization import LocalizationConfig
    from dsformer_core.localization.prior import Prior
    from dsformer_core.localization.queries import localize_pictures, score
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.network import require_known_network
    from dsformer_core.sources.folder import find_pictures

    if not math.isfinite(arguments.camera_yaw_deg):
        raise UsageError(f"--camera-yaw-deg {arguments.camera_yaw_deg} is not an angle")
    if (arguments.near is None) != (arguments.radius is None):
        raise UsageError("--near and --radius belong together: give both, or neither")
    if arguments.radius is not None and not 0 < arguments.radius < math.inf:
        raise UsageError(f"--radius {arguments.radius}: it must be above 0")
    if arguments.html is not None:
        require_page_name(arguments.html)
    config = LocalizationConfig(top_k=arguments.top_k, min_probability=arguments.min_probability)
    paths = find_pictures(arguments.pictures)
    place_map = PlaceMap.open(arguments.map)
    require_known_network(place_map)
    extractor = Extractor(
        arguments.model or place_map.model_name,
        arguments.weights,
        device=arguments.device,
        optimize=arguments.optimize,
        runtime=arguments.runtime,
    )
    place_map.check_model(extractor.model_name, extractor.weights_sha256, extractor.arithmetic)
    place_map.search_on(str(extractor.device))
    prior = None
    if arguments.near is not None:
        latitude, longitude = arguments.near
        prior = Prior.at_latlon(place_map, latitude, longitude, arguments.radius, "--near")

    found: list[Answer] = []
    failed: list[tuple[Path, DsformerError]] = []
    with progress("localizing pictures", len(paths)) as advance:
        camera_yaw = math.radians(arguments.camera_yaw_deg)
        for path, result in localize_pictures(
            paths, extractor, place_map, config, camera_yaw=camera_yaw, prior=prior, on_progress=advance
        ):
            if isinstance(result, DsformerError):
                failed.append((path, result))
                errors.print(str(result), style="yellow", markup=False, highlight=False)
            else:
                found.append(result)

    say_what_starting_took(extractor)
    summary = score(found)
    if arguments.json:
        unreadable = [{"picture": str(path), "reason": str(reason)} for path, reason in failed]
        described = [_describe(answer, place_map) for answer in found]
        print_json({"answers": described, "unreadable": unreadable, "score": vars(summary)})
    elif found:
        _print_answers(found, place_map)
        _print_score(summary)
    if arguments.html and found:
        from dsformer_core.localization.page import write_answers

        write_answers(found, place_map, arguments.html)
        errors.print(f"wrote {arguments.html}", markup=False, highlight=False)
    if failed:
        raise DsformerError(f"{len(failed)} of {len(paths)} pictures could not be read")


def _position(text: str) -> tuple[float, float]:
    """Latitude and longitude of "LAT,LON"."""
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no position: give LAT,LON, e.g. 55.68,12.57") from None
    return latitude, longitude


def _pose(answer: "Answer", place_map: "PlaceMap", number: int = 0) -> tuple[float, float, float]:
    """Latitude, longitude and heading (NaN unknown), in degrees, of one hypothesis."""
    from dsformer_core.geodesy import grid_convergence, to_latlon, yaw_to_heading

    hypothesis = answer.hypotheses[number]
    latitude, longitude = to_latlon(hypothesis.utm, place_map.zone)
    convergence = grid_convergence(latitude, longitude, place_map.zone)
    return float(latitude), float(longitude), float(yaw_to_heading(hypothesis.yaw, convergence))


def _describe(answer: "Answer", place_map: "PlaceMap") -> dict[str, Any]:
    hypotheses = []
    for number, hypothesis in enumerate(answer.hypotheses):
        latitude, longitude, heading = _pose(answer, place_map, number)
        hypotheses.append(
            {
                "latitude": latitude,
                "longitude": longitude,
                "altitude": hypothesis.altitude,
                "heading_deg": heading,
                "easting": float(hypothesis.utm[0]),
                "northing": float(hypothesis.utm[1]),
                "yaw": hypothesis.yaw,
                "covariance": hypothesis.covariance.tolist(),
                "probability": hypothesis.probability,
                "similarity": hypothesis.similarity,
                "references": [place_map.ids[row] for row in hypothesis.references],
            }
        )
    return {
        "picture": str(answer.picture),
        "state": answer.verdict.state.value,
        "reason": answer.verdict.reason,
        "utm_zone": str(place_map.zone),
        "error_m": answer.error if math.isfinite(answer.error) else math.nan,
        "hypotheses": hypotheses,
    }


def _print_answers(found: "list[Answer]", place_map: "PlaceMap") -> None:
    """A row each where whole rows fit on the terminal, else some lines each."""
    table = _table(found, place_map)
    if not fits(table):
        for answer in found:
            console.print(_in_lines(answer, place_map), markup=False, highlight=False)
        return
    print_table(table)
    for answer in found:
        if not _localized(answer):
            line = f"{answer.picture.name}: {answer.verdict.state.value}, {answer.verdict.reason}"
            console.print(line, markup=False, highlight=False)


def _table(found: "list[Answer]", place_map: "PlaceMap") -> Table:
    known = any(math.isfinite(answer.error) for answer in found)
    columns = ["picture", "state", "latitude", "longitude", "heading", "± m", "prob.", "best reference"]
    table = Table(*columns, *(["best guess off"] if known else []), box=box.SIMPLE_HEAD)
    for answer in found:
        pose, probability, reference = ["-"] * 4, "-", "-"
        if answer.hypotheses:
            best = answer.hypotheses[0]
            probability, reference = f"{best.probability:.2f}", place_map.ids[best.references[0]]
        if _localized(answer):
            latitude, longitude, heading = _pose(answer, place_map)
            pose = [f"{latitude:.6f}", f"{longitude:.6f}", _direction(heading), f"{best.position_std:.0f}"]
        error = f"{answer.error:.1f} m" if math.isfinite(answer.error) else "-"
        cells = [answer.picture.name, answer.verdict.state.value, *pose, probability, reference]
        # As Text: a file name may hold what looks like rich's markup.
        table.add_row(*(Text(cell) for cell in ([*cells, error] if known else cells)))
    return table


def _in_lines(answer: "Answer", place_map: "PlaceMap") -> str:
    words = answer.verdict.reason
    if not answer.hypotheses:
        return f"{answer.picture.name}: {answer.verdict.state.value}, {words}"
    best = answer.hypotheses[0]
    if _localized(answer):
        latitude, longitude, heading = _pose(answer, place_map)
        words = f"{latitude:.6f}, {longitude:.6f} ± {best.position_std:.0f} m, heading {_direction(heading)}"
    off = f", best guess {answer.error:.1f} m off" if math.isfinite(answer.error) else ""
    return (
        f"{answer.picture.name}: {answer.verdict.state.value}, {words}\n"
        f"    probability {best.probability:.2f}, best reference {place_map.ids[best.references[0]]}{off}"
    )


def _localized(answer: "Answer") -> bool:
    from dsformer_core.localization import State

    return answer.verdict.state is State.LOCALIZED


def _direction(heading: float) -> str:
    return f"{heading:.0f}°" if math.isfinite(heading) else "unknown"


def _print_score(summary: "Score") -> None:
    if not summary.known:
        return
    quality = ""
    if summary.localized:
        quality = f", median error {summary.median_error:.1f} m, {summary.false_fixes} of these more than 25 m off"
    console.print(
        f"{summary.localized} of {summary.known} pictures with known positions localized{quality}\n"
        f"recall@1 within 25 m, of answered and unanswered pictures: {summary.recall:.2f}",
        markup=False,
        highlight=False,
    )
