"""The example parameter files say only what those who read them know, and what their rules ask for."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml
from sensor_msgs.msg import NavSatFix

from dsformer_core.cli.main import main
from dsformer_core.geodesy import to_latlon
from dsformer_core.localization import LocalizationConfig
from dsformer_core.place_map import PlaceMap
from dsformer_ros.parameters import SPECIFICATIONS, Settings
from tests.dsformer_ros.consumers import nav2_bt, navsat_transform
from tests.dsformer_ros.consumers.robot_localization import INPUT_RULES
from tests.dsformer_ros.consumers.rules import broken

CONFIG = Path(__file__).parents[2] / "config"

# Parameters that ros_filter.cpp and navsat_transform.cpp declare (robot_localization, ros2).
_EKF = [
    "frequency",
    "sensor_timeout",
    "two_d_mode",
    "transform_time_offset",
    "transform_timeout",
    "print_diagnostics",
    "debug",
    "publish_tf",
    "map_frame",
    "odom_frame",
    "base_link_frame",
    "world_frame",
    "smooth_lagged_data",
    "history_length",
    "predict_to_current_time",
    "use_control",
    "process_noise_covariance",
    "initial_estimate_covariance",
    "initial_state",
]
_EKF_INPUT = re.compile(
    r"(odom|imu|pose|twist)\d+(_config|_differential|_relative|_queue_size|_rejection_threshold"
    r"|_pose_rejection_threshold|_twist_rejection_threshold|_remove_gravitational_acceleration)?"
)
_NAVSAT = [
    "frequency",
    "delay",
    "magnetic_declination_radians",
    "yaw_offset",
    "zero_altitude",
    "publish_filtered_gps",
    "use_odometry_yaw",
    "wait_for_datum",
    "datum",
    "use_local_cartesian",
    "transform_timeout",
    "broadcast_cartesian_transform",
    "broadcast_cartesian_transform_as_parent_frame",
]
# Those of amcl_node.cpp, navigate_to_pose.cpp and lifecycle_manager.cpp (navigation2) that are used.
_AMCL = [
    "global_frame_id",
    "base_frame_id",
    "odom_frame_id",
    "set_initial_pose",
    "always_reset_initial_pose",
    "tf_broadcast",
]
_NAVIGATOR = ["global_frame", "robot_base_frame", "odom_topic", "default_server_timeout", "default_nav_to_pose_bt_xml"]
_MANAGER = ["node_names", "autostart", "bond_timeout", "service_timeout", "attempt_respawn_reconnection"]


def parameters(name: str) -> dict[str, dict[str, Any]]:
    """Parameters by node, whose names have no namespace here."""
    content = yaml.safe_load((CONFIG / name).read_text())
    return {node.removeprefix("/**/"): entry["ros__parameters"] for node, entry in content.items()}


def settings(values: dict[str, Any]) -> Settings:
    """What the node makes of them; it refuses what it does not know."""
    assert set(values) <= set(SPECIFICATIONS)
    return Settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@pytest.mark.parametrize("node", ["ekf_filter_node_odom", "ekf_filter_node_map"])
def test_the_filters_know_every_parameter(node: str) -> None:
    values = parameters("robot_localization.yaml")[node]
    unknown = [name for name in values if name not in _EKF and not _EKF_INPUT.fullmatch(name)]
    assert not unknown
    inputs = {_EKF_INPUT.fullmatch(name)[0] for name in values if re.fullmatch(r"[a-z]+\d+", name)}  # type: ignore[index]
    for name in inputs:
        assert len(values[f"{name}_config"]) == 15
    # Frames of one tree: each filter broadcasts towards its own world.
    assert values["world_frame"] == values["odom_frame" if node.endswith("odom") else "map_frame"]


def test_the_second_filter_takes_the_pose_as_absolute_and_late_and_not_on_trust() -> None:
    values = parameters("robot_localization.yaml")["ekf_filter_node_map"]
    assert broken(INPUT_RULES, values) == []
    assert values["pose0"] == "dsformer_localizer/pose"
    spoilt = values | {"pose0_differential": True, "history_length": 0.0}
    assert broken(INPUT_RULES, spoilt) == ["pose0_differential is false", "history_length covers the answer's delay"]


def test_gps_comes_in_the_frame_of_the_map() -> None:
    values = parameters("robot_localization.yaml")["navsat_transform"]
    assert set(values) <= set(_NAVSAT)
    assert values["wait_for_datum"] is True and values["magnetic_declination_radians"] == values["yaw_offset"] == 0.0
    frame = PlaceMap.open(CONFIG.parent / "maps" / "sample").frame
    assert values["datum"][:2] == [frame.datum.latitude, frame.datum.longitude]
    for place in ([0.0, 0.0], [0.0, 1000.0], [-3000.0, 500.0]):
        latitude, longitude = to_latlon(frame.to_utm(place), frame.zone)
        fix = NavSatFix(latitude=float(latitude), longitude=float(longitude))
        assert navsat_transform.gps_odometry(values["datum"], fix) == pytest.approx(place, abs=0.01)


def test_what_the_map_says_of_itself_is_what_its_datum_needs(capsys: pytest.CaptureFixture[str]) -> None:
    datum = parameters("robot_localization.yaml")["navsat_transform"]["datum"]
    assert main(["map", "info", str(CONFIG.parent / "maps" / "sample")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{datum[0]:.7f}, {datum[1]:.7f}" in said and f"datum yaw is {datum[2]:.6f} rad" in said


def test_nav2_knows_every_parameter_and_the_localizer_too() -> None:
    values = parameters("nav2.yaml")
    ours = settings(values["dsformer_localizer"])
    assert not ours.continuous and not ours.fusion
    assert ours.min_probability > LocalizationConfig().min_probability
    assert ours.map_frame == values["amcl"]["global_frame_id"]
    assert set(values["amcl"]) <= set(_AMCL)
    assert set(values["bt_navigator"]) <= set(_NAVIGATOR)
    assert set(values["lifecycle_manager_dsformer"]) <= set(_MANAGER)
    # Nothing bonds with a node of rclpy.
    assert values["lifecycle_manager_dsformer"]["bond_timeout"] == 0.0


def test_the_behaviour_tree_calls_what_the_launch_file_serves() -> None:
    tree = ElementTree.parse(CONFIG / "nav2_recovery.xml").getroot()
    assert (tree.tag, tree.get("BTCPP_format")) == ("root", "4")
    (call,) = tree.iter("ReinitializeGlobalLocalization")
    assert call.get("service_name") == f"dsformer_localizer/{nav2_bt.SERVICE}"
    assert f'"{call.get("service_name")}"' in (CONFIG.parent / "launch" / "nav2.launch.py").read_text()


def test_the_example_with_several_cameras_is_taken_by_the_node() -> None:
    ours = settings(parameters("several_cameras.yaml")["/**"])
    assert len(ours.cameras) == len(ours.camera_yaws_deg) == 4
