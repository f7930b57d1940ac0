"""What TF is asked and told: where a camera looks, and where the map lies on Earth. tf2_ros is needed only if used."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import MapFrame, grid_convergence
from dsformer_ros.parameters import Settings

_MISSING = "tf2_ros is not installed: apt install ros-$ROS_DISTRO-tf2-ros-py"

# A viewing direction closer to the vertical than this (as the sine of its elevation) has no usable yaw.
_STEEP = 0.9

_SEMI_MAJOR_AXIS = 6_378_137.0
_ECCENTRICITY_SQUARED = 0.0066943799901413165


class Mounting:
    """Yaw of each camera's viewing direction in base_frame, from TF or from the parameter."""

    def __init__(self, node: Any, settings: Settings) -> None:
        """Starts to listen to TF where that is wanted and possible.

        Raises:
            DsformerError: camera_mounting is "tf" and tf2_ros is missing.
        """
        self._buffer: Any = None
        if settings.camera_mounting == "parameter":
            return
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError as error:
            if settings.camera_mounting == "tf":
                raise DsformerError(f"camera_mounting is tf, but {_MISSING}") from error
            return
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def close(self) -> None:
        """Stops listening."""
        if self._buffer is not None:
            self._listener.unregister()
            self._buffer = None

    def camera_yaw(self, camera: int, frame_id: str, settings: Settings) -> float:
        """Yaw of a camera's viewing direction in base_frame, radians.

        Args:
            camera: index into the `cameras` parameter.
            frame_id: of its pictures.
            settings: for the source and the fall-back.

        Raises:
            DsformerError: camera_mounting is "tf" and TF does not know it (yet).
        """
        if settings.camera_mounting == "parameter" or self._buffer is None:
            return settings.camera_yaw(camera)
        from rclpy.time import Time
        from tf2_ros import TransformException

        try:
            found = self._buffer.lookup_transform(settings.base_frame, frame_id, Time()).transform.rotation
        except TransformException as error:
            if settings.camera_mounting == "tf":
                raise DsformerError(
                    f"where '{frame_id}' looks is not known to TF: {' '.join(str(error).split())}"
                ) from error
            return settings.camera_yaw(camera)
        return viewing_yaw((found.x, found.y, found.z, found.w))


def viewing_yaw(rotation: tuple[float, float, float, float]) -> float:
    """Yaw of where a camera looks, from the rotation of its frame.

    Cameras look along z of an optical frame (REP-103). Where z is about vertical, the frame is not an optical one but
    a body's, which looks along x.

    Args:
        rotation: quaternion x, y, z, w that takes vectors of the camera's frame to base_frame.

    Returns:
        Radians in (-pi, pi], counter-clockwise from base_frame's x.
    """
    x, y, z, w = np.asarray(rotation, np.float64) / np.linalg.norm(rotation)
    along_z = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
    along_x = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z))
    east, north = along_x if abs(along_z[2]) > _STEEP else along_z[:2]
    return math.atan2(north, east)


def earth_to_map(frame: MapFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pose of the map frame in the `earth` frame (ECEF, REP-105).

    The map's x and y axes are the UTM grid's, turned from true east and north by the grid convergence at the datum.

    Returns:
        Origin (3,), metres, and axes (3, 3), whose columns are the map's x, y and z in ECEF.
    """
    datum = frame.datum
    latitude, longitude = math.radians(datum.latitude), math.radians(datum.longitude)
    sin_latitude, cos_latitude = math.sin(latitude), math.cos(latitude)
    sin_longitude, cos_longitude = math.sin(longitude), math.cos(longitude)
    normal = _SEMI_MAJOR_AXIS / math.sqrt(1 - _ECCENTRICITY_SQUARED * sin_latitude**2)
    up = np.array([cos_latitude * cos_longitude, cos_latitude * sin_longitude, sin_latitude])
    east = np.array([-sin_longitude, cos_longitude, 0.0])
    north = np.cross(up, east)
    flattened = np.array([1.0, 1.0, 1 - _ECCENTRICITY_SQUARED])
    origin = normal * flattened * up + datum.altitude * up
    turn = float(grid_convergence(datum.latitude, datum.longitude, frame.zone))
    x_axis = math.cos(turn) * east - math.sin(turn) * north
    y_axis = math.cos(turn) * north + math.sin(turn) * east
    return origin, np.column_stack([x_axis, y_axis, up])


def broadcast_earth_to_map(node: Any, frame: MapFrame, map_frame: str) -> Any:
    """Publishes `earth` -> map_frame as a static transform.

    Returns:
        The broadcaster, which must live as long as the transform shall hold.

    Raises:
        DsformerError: tf2_ros is missing.
    """
    try:
        from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
        from scipy.spatial.transform import Rotation
        from tf2_ros import StaticTransformBroadcaster
    except ImportError as error:
        raise DsformerError(f"publish_earth_to_map is set, but {_MISSING}") from error
    origin, axes = earth_to_map(frame)
    x, y, z, w = Rotation.from_matrix(axes).as_quat()
    message = TransformStamped(child_frame_id=map_frame)
    message.header.frame_id = "earth"
    message.header.stamp = node.get_clock().now().to_msg()
    message.transform.translation = Vector3(x=origin[0], y=origin[1], z=origin[2])
    message.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    broadcaster = StaticTransformBroadcaster(node)
    broadcaster.sendTransform(message)
    return broadcaster
