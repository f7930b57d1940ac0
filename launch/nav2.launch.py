"""The localizer beside Nav2: it gives AMCL its initial pose, and finds the robot again when a behaviour tree asks.

    ros2 launch dsformer_ros nav2.launch.py map:=/maps/town.map cameras:='[/front/image_raw/compressed]'

Start it beside nav2_bringup. It localizes on demand alone: once when it is up, and then whenever
dsformer_localizer/localize or dsformer_localizer/reinitialize_global_localization is called. AMCL keeps the map -> odom
transform. docs/ros.md says what Nav2's own parameters and behaviour tree need.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

PACKAGE = "dsformer_ros"
# What the node says as soon as it can be asked.
READY = "listening to"


def generate_launch_description() -> LaunchDescription:
    """The localizer, and one call of it."""
    share = FindPackageShare(PACKAGE)
    arguments = [
        DeclareLaunchArgument(
            "map", default_value="", description="Directory of the place map; empty: the sample map."
        ),
        DeclareLaunchArgument(
            "cameras", default_value="", description="Image topics; empty: image/compressed in the namespace."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace, the one that Nav2 runs in."),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([share, "config", "nav2.yaml"]),
            description="YAML file with the localizer's parameters for this use.",
        ),
        DeclareLaunchArgument(
            "pose_topic", default_value="initialpose", description="Where AMCL listens for its initial pose."
        ),
        DeclareLaunchArgument(
            "reinitialize_service",
            default_value="dsformer_localizer/reinitialize_global_localization",
            description="What the behaviour tree calls. AMCL serves reinitialize_global_localization itself.",
        ),
        DeclareLaunchArgument(
            "initial_pose", default_value="true", description="Localize once as soon as the localizer is up."
        ),
    ]
    passed_on = [argument.name for argument in arguments if argument.name != "initial_pose"]
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "localize.launch.py"])),
        launch_arguments={name: LaunchConfiguration(name) for name in passed_on}.items(),
    )
    asked: list[bool] = []

    def on_line(event: ProcessIO) -> list[OpaqueFunction]:
        if asked or READY not in event.text.decode(errors="replace"):
            return []
        asked.append(True)
        return [OpaqueFunction(function=ask)]

    first_pose = RegisterEventHandler(
        OnProcessIO(on_stdout=on_line, on_stderr=on_line), condition=IfCondition(LaunchConfiguration("initial_pose"))
    )
    return LaunchDescription([*arguments, first_pose, localizer])


def ask(context: LaunchContext) -> list[ExecuteProcess]:
    """One call of ~/localize, whose answer appears among the log lines."""
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    service = "/".join(["", *filter(None, [namespace]), "dsformer_localizer", "localize"])
    return [ExecuteProcess(cmd=["ros2", "service", "call", service, "std_srvs/srv/Trigger"], output="screen")]
