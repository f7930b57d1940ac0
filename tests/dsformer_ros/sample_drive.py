"""The drive that the sample map was made of, shown to nodes in this process: pictures, odometry, and who listens."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped, Quaternion
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import Listener, listener
from sensor_msgs.msg import CompressedImage, PointCloud2

from dsformer_core.localization.planar import PlanarPose
from dsformer_core.place_map import PlaceMap
from dsformer_ros.engine import Engine
from dsformer_ros.node import LocalizerNode
from dsformer_ros.parameters import Settings

SAMPLE = Path(__file__).resolve().parents[2] / "maps" / "sample"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# Where the odometry's frame lies in the map: odometry begins wherever the robot was switched on.
ODOM_IN_MAP = PlanarPose(-20.0, 35.0, 2.0)


@cache
def sample_engine() -> Engine:
    """The sample map with its network, loaded once."""
    return Engine.load(Settings(map=str(SAMPLE), threads=1))


def place(row: int) -> PlanarPose:
    """Where a picture of the drive was taken, in the map frame."""
    place_map: PlaceMap = sample_engine().place_map
    x, y = place_map.frame.to_local(place_map.utm[row])
    return PlanarPose(float(x), float(y), float(place_map.yaw[row]))


@cache
def picture(row: int) -> bytes:
    """A picture of the drive, as a JPEG."""
    path = sample_engine().place_map.thumbnail_path(row)
    assert path is not None
    return path.read_bytes()


def stamp(seconds: float) -> Time:
    whole = int(seconds)
    return Time(sec=whole, nanosec=round((seconds - whole) * 1e9) % 10**9)


def second(message: Any) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


class Robot:
    """One localizer's surroundings: its cameras and wheels, and what is heard of it.

    Args:
        ears: takes messages.
        namespace: of the node, "" for none.
        cameras: relative topics.
    """

    def __init__(self, ears: Listener, namespace: str = "", cameras: Sequence[str] = ("image/compressed",)) -> None:
        self.ears, self.namespace = ears, namespace
        self.odom_frame, self.odom_in_map = "odom", ODOM_IN_MAP
        self.name = f"{namespace}/dsformer_localizer"
        node = ears.node
        self.cameras = [node.create_publisher(CompressedImage, f"{namespace}/{topic}", 10) for topic in cameras]
        self.wheels = node.create_publisher(Odometry, f"{namespace}/odom", 50)
        self.poses = ears.record(PoseWithCovarianceStamped, f"{self.name}/pose")
        self.hypotheses = ears.record(PoseArray, f"{self.name}/hypotheses")
        self.clouds = ears.record(PointCloud2, f"{self.name}/hypotheses_cloud")
        self.statuses = ears.record(DiagnosticStatus, f"{self.name}/status", LATCHED)
        self.diagnostics = ears.record(DiagnosticArray, "/diagnostics")

    def forget(self) -> None:
        """Drops what was heard so far."""
        for heard in (self.poses, self.hypotheses, self.clouds, self.statuses, self.diagnostics):
            heard.clear()

    def set(self, name: str, value: Any) -> None:
        """Sets a parameter of the node."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        assert self.ears.call(SetParameters, f"{self.name}/set_parameters", request).results[0].successful

    @property
    def status(self) -> str:
        return self.statuses[-1].message if self.statuses else ""

    def wait_for_discovery(self) -> None:
        everybody = [*self.cameras, self.wheels]
        assert self.ears.spin_until(lambda: all(each.get_subscription_count() for each in everybody), 60)
        assert self.ears.spin_until(lambda: self.ears.node.count_publishers(f"{self.name}/hypotheses"))
        self.ears.spin_for(0.4)

    def roll(self, seconds: float, row: float) -> None:
        """Publishes odometry from between two rows of the drive."""
        here, there = place(int(row)), place(int(np.ceil(row)))
        share = row - int(row)
        pose = self.odom_in_map.inverse @ PlanarPose(
            here.x + share * (there.x - here.x), here.y + share * (there.y - here.y), here.yaw
        )
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id, message.header.stamp = self.odom_frame, stamp(seconds)
        message.pose.pose.position.x, message.pose.pose.position.y = pose.x, pose.y
        message.pose.pose.orientation = Quaternion(z=np.sin(pose.yaw / 2), w=np.cos(pose.yaw / 2))
        self.wheels.publish(message)

    def send(self, seconds: float, data: bytes, camera: int = 0) -> None:
        message = CompressedImage(format="jpeg", data=data)
        message.header.stamp, message.header.frame_id = stamp(seconds), "camera"
        self.cameras[camera].publish(message)

    def answered(self, seconds: float) -> bool:
        return any(abs(second(message) - seconds) < 1e-6 for message in self.hypotheses)

    def pose_at(self, seconds: float) -> PoseWithCovarianceStamped | None:
        return next((message for message in self.poses if abs(second(message) - seconds) < 1e-6), None)

    def see(self, seconds: float, row: int, camera: int = 0) -> None:
        """Shows a picture of the drive and waits for its answer."""
        self.send(seconds, picture(row), camera)
        assert self.ears.spin_until(lambda: self.answered(seconds)), self.status

    def drive(self, start: float, rows: Sequence[int]) -> float:
        """Drives along the rows, one each second, with odometry; returns the stamp of the last picture."""
        for number, row in enumerate(rows):
            for part in (0.0, 0.25, 0.5, 0.75) if number + 1 < len(rows) else (0.0,):
                self.roll(start + number + part, row + part)
            self.see(start + number, row)
        return start + len(rows) - 1

    def is_near(self, row: int, within: float = 12.0) -> bool:
        """Whether the newest pose is where a picture was taken."""
        at, truth = self.poses[-1].pose.pose.position, place(row)
        return bool(np.hypot(at.x - truth.x, at.y - truth.y) <= within)


@contextmanager
def nodes(
    domain: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    namespaces: Sequence[str] = ("",),
    others: Sequence[Any] = (),
    executor: type[Executor] = SingleThreadedExecutor,
    **parameters: Any,
) -> Iterator[tuple[list[LocalizerNode], Listener]]:
    """Localizers over the sample map in this process, spun by a thread, and somebody in the same domain who listens.

    Args:
        domain: of ROS.
        monkeypatch: spares loading the network for each of them.
        namespaces: one localizer each.
        others: functions of the context that make nodes for the same executor.
        executor: which kind.
        parameters: of all localizers.
    """
    engine = sample_engine()
    monkeypatch.setattr(Engine, "load", lambda _: engine)
    context = Context()
    rclpy.init(context=context, args=[], domain_id=domain)
    given = {"map": str(SAMPLE), "autostart": True, "image_timeout": 30.0, "stale_timeout": 30.0} | parameters
    # Whatever the defaults are tuned to.
    given |= {"fusion_min_probability": 0.95, "fusion_keep_probability": 0.6}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    localizers = [
        LocalizerNode(context=context, namespace=namespace, parameter_overrides=overrides) for namespace in namespaces
    ]
    spun = executor(context=context)
    everybody = [*localizers, *(make(context) for make in others)]
    for node in everybody:
        spun.add_node(node)
    spinner = threading.Thread(target=spun.spin)
    spinner.start()
    try:
        with listener(domain) as ears:
            yield localizers, ears
    finally:
        spun.shutdown()
        spinner.join()
        for localizer in localizers:
            localizer.close()
        for node in everybody:
            node.destroy_node()
        context.try_shutdown()
