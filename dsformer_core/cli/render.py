"""`dsformer render`: pictures of an invented town, as a camera with GPS and compass would have stored them."""

import argparse
from pathlib import Path

from dsformer_core.cli.console import errors, print_json, progress
from dsformer_core.errors import UsageError

EXAMPLES = """\
examples:
  dsformer render --output drive/                                      the whole loop through town 1, by day
  dsformer render --output night/ --condition night --seed 2           the same places, at night, other traffic
  dsformer render --output back/ --condition rain+dusk --reverse       in rain at dusk, the other way round
  dsformer render --output few/ --town 7 --spacing 10 --count 20       20 pictures, 10 m apart, of another town
  dsformer render --survey 20 --towns 8 --town 500 --output survey/    for training: 20 drives through each of 8 towns,
                                                                       each with its own light, weather and camera
  dsformer render --contact-sheet sheet.jpg                            every condition at a few places, on one page
"""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Adds `dsformer render`."""
    parser = subparsers.add_parser(
        "render",
        help="render geotagged pictures of an invented town",
        description="Renders a drive through an invented town: JPEGs with position, heading and time in their EXIF "
        "data, for trying things out, for tests and for training.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", type=Path, metavar="DIR", help="folder for the pictures")
    target.add_argument(
        "--contact-sheet", type=Path, metavar="FILE", help="write one page with every condition instead"
    )
    parser.add_argument("--town", type=int, default=1, metavar="SEED", help="which town (default: %(default)s)")
    parser.add_argument(
        "--survey",
        type=int,
        metavar="DRIVES",
        help="this many drives through each town, every one under its own light, weather and traffic and with its own "
        "camera, into folders of their own; an interrupted survey goes on where it was",
    )
    parser.add_argument(
        "--towns", type=int, default=1, metavar="N", help="of a survey, from --town on (default: %(default)s)"
    )
    parser.add_argument(
        "--size-m", type=float, default=330.0, metavar="M", help="side of the town (default: %(default)s)"
    )
    parser.add_argument(
        "--condition", default="daylight", metavar="NAME[+NAME]",
        help="daylight, overcast, dusk, night, rain, traffic, autumn, winter, or several joined by + "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, help="of the drive: sun, clouds, traffic, jitter (default: %(default)s)"
    )
    parser.add_argument(
        "--spacing", type=float, default=5.0, metavar="M", help="between pictures (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, metavar="N", help="pictures of a drive (default: the whole loop)")
    parser.add_argument("--start", type=float, default=0.0, metavar="M", help="along the loop (default: %(default)s)")
    parser.add_argument(
        "--lateral-offset",
        type=float,
        default=0.0,
        metavar="M",
        help="to the right of the lane's middle (default: %(default)s)",
    )
    parser.add_argument("--reverse", action="store_true", help="drive the loop the other way round")
    parser.add_argument("--width", type=int, default=640, metavar="PX", help="(default: %(default)s)")
    parser.add_argument("--height", type=int, default=480, metavar="PX", help="(default: %(default)s)")
    parser.add_argument(
        "--fov-deg", type=float, default=75.0, metavar="DEG", help="horizontal field of view (default: %(default)s)"
    )
    parser.add_argument(
        "--gps-noise",
        type=float,
        default=0.0,
        metavar="M",
        help="standard deviation of the written position (default: the exact truth)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Renders a drive, a survey, or the contact sheet."""
    _check(arguments)
    if arguments.survey:
        _survey(arguments)
        return
    from dsformer_core.sample_world import Camera, make_town, parse_condition, write_drive
    from dsformer_core.sample_world.contact_sheet import write_contact_sheet

    condition = parse_condition(arguments.condition)
    town = make_town(arguments.town, arguments.size_m)
    if arguments.contact_sheet:
        write_contact_sheet(town, arguments.contact_sheet)
        errors.print(f"wrote {arguments.contact_sheet}", highlight=False)
        return
    poses = town.drive(
        arguments.seed,
        arguments.spacing,
        arguments.lateral_offset,
        count=arguments.count,
        start=arguments.start,
        reverse=arguments.reverse,
    )
    camera = Camera(arguments.width, arguments.height, arguments.fov_deg)
    with progress("rendering pictures", len(poses)) as advance:
        paths = write_drive(
            town, poses, arguments.output, condition, arguments.seed,
            camera=camera, gps_noise=arguments.gps_noise, workers=arguments.workers, on_progress=advance,
        )  # fmt: skip
    if arguments.json:
        print_json(
            {"directory": str(arguments.output), "pictures": [path.name for path in paths], "zone": str(town.zone)}
        )
    else:
        errors.print(f"wrote {len(paths)} pictures to {arguments.output}", highlight=False)


def _survey(arguments: argparse.Namespace) -> None:
    from dsformer_core.sample_world import Survey, write_survey

    survey = Survey(
        town_seeds=tuple(range(arguments.town, arguments.town + arguments.towns)),
        drives=arguments.survey,
        seed=arguments.seed,
        size_m=arguments.size_m,
        spacing=arguments.spacing,
        count=arguments.count,
    )
    with progress("rendering drives", len(survey.town_seeds) * survey.drives) as advance:
        folders = write_survey(survey, arguments.output, workers=arguments.workers, on_progress=advance)
    if arguments.json:
        print_json({"directory": str(arguments.output), "drives": [str(folder) for folder in folders]})
    else:
        errors.print(f"wrote {len(folders)} drives to {arguments.output}", highlight=False)


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (
        ("spacing", 0.1, 1000),
        ("size_m", 120, 2000),
        ("width", 16, 8192),
        ("height", 16, 8192),
        ("fov_deg", 10, 150),
        ("gps_noise", 0, 1000),
        ("lateral_offset", -10, 10),
        ("count", 1, 1_000_000),
        ("workers", 1, 256),
        ("survey", 1, 1000),
        ("towns", 1, 1000),
    ):
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} {value} lies outside [{low}, {high}]")
    sheet = arguments.contact_sheet
    if sheet is not None:
        if sheet.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise UsageError(f"{sheet} is no picture; --contact-sheet takes a .jpg or .png")
        return
    folder = arguments.output
    if arguments.towns > 1 and not arguments.survey:
        raise UsageError("--towns is of a survey; add --survey DRIVES")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --output takes a folder")
    if not arguments.survey and folder.is_dir() and any(folder.iterdir()) and not arguments.overwrite:
        raise UsageError(f"{folder} is not empty; choose another folder or pass --overwrite")
