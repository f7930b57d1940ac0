"""The launch files, really launched, wherever launch_ros is installed."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import listener

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

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


# Stands for a program of another package: notes what it was called with, and waits to be ended.
RECORDER = """#!{python}
import json, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
with Path({calls!r}).open("a") as calls:
    calls.write(json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
time.sleep({seconds})
"""


class Workspace:
    """The package as colcon would install it, beside others of which there are only the names.

    Attributes:
        prefix: of the installation.
    """

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self.prefix = folder / "install"
        self._program(
            "lib/dsformer_ros/localizer_node",
            f'#!/bin/sh\necho $$ >> {folder}/processes\nexec {sys.executable} -m dsformer_ros.localizer_node "$@"\n',
        )
        share = self._package("dsformer_ros")
        for name in ("config", "launch", "maps"):
            (share / name).symlink_to(ROOT / name)
        self._package("robot_localization")
        for name in ("ekf_node", "navsat_transform_node"):
            self._record(f"lib/robot_localization/{name}", seconds=600)
        self._record("bin/ros2", seconds=0)

    def calls(self, program: str) -> list[list[str]]:
        """Arguments that a program of another package was called with, by call."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [call[1:] for call in map(json.loads, lines) if call[0] == program]

    @contextmanager
    def launched(self, launch_file: str, domain: int, *given: str) -> Iterator[None]:
        """A launch that is ended with Ctrl-C when the block ends."""
        found = [str(self.prefix), os.environ.get("AMENT_PREFIX_PATH", "")]
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain),
            "AMENT_PREFIX_PATH": os.pathsep.join(filter(None, found)),
            "ROS_LOG_DIR": str(self.prefix.parent),
            "PATH": os.pathsep.join([str(self.prefix / "bin"), os.environ["PATH"]]),
        }
        command = [sys.executable, "-c", LAUNCHER, str(ROOT / "launch" / launch_file), *given]
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            yield
        finally:
            # As a terminal does: launch counts on the others getting it, too.
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == 0

    def _package(self, name: str) -> Path:
        marker = self.prefix / "share/ament_index/resource_index/packages" / name
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        share = self.prefix / "share" / name
        share.mkdir()
        return share

    def _record(self, path: str, seconds: float) -> None:
        self._program(path, RECORDER.format(python=sys.executable, calls=str(self._calls), seconds=seconds))

    def _program(self, path: str, text: str) -> None:
        program = self.prefix / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def comes(done: Callable[[], object], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (came := done()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(came)


def remappings(call: list[str]) -> set[str]:
    return {after for before, after in itertools.pairwise(call) if before == "-r"}


@pytest.mark.parametrize("launch_file", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_says_what_it_is_for(launch_file: Path) -> None:
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    description = PythonLaunchDescriptionSource(str(launch_file)).get_launch_description(LaunchContext())
    declared = [entity for entity in description.entities if isinstance(entity, DeclareLaunchArgument)]
    assert declared
    for argument in declared:
        assert argument.description.endswith("."), argument.name
        assert argument.default_value is not None, f"{argument.name} would have to be given"


def test_it_brings_the_node_to_active(workspace: Workspace, place_map_directory: Path, domain: int) -> None:
    given = [f"map:={place_map_directory}", "cameras:=[/front/image/compressed, rear/image]", "namespace:=robot1"]
    with workspace.launched("localize.launch.py", domain, *given), listener(domain) as ears:
        status = ears.record(DiagnosticStatus, "/robot1/dsformer_localizer/status", LATCHED)
        assert ears.spin_until(lambda: status, 60)
        assert "/front/image/compressed" in status[0].message and "/robot1/rear/image" in status[0].message


def test_the_network_is_chosen_by_arguments(
    workspace: Workspace, place_map_directory: Path, domain: int, tmp_path: Path
) -> None:
    chosen = {"weights": str(tmp_path / "town.onnx"), "runtime": "onnx", "device": "cpu", "optimize": "off"}
    Path(chosen["weights"]).touch()
    given = [f"map:={place_map_directory}", "autostart:=false", *(f"{name}:={word}" for name, word in chosen.items())]
    with workspace.launched("localize.launch.py", domain, *given), listener(domain) as ears:
        assert ears.spin_until(lambda: "dsformer_localizer" in ears.node.get_node_names(), 60)
        asked = GetParameters.Request(names=list(chosen))
        answer = ears.call(GetParameters, "/dsformer_localizer/get_parameters", asked)
        assert [value.string_value for value in answer.values] == list(chosen.values())


def test_a_node_that_is_killed_comes_back(workspace: Workspace, domain: int) -> None:
    with workspace.launched("localize.launch.py", domain, "use_respawn:=true"), listener(domain) as ears:
        processes = workspace.prefix.parent / "processes"
        status = ears.record(DiagnosticStatus, "/dsformer_localizer/status", LATCHED)
        for number in (1, 2):
            assert ears.spin_until(lambda number=number: len(status) >= number, 60), "it did not come up"
            pids = processes.read_text().split()
            assert len(pids) == number
            if number == 1:
                os.kill(int(pids[0]), signal.SIGKILL)


def test_a_recording_is_played_through_it_with_its_clock(workspace: Workspace, domain: int, tmp_path: Path) -> None:
    given = [f"rosbag:={tmp_path / 'monday'}", "rate:=2.0"]
    with workspace.launched("localize.launch.py", domain, *given), listener(domain) as ears:
        assert comes(lambda: workspace.calls("ros2"))
        assert workspace.calls("ros2") == [["bag", "play", str(tmp_path / "monday"), "--clock", "--rate", "2.0"]]
        assert ears.spin_until(lambda: ears.node.count_subscribers("/clock"), 60), "the node does not follow the clock"


def test_beside_nav2_it_gives_one_initial_pose_by_itself_and_serves_the_recovery(
    workspace: Workspace, domain: int
) -> None:
    with workspace.launched("nav2.launch.py", domain, "namespace:=robot1"), listener(domain) as ears:
        assert comes(lambda: workspace.calls("ros2"))
        service = "/robot1/dsformer_localizer/localize"
        assert workspace.calls("ros2") == [["service", "call", service, "std_srvs/srv/Trigger"]]
        assert ears.spin_until(lambda: ears.node.count_publishers("/robot1/initialpose"))
        served = dict(ears.node.get_service_names_and_types())
        recovery = "/robot1/dsformer_localizer/reinitialize_global_localization"
        assert served[recovery] == ["std_srvs/srv/Empty"] and service in served
        assert "/robot1/reinitialize_global_localization" not in served, "that is AMCL's"


def test_with_robot_localization_both_filters_run_and_hand_over(workspace: Workspace, domain: int) -> None:
    with workspace.launched("robot_localization.launch.py", domain, "gps:=true"), listener(domain) as ears:
        assert comes(lambda: len(workspace.calls("ekf_node")) == 2 and workspace.calls("navsat_transform_node"))
        filters = {name: call for call in workspace.calls("ekf_node") for name in call if name.startswith("__node:=")}
        odom, world = filters["__node:=ekf_filter_node_odom"], filters["__node:=ekf_filter_node_map"]
        assert "odometry/filtered:=odometry/local" in remappings(odom)
        assert "odometry/filtered:=odometry/global" in remappings(world)
        (navsat,) = workspace.calls("navsat_transform_node")
        assert "odometry/filtered:=odometry/global" in remappings(navsat)
        assert ears.spin_until(lambda: ears.node.count_publishers("/dsformer_localizer/pose"), 60)
        assert ears.spin_until(lambda: ears.node.count_subscribers("/odometry/local"), 20)
