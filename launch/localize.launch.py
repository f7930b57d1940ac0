"""Starts the localizer and brings it to active.

    ros2 launch dsformer_ros localize.launch.py map:=/maps/town.map cameras:='[/front/image_raw/compressed]'
    ros2 launch dsformer_ros localize.launch.py map:=/maps/town.map weights:=/maps/town.onnx device:=cpu
    ros2 launch dsformer_ros localize.launch.py map:=/maps/town.map rosbag:=/bags/monday rviz:=true

Without arguments it localizes in the small sample map that is installed with the package.
"""

from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = "dsformer_ros"

# What arguments name in ROS, by what the node calls it.
REMAPPINGS = {"~/pose": "pose_topic", "odom": "odom_topic", "reinitialize_global_localization": "reinitialize_service"}

# Parameters of the node that are words, and arguments of the same name.
NETWORK = {
    "weights": "File (also .onnx, .engine) or name of the network's weights; empty: as params_file has it.",
    "runtime": "auto, torch, onnx or tensorrt; empty: as params_file has it.",
    "device": "auto, cpu, cuda or cuda:N; empty: as params_file has it.",
    "optimize": "off, safe or max; empty: as params_file has it.",
}


def generate_launch_description() -> LaunchDescription:
    """The node; RViz and a recording on demand."""
    share = FindPackageShare(PACKAGE)
    arguments = [
        DeclareLaunchArgument(
            "map", default_value="", description="Directory of the place map; empty: as params_file has it."
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([share, "config", "localizer.yaml"]),
            description="YAML file with the node's parameters; the other arguments override it.",
        ),
        DeclareLaunchArgument(
            "cameras",
            default_value="",
            description="Image topics, e.g. '[/front/image/compressed, /rear/image]'; empty: as params_file has it.",
        ),
        *(DeclareLaunchArgument(name, default_value="", description=said) for name, said in NETWORK.items()),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="Take the time from /clock. With rosbag: always."
        ),
        DeclareLaunchArgument("autostart", default_value="true", description="Configure and activate the node."),
        DeclareLaunchArgument(
            "use_respawn", default_value="false", description="Start the node anew, two seconds later, where it dies."
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal."),
        DeclareLaunchArgument("rviz", default_value="false", description="Open RViz with the localizer's layout."),
        DeclareLaunchArgument(
            "pose_topic", default_value="", description="Another name for ~/pose, e.g. initialpose for AMCL."
        ),
        DeclareLaunchArgument(
            "odom_topic", default_value="", description="Topic of the robot's odometry; empty: odom, in the namespace."
        ),
        DeclareLaunchArgument(
            "reinitialize_service",
            default_value="",
            description="Serve Nav2's reinitialize_global_localization under this name; empty: as params_file has it.",
        ),
        DeclareLaunchArgument(
            "rosbag", default_value="", description="A recording to play through the same nodes, with its clock."
        ),
        DeclareLaunchArgument("rate", default_value="1.0", description="How fast rosbag is played."),
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", PathJoinSubstitution([share, "config", "localizer.rviz"])],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription(
        [
            # Log lines appear when they are written, not when a buffer is full.
            SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1"),
            *arguments,
            OpaqueFunction(function=recording),
            OpaqueFunction(function=localizer),
            rviz,
        ]
    )


def recording(context: LaunchContext) -> list[ExecuteProcess]:
    """The player, and simulated time for everybody after it, where a recording is named."""
    bag = LaunchConfiguration("rosbag").perform(context)
    if not bag:
        return []
    context.launch_configurations["use_sim_time"] = "true"
    path = str(Path(bag).expanduser().resolve())
    rate = LaunchConfiguration("rate").perform(context)
    return [ExecuteProcess(cmd=["ros2", "bag", "play", path, "--clock", "--rate", rate], output="screen")]


def localizer(context: LaunchContext) -> list[Node]:
    """The node, with those parameters overridden for which an argument was given."""

    def argument(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides: dict[str, object] = {
        "use_sim_time": yaml.safe_load(argument("use_sim_time")),
        "autostart": yaml.safe_load(argument("autostart")),
    }
    if argument("map"):
        overrides["map"] = str(Path(argument("map")).expanduser().resolve())
    for name in NETWORK:
        if given := argument(name):
            # A name of released weights stays one.
            file = Path(given).expanduser()
            word = str(file.resolve()) if name == "weights" and file.exists() else given
            # As a word: YAML would make False of off.
            overrides[name] = ParameterValue(word, value_type=str)
    if argument("cameras"):
        cameras = yaml.safe_load(argument("cameras"))
        overrides["cameras"] = [cameras] if isinstance(cameras, str) else cameras
    if argument("reinitialize_service"):
        overrides["provide_reinitialize_service"] = True
    return [
        Node(
            package=PACKAGE,
            executable="localizer_node",
            name="dsformer_localizer",
            namespace=argument("namespace"),
            parameters=[ParameterFile(argument("params_file"), allow_substs=True), overrides],
            remappings=[
                # In a namespace every robot has a tree of its own.
                ("/tf", "tf"),
                ("/tf_static", "tf_static"),
                *((ours, argument(name)) for ours, name in REMAPPINGS.items() if argument(name)),
            ],
            arguments=["--ros-args", "--log-level", argument("log_level")],
            output="screen",
            respawn=yaml.safe_load(argument("use_respawn")),
            respawn_delay=2.0,
        )
    ]
