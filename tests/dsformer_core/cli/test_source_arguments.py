"""What a command line says about its sources reaches them, or is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.main import build_parser, main
from dsformer_core.cli.map import source_arguments
from dsformer_core.cli.map.source_arguments import chosen_options, chosen_source
from dsformer_core.place_map import PlaceMap
from dsformer_core.sources import SourceOptions, options
from dsformer_core.sources.local_frame import LocalFrame
from dsformer_core.sources.options import CameraYaw
from tests.recordings import longitude_after, recording


def arguments(*words: str) -> Any:
    return build_parser().parse_args(["map", "build", *words, "--output", "a.map", "--model", "dsformer_tiny"])


def test_choices_are_those_of_the_library() -> None:
    assert source_arguments.HEADINGS == options.HEADINGS
    assert source_arguments.PANORAMAS == options.PANORAMAS


def test_nothing_said_is_nothing_given() -> None:
    assert chosen_options(arguments("--images", "drive")) == SourceOptions()


def test_everything_that_is_said_is_passed_on() -> None:
    said = chosen_options(
        arguments(
            *("--images", "drive", "--topic", "/a", "/b", "--positions", "/odom", "--datum=-33.9,151.2,20,0"),
            *("--heading", "imu", "--camera-yaw", "/a=90", "/b=-90.5", "--base-frame", "base", "--max-gap", "3"),
            *("--max-position-std", "2", "--every-metres", "5", "--every-degrees", "45", "--zone", "33N"),
            *("--track", "a.gpx", "--start", "2026-05-01T12:00:00.5+02:00"),
            *("--views", "6", "--fov", "75", "--panoramas", "detect"),
        )
    )
    assert said.topics == ("/a", "/b") and said.positions == "/odom" and said.heading == "imu"
    assert said.datum == LocalFrame(-33.9, 151.2, 20.0, 0.0)
    assert said.camera_yaws == (CameraYaw("/a", 90.0), CameraYaw("/b", -90.5))
    assert (said.base_frame, said.max_gap, said.max_position_std) == ("base", 3.0, 2.0)
    assert (said.every_metres, said.every_degrees, str(said.zone)) == (5.0, 45.0, "33N")
    assert said.track == Path("a.gpx") and said.start == 1777629600.5
    assert (said.views, said.fov, said.panoramas) == (6, 75.0, "detect")
    assert chosen_options(arguments("--images", "a", "--time-offset", "-7200")).time_offset == -7200


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--start", "noon"], "--start 'noon' is no time: write e.g. 2026-05-01T12:00:00+02:00"),
        (["--datum", "north"], "datum 'north' is not LAT,LON[,ALT[,HEADING]], e.g. 55.7,13.19 or 55.7,13.19,42.0,90"),
        (["--camera-yaw", "/a=x"], "camera yaw '/a=x' is not TOPIC=DEGREES or DEGREES, e.g. /left/image=90"),
        (["--topic", "/a"], "{images}: --topic is for a bag or a KITTI drive; this is a folder"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "drive"
    images.mkdir()
    call = ["map", "build", "--images", str(images), "--output", str(tmp_path / "a.map"), "--model", "dsformer_tiny"]
    assert main([*call, *words]) == 2
    assert capsys.readouterr().err == f"dsformer: {line.format(images=images)}\n"


def test_a_recording_becomes_a_map(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(12):
            recorder.fix(tick / 2, longitude=longitude_after(1.5 * tick))
            recorder.raw(tick / 2, random.integers(0, 256, (48, 64, 3), np.uint8), "bgr8")
    call = ["map", "build", "--images", str(recorder.path), "--output", str(tmp_path / "a.map")]
    assert main([*call, "--model", "dsformer_tiny", "--batch-size", "4"]) == 0
    place_map = PlaceMap.open(tmp_path / "a.map")
    # Of twelve, 1.5 m apart, one every two metres.
    assert place_map.count == 6
    assert place_map.images[1] == f"{recorder.path}#/camera/image@1700000001.000000000"
    assert np.allclose(place_map.heading_deg, 90, atol=0.1)
    assert np.linalg.norm(np.diff(place_map.utm, axis=0), axis=1) == pytest.approx([3.0] * 5, abs=0.01)
    assert chosen_source(arguments("--images", str(recorder.path), "--every-metres", "0")).name == "drive"
