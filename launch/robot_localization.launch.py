"""The localizer with robot_localization: two filters, of which the second corrects the drift of the first.

    ros2 launch dsformer_ros robot_localization.launch.py map:=/maps/town.map cameras:='[/front/image_raw/compressed]'
    ros2 launch dsformer_ros robot_localization.launch.py map:=/maps/town.map gps:=true

The first filter fuses wheels and IMU in the odom frame and broadcasts odom -> base_link; the localizer takes its output
as odometry. The second fuses the same and the localizer's pose in the map frame, and broadcasts map -> odom.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

PACKAGE = "dsformer_ros"


def generate_launch_description() -> LaunchDescription:
    """The localizer, both filters, and navsat_transform on demand."""
    share = FindPackageShare(PACKAGE)
    arguments = [
        DeclareLaunchArgument(
            "map", default_value="", description="Directory of the place map; empty: the sample map."
        ),
        DeclareLaunchArgument(
            "cameras", default_value="", description="Image topics; empty: image/compressed in the namespace."
        ),
        DeclareLaunchArgument(
            "filters_file",
            default_value=PathJoinSubstitution([share, "config", "robot_localization.yaml"]),
            description="YAML file with the parameters of both filters and of navsat_transform.",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of all nodes and their topics."),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
        DeclareLaunchArgument("gps", default_value="false", description="Fuse a GPS receiver on gps/fix as well."),
    ]
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "localize.launch.py"])),
        launch_arguments={
            **{name: LaunchConfiguration(name) for name in ("map", "cameras", "namespace", "use_sim_time")},
            "odom_topic": "odometry/local",
        }.items(),
    )

    def filter_node(executable: str, name: str, *remappings: tuple[str, str], **options: object) -> Node:
        return Node(
            package="robot_localization",
            executable=executable,
            name=name,
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                ParameterFile(LaunchConfiguration("filters_file"), allow_substs=True),
                {"use_sim_time": LaunchConfiguration("use_sim_time")},
            ],
            remappings=[("/tf", "tf"), ("/tf_static", "tf_static"), *remappings],
            output="screen",
            **options,
        )

    return LaunchDescription(
        [
            *arguments,
            localizer,
            filter_node("ekf_node", "ekf_filter_node_odom", ("odometry/filtered", "odometry/local")),
            filter_node("ekf_node", "ekf_filter_node_map", ("odometry/filtered", "odometry/global")),
            filter_node(
                "navsat_transform_node",
                "navsat_transform",
                ("odometry/filtered", "odometry/global"),
                condition=IfCondition(LaunchConfiguration("gps")),
            ),
        ]
    )
