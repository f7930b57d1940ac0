"""The options of `dsformer map` that say where pictures come from."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsformer_core.errors import UsageError

if TYPE_CHECKING:
    from dsformer_core.sources import Source, SourceOptions

# As in dsformer_core/sources/options.py, which is slow to import.
HEADINGS = ("auto", "motion", "odometry", "imu")
PANORAMAS = ("all", "detect")


def add_source_arguments(parser: argparse.ArgumentParser, name: str = "--images", *, required: bool = True) -> None:
    """Adds `--images`, or what it is called, and what helps to read them."""
    pictures = parser.add_argument_group("pictures", "`dsformer map sources` lists every kind, with examples")
    pictures.add_argument(
        name,
        dest="images",
        type=Path,
        required=required,
        nargs="+",
        metavar="PATH",
        help="folder of pictures with GPS in their EXIF or '@' file names, .csv/.parquet manifest, ROS bag, video, or "
        "KITTI drive; several become one",
    )
    pictures.add_argument("--zone", help="UTM zone of coordinates that come without one, e.g. 33N")
    _add_thinning_arguments(pictures)

    panoramas = parser.add_argument_group("panoramas (equirectangular, heading in the middle)")
    panoramas.add_argument("--views", type=int, metavar="N", help="cut each into N views, all round (default: 8)")
    panoramas.add_argument("--fov", type=float, metavar="DEG", help="of a view, side to side (default: 90)")
    panoramas.add_argument(
        "--panoramas",
        choices=PANORAMAS,
        help="which pictures are cut: all of them, or those files that are twice as wide as high (default: all, if "
        "--views or --fov is given)",
    )
    _add_moving_arguments(parser)


def add_drive_arguments(parser: argparse.ArgumentParser, pictures: argparse._ArgumentGroup) -> None:
    """Adds what helps to read bags and videos, where `--zone` is there already and nothing is cut into views."""
    _add_thinning_arguments(pictures)
    _add_moving_arguments(parser)
    parser.set_defaults(views=None, fov=None, panoramas=None)


def _add_thinning_arguments(pictures: argparse._ArgumentGroup) -> None:
    pictures.add_argument(
        "--every-metres",
        type=float,
        metavar="D",
        help="keep a picture only where its camera has moved so far since the last one kept (default: 2 for bags and "
        "videos, else every picture; 0 keeps all)",
    )
    pictures.add_argument(
        "--every-degrees",
        type=float,
        metavar="A",
        help="or turned so far (default: 30 for bags and videos, else no reason)",
    )


def _add_moving_arguments(parser: argparse.ArgumentParser) -> None:
    bags = parser.add_argument_group("bags (ROS 1 and 2), and what videos and KITTI drives share with them")
    bags.add_argument(
        "--topic",
        nargs="+",
        default=[],
        metavar="TOPIC",
        help="image topics, or cameras of KITTI (default: every camera)",
    )
    bags.add_argument(
        "--positions", metavar="TOPIC", help="of positions (default: a NavSatFix, else odometry or poses)"
    )
    bags.add_argument(
        "--datum",
        metavar="LAT,LON[,ALT[,HEADING]]",
        help="where the origin of odometry or poses lies, and where their x axis points (default: 90, east); south of "
        "the equator write --datum=-33.9,151.2",
    )
    bags.add_argument(
        "--heading",
        choices=HEADINGS,
        help="where the vehicle's heading comes from: motion (the course between positions), odometry, imu (yaw 0 is "
        "east, as REP-103 says) or auto: the poses' own where positions are poses, else motion (default: auto)",
    )
    bags.add_argument(
        "--camera-yaw",
        nargs="+",
        default=[],
        metavar="TOPIC=DEG",
        help="where a camera looks, degrees counter-clockwise from ahead: 90 is left; DEG alone for every camera "
        "(default: /tf_static, else ahead)",
    )
    bags.add_argument("--base-frame", metavar="FRAME", help="of the vehicle in /tf_static (default: base_link)")
    bags.add_argument("--max-gap", type=float, metavar="S", help="seconds bridged between positions (default: 5)")
    bags.add_argument(
        "--max-position-std", type=float, metavar="M", help="metres; less sure positions are refused (default: 10)"
    )

    videos = parser.add_argument_group("videos")
    videos.add_argument("--track", type=Path, metavar="FILE", help="GPX track of the same ride")
    videos.add_argument(
        "--start", metavar="TIME", help="when it starts, ISO 8601, UTC without an offset (default: its creation_time)"
    )
    videos.add_argument(
        "--time-offset",
        type=float,
        metavar="S",
        help="seconds to add to its creation_time: many cameras write local time as if it were UTC",
    )


def refuse_maps(paths: Sequence[Path], option: str) -> None:
    """Where a map is asked about pictures, it is easily named twice.

    Raises:
        UsageError: a path is a place map.
    """
    for path in paths:
        if (path / "map.yaml").is_file():
            raise UsageError(f"{path} is a place map: {option} takes the pictures of a drive")


def chosen_source(arguments: argparse.Namespace) -> "Source":
    """The source that a command line names.

    Raises:
        UsageError: there is nothing, or nothing that pictures come from, or an option does not apply to it.
        DsformerError: it cannot be read.
    """
    from dsformer_core.sources import open_sources

    return open_sources(arguments.images, chosen_options(arguments))


def chosen_options(arguments: argparse.Namespace) -> "SourceOptions":
    """What a command line says about its sources.

    Raises:
        UsageError: a value is none.
    """
    from dsformer_core.geodesy import UtmZone
    from dsformer_core.sources.local_frame import LocalFrame
    from dsformer_core.sources.options import CameraYaw, SourceOptions
    from dsformer_core.sources.times import parse_time

    try:
        start = parse_time(arguments.start) if arguments.start else None
    except ValueError:
        raise UsageError(f"--start '{arguments.start}' is no time: write e.g. 2026-05-01T12:00:00+02:00") from None
    return SourceOptions(
        zone=UtmZone.parse(arguments.zone) if arguments.zone else None,
        topics=tuple(arguments.topic),
        positions=arguments.positions,
        heading=arguments.heading,
        camera_yaws=tuple(CameraYaw.parse(text) for text in arguments.camera_yaw),
        base_frame=arguments.base_frame,
        datum=LocalFrame.parse(arguments.datum) if arguments.datum else None,
        max_gap=arguments.max_gap,
        max_position_std=arguments.max_position_std,
        every_metres=arguments.every_metres,
        every_degrees=arguments.every_degrees,
        track=arguments.track,
        start=start,
        time_offset=arguments.time_offset,
        views=arguments.views,
        fov=arguments.fov,
        panoramas=arguments.panoramas,
    )
