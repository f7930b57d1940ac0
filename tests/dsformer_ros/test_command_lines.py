"""What the programs say before and beside ROS."""

import subprocess
import sys
from pathlib import Path

from ros_processes import NodeProcess, listener
from sensor_msgs.msg import CompressedImage

BIN = Path(sys.executable).parent


def test_help_ends_and_shows_how() -> None:
    for program in ("localizer_node", "picture_publisher"):
        said = subprocess.run([BIN / program, "--help"], capture_output=True, text=True, timeout=60)
        assert said.returncode == 0
        assert "--ros-args" in said.stdout and "examples:" in said.stdout


def test_an_argument_that_is_no_parameter_is_refused() -> None:
    said = subprocess.run([BIN / "localizer_node", "--map", "town.map"], capture_output=True, text=True, timeout=60)
    assert said.returncode == 2
    assert "unrecognized arguments: --map town.map" in said.stderr


def test_a_camera_on_the_wrong_topic_is_told_the_right_one(drive: Path, tmp_path: Path, domain: int) -> None:
    with listener(domain) as ears:
        ears.record(CompressedImage, "/front/image/compressed", 20)
        process = NodeProcess(
            "picture_publisher", domain, str(drive), "--rate", "100", "--wait", "4", log=tmp_path / "log"
        )
        assert process.process.wait(60) == 0
    assert "nobody listens to /image/compressed" in process.output
    assert "/front/image/compressed" in process.output
