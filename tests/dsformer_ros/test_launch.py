"""The launch file, really launched, wherever launch_ros is installed."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import listener

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / "launch" / "localize.launch.py"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed")

LAUNCHER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [word.split(":=", 1) for word in sys.argv[2:]]
service = LaunchService(argv=[])
included = IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """The package as colcon would install it, in front of whatever is installed."""
    prefix = tmp_path / "install"
    (prefix / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/dsformer_ros").touch()
    (prefix / "share/dsformer_ros").mkdir()
    for name in ("config", "launch", "maps"):
        (prefix / "share/dsformer_ros" / name).symlink_to(ROOT / name)
    executable = prefix / "lib/dsformer_ros/localizer_node"
    executable.parent.mkdir(parents=True)
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m dsformer_ros.localizer_node "$@"\n')
    executable.chmod(0o755)
    return prefix


def test_it_brings_the_node_to_active(prefix: Path, place_map_directory: Path, tmp_path: Path, domain: int) -> None:
    path = os.pathsep.join(filter(None, [str(prefix), os.environ.get("AMENT_PREFIX_PATH", "")]))
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "AMENT_PREFIX_PATH": path, "ROS_LOG_DIR": str(tmp_path)}
    given = [f"map:={place_map_directory}", "cameras:=[/front/image/compressed, rear/image]", "namespace:=robot1"]
    process = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(LAUNCH_FILE), *given], env=environment)
    try:
        with listener(domain) as ears:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            status = ears.record(DiagnosticStatus, "/robot1/dsformer_localizer/status", latched)
            assert ears.spin_until(lambda: status, 60)
            assert "/front/image/compressed" in status[0].message and "/robot1/rear/image" in status[0].message
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
