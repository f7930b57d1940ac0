"""A rough pose that somebody is sure of, once: `~/set_prior` and `~/set_prior_fix` make it a hypothesis.

A position on `prior` or `prior_fix` (`dsformer_ros.prior`) comes all the time, narrows where pictures are looked for,
and is never itself an answer. What is set here is believed until pictures contradict it, and pictures are looked for
everywhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import NavSatFix, NavSatStatus

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import check_latlon, to_utm
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE
from dsformer_core.localization.planar import planar_covariance, planar_pose
from dsformer_core.place_map import PlaceMap
from dsformer_ros.parameters import Settings
from dsformer_ros.stamps import seconds_of

POSE_TOPIC, FIX_TOPIC = "~/set_prior", "~/set_prior_fix"

UNKNOWN_STD = 20.0
"""Metres, of a position whose covariance is all zero, which in ROS means unknown: what a person with a mouse, or GPS in
a street, is off by."""


@dataclass(frozen=True, eq=False)
class RoughPose:
    """What somebody set.

    Attributes:
        stamp: seconds; 0 where the message has none.
        utm: (2,) in the map's zone.
        covariance: (3, 3) over east, north, yaw.
        yaw: radians, NaN where unknown.
        topic: where it came from, resolved.
    """

    stamp: float
    utm: NDArray[np.float64]
    covariance: NDArray[np.float64]
    yaw: float
    topic: str


class SetPriorTopics:
    """Two subscriptions that exist between `open` and `close`; reliable, because such a message is sent once."""

    def __init__(
        self,
        node: LifecycleNode,
        read_settings: Callable[[], Settings],
        read_map: Callable[[], PlaceMap],
        on_prior: Callable[[RoughPose], None],
    ) -> None:
        """Prepares the topics without subscribing yet; `on_prior` is called in the executor's thread."""
        self._node = node
        self._settings = read_settings
        self._map = read_map
        self._on_prior = on_prior
        self._subscriptions: list[Subscription] = []

    def open(self) -> None:
        """Subscribes."""
        for kind, topic, read in (
            (PoseWithCovarianceStamped, POSE_TOPIC, _from_pose),
            (NavSatFix, FIX_TOPIC, _from_fix),
        ):
            receive = self._receiver(read, self._node.resolve_topic_name(topic))
            self._subscriptions.append(self._node.create_subscription(kind, topic, receive, QoSProfile(depth=10)))

    def close(self) -> None:
        """Unsubscribes."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _receiver(self, read: Callable[[Any, Settings, PlaceMap, str], RoughPose], topic: str) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            try:
                self._on_prior(read(message, self._settings(), self._map(), topic))
            except DsformerError as error:
                self._node.get_logger().warning(f"{topic}: {error}; not used", throttle_duration_sec=1.0)

        return receive


def _from_pose(message: PoseWithCovarianceStamped, settings: Settings, place_map: PlaceMap, topic: str) -> RoughPose:
    if message.header.frame_id != settings.map_frame:
        raise DsformerError(f"its frame is '{message.header.frame_id}', and map_frame is '{settings.map_frame}'")
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    pose = planar_pose((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
    covariance = planar_covariance(message.pose.covariance)
    utm = place_map.frame.to_utm(np.array([pose.x, pose.y]))
    # Without a covariance, the orientation is what a message has that only a position was written into.
    return RoughPose(
        seconds_of(message.header.stamp),
        np.asarray(utm, np.float64),
        _unknown() if covariance is None else covariance,
        math.nan if covariance is None else pose.yaw,
        topic,
    )


def _from_fix(message: NavSatFix, _: Settings, place_map: PlaceMap, topic: str) -> RoughPose:
    if message.status.status < NavSatStatus.STATUS_FIX:
        raise DsformerError("the receiver has no fix")
    check_latlon(message.latitude, message.longitude)
    utm = np.asarray(to_utm(message.latitude, message.longitude, place_map.zone), np.float64).reshape(2)
    covariance = _unknown()
    if message.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN:
        spatial = np.zeros((6, 6))
        spatial[:3, :3] = message.position_covariance.reshape(3, 3)
        known = planar_covariance(spatial)
        if known is not None:
            covariance[:2, :2] = known[:2, :2]
    return RoughPose(seconds_of(message.header.stamp), utm, covariance, math.nan, topic)


def _unknown() -> NDArray[np.float64]:
    return np.diag([UNKNOWN_STD**2, UNKNOWN_STD**2, UNKNOWN_YAW_VARIANCE])
