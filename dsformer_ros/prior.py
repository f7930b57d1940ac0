"""Rough positions that others publish, and which of them counts for a picture."""

import threading
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import NavSatFix, NavSatStatus
from std_msgs.msg import Header

from dsformer_core.errors import DsformerError
from dsformer_core.localization.prior import Prior, radius_of
from dsformer_core.place_map import PlaceMap
from dsformer_ros.parameters import Settings

POSE_TOPIC, FIX_TOPIC = "prior", "prior_fix"

# Of ROS, whose messages have no types that a checker knows: PoseWithCovarianceStamped or NavSatFix.
Message = Any


class PriorTopics:
    """Subscriptions that exist between `open` and `close`: to a filter's pose in map_frame, and to GPS."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._subscriptions: list[Subscription] = []
        self._lock = threading.Lock()
        self._newest: dict[str, Message] = {}

    def open(self) -> None:
        """Subscribes."""
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for kind, topic in ((PoseWithCovarianceStamped, POSE_TOPIC), (NavSatFix, FIX_TOPIC)):
            self._subscriptions.append(self._node.create_subscription(kind, topic, self._remember(topic), qos))

    def close(self) -> None:
        """Unsubscribes, and forgets."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self.forget()

    def forget(self) -> None:
        """What was known belongs to a time that is over."""
        with self._lock:
            self._newest.clear()

    def at(self, header: Header, settings: Settings, place_map: PlaceMap) -> Prior | None:
        """What is known of where a picture was taken; None where nothing that is new enough and makes sense.

        The topic with the stamp nearest to the picture's counts.

        Args:
            header: of the picture.
            settings: for age, sigmas, least radius and map_frame.
            place_map: in whose zone it is wanted.
        """
        with self._lock:
            newest = [(_apart(message.header, header), topic, message) for topic, message in self._newest.items()]
        for apart, topic, message in sorted(newest, key=lambda each: each[:2]):
            if apart > settings.prior_max_age:
                continue
            try:
                return _prior(message, self._node.resolve_topic_name(topic), settings, place_map)
            except DsformerError as error:
                self._node.get_logger().warning(f"{error}; not used", throttle_duration_sec=5.0)
        return None

    def _remember(self, topic: str) -> Callable[[Message], None]:
        def receive(message: Message) -> None:
            # Without lock a receiver repeats its last position, or makes one up.
            if isinstance(message, NavSatFix) and message.status.status < NavSatStatus.STATUS_FIX:
                return
            with self._lock:
                self._newest[topic] = message

        return receive


def _prior(message: Message, topic: str, settings: Settings, place_map: PlaceMap) -> Prior:
    sigmas, least = settings.prior_sigmas, settings.prior_min_radius
    if isinstance(message, NavSatFix):
        known = message.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN
        covariance = message.position_covariance.reshape(3, 3)[:2, :2] if known else [[0.0, 0.0], [0.0, 0.0]]
        radius = radius_of(covariance, sigmas=sigmas, least=least)
        return Prior.at_latlon(place_map, message.latitude, message.longitude, radius, topic)
    if message.header.frame_id != settings.map_frame:
        frame = message.header.frame_id
        raise DsformerError(f"{topic}: its frame is '{frame}', and map_frame is '{settings.map_frame}'")
    covariance = message.pose.covariance.reshape(6, 6)[:2, :2]
    radius = radius_of(covariance, sigmas=sigmas, least=least)
    return Prior.at_local(place_map, message.pose.pose.position.x, message.pose.pose.position.y, radius, topic)


def _apart(first: Header, second: Header) -> float:
    """Seconds between two stamps."""
    return abs(first.stamp.sec - second.stamp.sec + 1e-9 * (first.stamp.nanosec - second.stamp.nanosec))
