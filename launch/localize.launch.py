"""Starts the localizer and brings it to active.

    ros2 launch dsformer_ros localize.launch.py map:=/maps/town.map cameras:='[/front/image_raw/compressed]'

Without arguments it localizes in the small sample map that is installed with the package.
"""

from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

PACKAGE = "dsformer_ros"


def generate_launch_description() -> LaunchDescription:
    """The node, and RViz on demand."""
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
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
        DeclareLaunchArgument("autostart", default_value="true", description="Configure and activate the node."),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal."),
        DeclareLaunchArgument("rviz", default_value="false", description="Open RViz with the localizer's layout."),
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
            OpaqueFunction(function=localizer),
            rviz,
        ]
    )


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
    if argument("cameras"):
        cameras = yaml.safe_load(argument("cameras"))
        overrides["cameras"] = [cameras] if isinstance(cameras, str) else cameras
    return [
        Node(
            package=PACKAGE,
            executable="localizer_node",
            name="dsformer_localizer",
            namespace=argument("namespace"),
            parameters=[ParameterFile(argument("params_file"), allow_substs=True), overrides],
            # In a namespace every robot has a tree of its own.
            remappings=[("/tf", "tf"), ("/tf_static", "tf_static")],
            arguments=["--ros-args", "--log-level", argument("log_level")],
            output="screen",
        )
    ]
