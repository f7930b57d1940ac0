"""Odometry as the core wants it: planar poses by their stamps, out of messages that may hold anything."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from dsformer_core.errors import DsformerError
from dsformer_core.localization.planar import PlanarPose, planar_covariance, planar_pose
from dsformer_ros.parameters import Settings
from dsformer_ros.stamps import seconds_of

TOPIC = "odom"


@dataclass(frozen=True, eq=False)
class OdometrySample:
    """Where base_frame was in the odometry's frame.

    Attributes:
        stamp: seconds.
        pose: of base_frame.
        covariance: (3, 3) over x, y, yaw; None where the message gives none.
        frame: name of the odometry's frame.
    """

    stamp: float
    pose: PlanarPose
    covariance: NDArray[np.float64] | None
    frame: str


class OdometryTopic:
    """A subscription that exists between `open` and `close`.

    QoS is that of sensor data, overridable like a camera's. Odometry is needed for nothing: without it, what is known
    of the robot spreads by the motion bounds.
    """

    def __init__(
        self, node: LifecycleNode, read_settings: Callable[[], Settings], on_sample: Callable[[OdometrySample], None]
    ) -> None:
        """Prepares the topic without subscribing yet; `on_sample` is called in the executor's thread."""
        self._node = node
        self._settings = read_settings
        self._on_sample = on_sample
        self._subscription: Subscription | None = None
        self._told: set[str] = set()

    def open(self) -> None:
        """Subscribes."""
        self._subscription = self._node.create_subscription(
            Odometry,
            TOPIC,
            self._receive,
            QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def close(self) -> None:
        """Unsubscribes."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _receive(self, message: Odometry) -> None:
        try:
            self._on_sample(sample_of(message))
        except DsformerError as error:
            topic = self._node.resolve_topic_name(TOPIC)
            self._node.get_logger().warning(f"{topic}: {error}; not used", throttle_duration_sec=5.0)
            return
        child, base = message.child_frame_id, self._settings().base_frame
        if child != base and child not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(child)
            self._node.get_logger().warning(
                f"{self._node.resolve_topic_name(TOPIC)} tells where '{child}' is, and base_frame is '{base}': it is "
                "taken for the same"
            )


# Frames that are complained about: names made up by a broken sender must fill neither log nor memory.
_MOST_TOLD = 5


def sample_of(message: Odometry) -> OdometrySample:
    """What a message says.

    Raises:
        DsformerError: its pose is none.
    """
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    pose = planar_pose((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
    # A pose without a covariance that makes sense is still a pose.
    covariance = None
    with suppress(DsformerError):
        covariance = planar_covariance(message.pose.covariance)
    return OdometrySample(seconds_of(message.header.stamp), pose, covariance, message.header.frame_id)
