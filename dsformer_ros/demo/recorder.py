"""Listens to a camera and to the localizer, and brings together what belongs to one picture."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header, String

Stamp = tuple[int, int]


@dataclass
class Answer:
    """What the localizer said about one picture.

    Attributes:
        picture: the file that the camera published.
        latency: seconds from the picture's stamp to the arrival of the hypotheses; NaN where none came.
        references: ids of the retrieved references, best first; empty where nothing came back.
        pose: (x, y, yaw) in the map frame, m and rad; None where the localizer stayed silent.
    """

    picture: Path
    latency: float = math.nan
    references: tuple[str, ...] = ()
    pose: tuple[float, float, float] | None = None

    @property
    def came(self) -> bool:
        """Whether the localizer said anything at all, be it that it does not know."""
        return self.pose is not None or bool(self.references) or math.isfinite(self.latency)


class Recorder:
    """A node in a context of its own that knows the pictures a camera will publish.

    Args:
        pictures: files that the camera publishes byte for byte; their content tells which one a message carries.
        camera: topic of the camera.
        localizer: name of the localizer's node.
        domain: the ROS domain that all of them share.
    """

    def __init__(self, pictures: Sequence[Path], *, camera: str, localizer: str, domain: int) -> None:
        self._by_content = {hashlib.sha256(path.read_bytes()).digest(): path for path in pictures}
        self._pictures: dict[Stamp, Path] = {}
        self._arrivals: dict[Stamp, float] = {}
        self._references: dict[Stamp, tuple[str, ...]] = {}
        self._poses: dict[Stamp, tuple[float, float, float]] = {}
        self.status: DiagnosticStatus | None = None

        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("dsformer_demo_recorder", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscribe: Callable[..., Any] = self._node.create_subscription
        subscribe(CompressedImage, camera, self._on_picture, 100)
        subscribe(DiagnosticStatus, f"{localizer}/status", self._on_status, latched)
        subscribe(PoseArray, f"{localizer}/hypotheses", self._on_hypotheses, 100)
        subscribe(PoseWithCovarianceStamped, f"{localizer}/pose", self._on_pose, 100)
        subscribe(String, f"{localizer}/matches", self._on_matches, 100)

    def spin_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Takes messages until `done` or the time-out in seconds has passed; returns what `done` says then."""
        deadline = time.monotonic() + timeout
        while not done() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)
        return done()

    def spin_for(self, seconds: float) -> None:
        """Takes messages for a while."""
        self.spin_until(lambda: False, seconds)

    @property
    def answered(self) -> int:
        """Pictures for which the localizer's answer has arrived."""
        return len(self._pictures.keys() & self._arrivals.keys() & self._references.keys())

    def answers(self) -> list[Answer]:
        """One answer per picture seen, in the order of their stamps."""
        return [
            Answer(
                picture=self._pictures[stamp],
                latency=self._arrivals.get(stamp, math.nan) - (stamp[0] + 1e-9 * stamp[1]),
                references=self._references.get(stamp, ()),
                pose=self._poses.get(stamp),
            )
            for stamp in sorted(self._pictures)
        ]

    def close(self) -> None:
        """Leaves the ROS graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _on_picture(self, message: CompressedImage) -> None:
        picture = self._by_content.get(hashlib.sha256(bytes(message.data)).digest())
        if picture is not None:
            self._pictures[_stamp(message.header)] = picture

    def _on_status(self, message: DiagnosticStatus) -> None:
        self.status = message

    def _on_hypotheses(self, message: PoseArray) -> None:
        self._arrivals[_stamp(message.header)] = time.time()

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        position, quaternion = message.pose.pose.position, message.pose.pose.orientation
        # The published rotation is about the vertical alone.
        yaw = 2 * math.atan2(quaternion.z, quaternion.w)
        self._poses[_stamp(message.header)] = (position.x, position.y, yaw)

    def _on_matches(self, message: String) -> None:
        content = json.loads(message.data)
        stamp = content["stamp"]
        self._references[stamp["sec"], stamp["nanosec"]] = tuple(match["id"] for match in content["matches"])


def _stamp(header: Header) -> Stamp:
    return header.stamp.sec, header.stamp.nanosec
