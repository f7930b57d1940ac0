"""Recordings written by rosbags' own writers, ROS 2 (sqlite3, mcap) and ROS 1: a drive due east past a fix a second."""

from collections.abc import Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START = 1_700_000_000.0
LATITUDE, LONGITUDE = 55.7, 13.2
# At this latitude, WGS-84.
METRES_PER_DEGREE = 62_875.22
TRANSFORMS = "tf2_msgs/msg/TFMessage"
FORMATS = ("sqlite3", "mcap", "ros1")


def longitude_after(metres: float) -> float:
    return LONGITUDE + metres / METRES_PER_DEGREE


class Recorder:
    """Writes messages to any number of topics; times are seconds since `START`."""

    def __init__(self, writer: Any, ros1: bool) -> None:
        self._writer, self._ros1 = writer, ros1
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
        if ros1:
            self.store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TRANSFORMS))
        self._connections: dict[str, Any] = {}

    def type(self, name: str) -> Any:
        return self.store.types[name]

    def write(self, topic: str, kind: str, message: Any, time: float) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self.store)
        serialise = self.store.serialize_ros1 if self._ros1 else self.store.serialize_cdr
        self._writer.write(self._connections[topic], nanoseconds(time), serialise(message, kind))

    def header(self, time: float | None, frame: str) -> Any:
        stamp = 0 if time is None else nanoseconds(time)
        time_type, header_type = self.type("builtin_interfaces/msg/Time"), self.type("std_msgs/msg/Header")
        fields = {"stamp": time_type(sec=stamp // 10**9, nanosec=stamp % 10**9), "frame_id": frame}
        return header_type(**fields, **({"seq": 0} if self._ros1 else {}))

    def fix(
        self,
        time: float,
        latitude: float = LATITUDE,
        longitude: float = LONGITUDE,
        *,
        topic: str = "/fix",
        status: int = 0,
        std: float | None = None,
        altitude: float = 80.0,
    ) -> None:
        kind = "sensor_msgs/msg/NavSatFix"
        covariance = np.zeros(9) if std is None else np.diag([float(std) ** 2] * 3).ravel()
        message = self.type(kind)(
            header=self.header(time, "gps"),
            status=self.type("sensor_msgs/msg/NavSatStatus")(status=status, service=1),
            latitude=latitude,
            longitude=longitude,
            altitude=altitude,
            position_covariance=covariance,
            position_covariance_type=0 if std is None else 2,
        )
        self.write(topic, kind, message, time)

    def jpeg(
        self,
        time: float,
        data: bytes | None = None,
        *,
        topic: str = "/camera/image/compressed",
        frame: str = "camera_optical",
        stamp: float | None = None,
        received: float | None = None,
    ) -> None:
        kind = "sensor_msgs/msg/CompressedImage"
        pixels = np.frombuffer(jpeg_of(time) if data is None else data, np.uint8)
        header = self.header(time if stamp is None else stamp, frame)
        message = self.type(kind)(header=header, format="jpeg", data=pixels)
        self.write(topic, kind, message, time if received is None else received)

    def raw(
        self,
        time: float,
        pixels: np.ndarray,
        encoding: str,
        *,
        topic: str = "/camera/image",
        frame: str = "camera_optical",
        padding: int = 0,
    ) -> None:
        kind = "sensor_msgs/msg/Image"
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
        rows = np.pad(rows, ((0, 0), (0, padding)))
        message = self.type(kind)(
            header=self.header(time, frame),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=rows.shape[1],
            data=rows.ravel(),
        )
        self.write(topic, kind, message, time)

    def pose(
        self,
        time: float,
        place: Sequence[float],
        yaw: float = 0.0,
        *,
        kind: str = "nav_msgs/msg/Odometry",
        topic: str = "/odom",
        std: float = 0.0,
        frame: str = "odom",
        orientation: Sequence[float] | None = None,
        received: float | None = None,
    ) -> None:
        """Writes a pose: a yaw, or a quaternion x, y, z, w."""
        pose = self.type("geometry_msgs/msg/Pose")(
            position=self.type("geometry_msgs/msg/Point")(x=place[0], y=place[1], z=place[2]),
            orientation=self.quaternion(yaw) if orientation is None else self.rotation(orientation),
        )
        covariance = np.diag([float(std) ** 2] * 6).ravel()
        header = self.header(time, frame)
        if not kind.endswith("PoseStamped"):
            with_covariance = self.type("geometry_msgs/msg/PoseWithCovariance")(pose=pose, covariance=covariance)
        if kind.endswith("Odometry"):
            zero = self.type("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=0.0)
            twist = self.type("geometry_msgs/msg/Twist")(linear=zero, angular=zero)
            still = self.type("geometry_msgs/msg/TwistWithCovariance")(twist=twist, covariance=covariance)
            message = self.type(kind)(header=header, child_frame_id="base_link", pose=with_covariance, twist=still)
        else:
            message = self.type(kind)(header=header, pose=pose if kind.endswith("PoseStamped") else with_covariance)
        self.write(topic, kind, message, time if received is None else received)

    def imu(
        self,
        time: float,
        yaw: float,
        *,
        topic: str = "/imu/data",
        known: bool = True,
        orientation: Sequence[float] | None = None,
    ) -> None:
        """Writes an orientation: a yaw, or a quaternion x, y, z, w."""
        kind = "sensor_msgs/msg/Imu"
        zero = self.type("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=0.0)
        covariance = np.zeros(9)
        covariance[0] = 0.0 if known else -1.0
        message = self.type(kind)(
            header=self.header(time, "imu_link"),
            orientation=self.quaternion(yaw) if orientation is None else self.rotation(orientation),
            orientation_covariance=covariance,
            angular_velocity=zero,
            angular_velocity_covariance=np.zeros(9),
            linear_acceleration=zero,
            linear_acceleration_covariance=np.zeros(9),
        )
        self.write(topic, kind, message, time)

    def mounting(
        self, child: str, quaternion: Sequence[float], *, parent: str = "base_link", topic: str = "/tf_static"
    ) -> None:
        """Writes one static transform; `quaternion` is x, y, z, w."""
        transform = self.type("geometry_msgs/msg/TransformStamped")(
            header=self.header(0.0, parent),
            child_frame_id=child,
            transform=self.type("geometry_msgs/msg/Transform")(
                translation=self.type("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=1.0),
                rotation=self.rotation(quaternion),
            ),
        )
        self.write(topic, TRANSFORMS, self.type(TRANSFORMS)(transforms=[transform]), 0.0)

    def quaternion(self, yaw: float) -> Any:
        return self.rotation((0, 0, np.sin(yaw / 2), np.cos(yaw / 2)))

    def rotation(self, quaternion: Sequence[float]) -> Any:
        x, y, z, w = map(float, quaternion)
        return self.type("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)


def nanoseconds(time: float) -> int:
    return int(START) * 10**9 + round(time * 1e9)


def jpeg_of(value: float, size: tuple[int, int] = (64, 48)) -> bytes:
    """A grey JPEG whose brightness is the value."""
    buffer = BytesIO()
    Image.new("RGB", size, (int(value) % 256,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@contextmanager
def recording(folder: Path, form: str, name: str = "drive", **options: Any) -> Any:
    """Opens a recorder of one of `FORMATS`; the recording's path is its `path`."""
    if form == "ros1":
        path = folder / f"{name}.bag"
        writer: Any = Writer1(path)
    else:
        path = folder / name
        plugin = StoragePlugin.MCAP if form == "mcap" else StoragePlugin.SQLITE3
        writer = Writer2(path, version=9, storage_plugin=plugin)
    if options.get("compression"):
        writer.set_compression(*options["compression"])
    with writer:
        recorder = Recorder(writer, form == "ros1")
        recorder.path = path
        yield recorder


def write_drive(folder: Path, form: str, *, seconds: int = 10, speed: float = 5.0, **options: Any) -> Path:
    """A fix a second and five pictures a second, due east."""
    with recording(folder, form, **options) as recorder:
        for tick in range(5 * seconds + 1):
            time = tick / 5
            if tick % 5 == 0:
                recorder.fix(time, longitude=longitude_after(speed * time))
            recorder.jpeg(time)
    return recorder.path
