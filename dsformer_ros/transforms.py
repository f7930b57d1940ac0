"""What TF is asked and told: where a camera looks, where the map lies on Earth, where odometry's frame lies in the map.

tf2 is needed only if used.
"""

import math
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import MapFrame, grid_convergence
from dsformer_core.localization.planar import PlanarPose
from dsformer_core.mounting import viewing_yaw
from dsformer_core.tangent_plane import Array, tangent_plane
from dsformer_ros.parameters import Settings

_MISSING_LISTENER = "tf2_ros is not installed: apt install ros-$ROS_DISTRO-tf2-ros-py"
# Frames that are complained about: names made up by a broken sender must fill neither log nor memory.
_MOST_WARNED = 5

_MISSING_MESSAGES = "tf2_msgs is not installed: apt install ros-$ROS_DISTRO-tf2-msgs"


class Mounting:
    """Yaw of each camera's viewing direction in base_frame, from TF or from the parameter."""

    def __init__(self, node: Any, settings: Settings) -> None:
        """Starts to listen to TF where that is wanted and possible.

        Raises:
            DsformerError: camera_mounting is "tf" and tf2_ros is missing.
        """
        self._node = node
        self._buffer: Any = None
        self._warned: set[str] = set()
        if settings.camera_mounting == "parameter":
            return
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError as error:
            if settings.camera_mounting == "tf":
                raise DsformerError(f"camera_mounting is tf, but {_MISSING_LISTENER}") from error
            return
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def close(self) -> None:
        """Stops listening."""
        if self._buffer is not None:
            self._listener.unregister()
            self._buffer = None

    def camera_yaw(self, camera: int, header: Header, settings: Settings) -> float:
        """Yaw of a camera's viewing direction in base_frame, radians; NaN where it is not known.

        A camera that TF does not know and nobody gave a direction may look anywhere: to take it for one that looks
        ahead would turn the robot around with the confidence of a measurement.

        Args:
            camera: index into the `cameras` parameter.
            header: of its picture.
            settings: for the source and the fall-back.

        Raises:
            DsformerError: camera_mounting is "tf" and TF does not know it (yet).
        """
        if settings.camera_mounting == "parameter" or self._buffer is None:
            return settings.camera_yaw(camera)
        from tf2_ros import TransformException

        try:
            return viewing_yaw(self._rotation(header, settings.base_frame))
        except TransformException as error:
            unknown = f"where '{header.frame_id}' looks is not known to TF: {' '.join(str(error).split())}"
            if settings.camera_mounting == "tf":
                raise DsformerError(unknown) from error
        if settings.gives_camera_yaws:
            return settings.camera_yaw(camera)
        if header.frame_id not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(header.frame_id)
            self._node.get_logger().warning(
                f"{unknown}; until it is, answers are without a yaw: publish its transform, or give camera_yaws_deg, "
                "or set camera_mounting to parameter where the camera looks ahead"
            )
        return math.nan

    def _rotation(self, header: Header, base_frame: str) -> tuple[float, float, float, float]:
        """Quaternion x, y, z, w of the camera in base_frame when the picture was taken, or else as last known."""
        from rclpy.time import Time
        from tf2_ros import TransformException

        latest = Time()
        # Time refuses what a broken stamp may hold.
        when = Time.from_msg(header.stamp) if header.stamp.sec >= 0 else latest
        try:
            found = self._buffer.lookup_transform(base_frame, header.frame_id, when)
        except TransformException:
            # Transforms come a little later than pictures, and mountings seldom move.
            found = self._buffer.lookup_transform(base_frame, header.frame_id, latest)
        rotation = found.transform.rotation
        return rotation.x, rotation.y, rotation.z, rotation.w


def earth_to_map(frame: MapFrame) -> tuple[Array, Array]:
    """Pose of the map frame in the `earth` frame (ECEF, REP-105).

    The map's x and y axes are the UTM grid's, turned from true east and north by the grid convergence at the datum.

    Returns:
        Origin (3,), metres, and axes (3, 3), whose columns are the map's x, y and z in ECEF.
    """
    origin, axes = tangent_plane(frame.datum)
    turn = float(grid_convergence(frame.datum.latitude, frame.datum.longitude, frame.zone))
    return origin, axes @ Rotation.from_euler("z", -turn).as_matrix()


class EarthToMap:
    """The static transform `earth` -> map_frame while the node has a map.

    tf2_ros' StaticTransformBroadcaster never takes back what it once said: a map that is gone would stay latched.
    """

    def __init__(self, node: Any) -> None:
        """Offers the topic; nothing is said yet.

        Raises:
            DsformerError: tf2_msgs is missing.
        """
        self._message_type = _tf_message("publish_earth_to_map")
        self._node = node
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(self._message_type, "/tf_static", latched)
        self._sent: tuple[MapFrame, str] | None = None

    def send(self, frame: MapFrame, map_frame: str) -> None:
        """Says where the map lies, unless that was the last thing said. It replaces what was said before."""
        if self._sent == (frame, map_frame):
            return
        origin, axes = earth_to_map(frame)
        x, y, z, w = Rotation.from_matrix(axes).as_quat()
        transform = TransformStamped(child_frame_id=map_frame)
        transform.header.frame_id = "earth"
        transform.header.stamp = self._node.get_clock().now().to_msg()
        transform.transform.translation = Vector3(x=origin[0], y=origin[1], z=origin[2])
        transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
        self._publisher.publish(self._message_type(transforms=[transform]))
        self._sent = frame, map_frame

    def close(self) -> None:
        """Takes the transform away from who comes later."""
        self._node.destroy_publisher(self._publisher)


class MapToOdom:
    """The transform map_frame -> the odometry's frame, which makes map_frame the root of the robot's tree (REP-105)."""

    def __init__(self, node: Any) -> None:
        """Offers the topic; nothing is said yet.

        Raises:
            DsformerError: tf2_msgs is missing.
        """
        self._message_type = _tf_message("publish_map_to_odom")
        self._node = node
        # As deep as tf2_ros' own broadcaster.
        self._publisher = node.create_publisher(self._message_type, "/tf", QoSProfile(depth=100))

    def send(self, correction: PlanarPose, map_frame: str, odom_frame: str, stamp: Time) -> None:
        """Says where the odometry's frame lies in map_frame at a moment."""
        transform = TransformStamped(header=Header(stamp=stamp, frame_id=map_frame), child_frame_id=odom_frame)
        transform.transform.translation = Vector3(x=correction.x, y=correction.y)
        x, y, z, w = Rotation.from_euler("z", correction.yaw).as_quat()
        transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
        self._publisher.publish(self._message_type(transforms=[transform]))

    def close(self) -> None:
        """Takes the topic away."""
        self._node.destroy_publisher(self._publisher)


def _tf_message(parameter: str) -> Any:
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise DsformerError(f"{parameter} is set, but {_MISSING_MESSAGES}") from error
    return TFMessage
