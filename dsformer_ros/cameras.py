"""One camera: its subscription, of whichever message type is published, and what is known when it sends nothing."""

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

OnMessage = Callable[[Image | CompressedImage, Mapping[str, int] | None], None]
"""Takes a message and what the middleware says of it (rclpy's `MessageInfo`), None where it does not."""

# Humble's rclpy hands over the message alone.
TELLS_WHEN_SENT = hasattr(Subscription, "CallbackType")

_TYPE_NAMES = {Image: "sensor_msgs/msg/Image", CompressedImage: "sensor_msgs/msg/CompressedImage"}
_TRANSPORTS = {"raw": Image, "compressed": CompressedImage}


class Camera:
    """A subscription that exists between `open` and `close`.

    QoS is that of sensor data (best effort, REP-2003), and can be overridden by parameters
    `qos_overrides.<topic>.subscription.<policy>`.
    """

    def __init__(self, node: LifecycleNode, topic: str, transport: str, on_message: OnMessage) -> None:
        """Prepares a camera without subscribing yet.

        Args:
            node: owns the subscription.
            topic: as the parameter has it.
            transport: "raw", "compressed" or "auto".
            on_message: called in the executor's thread.
        """
        self._node = node
        self._transport = transport
        # rclpy's annotation knows only callbacks without the second argument.
        self._on_message: Any = on_message
        self._on_message_alone: Callable[[Image | CompressedImage], None] = lambda message: on_message(message, None)
        self._subscription: Subscription | None = None
        self._type: type = Image
        self._given_topic = topic
        self.topic: str = node.resolve_topic_name(topic)

    def open(self) -> None:
        """Subscribes."""
        self._type = self._wanted_type()
        self._qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self._node.create_subscription(
            self._type,
            self._given_topic,
            self._on_message if TELLS_WHEN_SENT else self._on_message_alone,
            self._qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def close(self) -> None:
        """Unsubscribes."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def follow_publisher(self) -> None:
        """Subscribes anew where a publisher has meanwhile shown that the messages are of the other type."""
        if self._subscription is not None and self._wanted_type() is not self._type:
            self.close()
            self.open()

    def why_silent(self) -> str:
        """One line: who publishes on the topic, and what keeps their pictures from arriving here."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return f"no picture on {self.topic}: nobody publishes there"
        wanted = _TYPE_NAMES[self._type]
        types = sorted({publisher.topic_type for publisher in publishers} - {wanted})
        if types and all(publisher.topic_type != wanted for publisher in publishers):
            return f"no picture on {self.topic}: {', '.join(types)} is published there, {wanted} is expected"
        for publisher in publishers:
            compatibility, reason = qos_check_compatible(publisher.qos_profile, self._qos)
            if compatibility == QoSCompatibility.ERROR:
                mismatch = " ".join(reason.split())
                return f"no picture on {self.topic}: QoS of {publisher.node_name} does not match: {mismatch}"
        return f"no picture on {self.topic}: {len(publishers)} publisher(s) there, but they send nothing"

    def _wanted_type(self) -> type:
        if self._transport in _TRANSPORTS:
            return _TRANSPORTS[self._transport]
        published = {publisher.topic_type for publisher in self._node.get_publishers_info_by_topic(self.topic)}
        for message_type, name in _TYPE_NAMES.items():
            if name in published:
                return message_type
        if self._subscription is not None:
            return self._type
        return CompressedImage if self.topic.endswith("/compressed") else Image
