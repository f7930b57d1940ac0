"""Random messages: of the right type with senseless content, and bytes that are no message at all."""

import math
import random
import time
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosidl_parser.definition import (
    AbstractNestedType,
    AbstractString,
    AbstractWString,
    Array,
    BasicType,
    NamespacedType,
)

from tests.dsformer_ros.faults.rig import Rig, message_type

_FLOATS = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e-300, 1e300, -1e300, 90.0, 180.0, 1e9)
_FLOATS32 = (0.0, 1.0, math.nan, math.inf, -math.inf, 3e38)
_WORDS = (
    "", "map", "odom", "base_link", "front_optical_frame", "/map", "ünïcode \U0001f6f8", "a" * 5000, "%s%n{0}", "\n",
    "rgb8", "bgr8", "mono16", "bayer_rggb8", "yuv422_yuy2", "32FC1", "8UC3", "nv12", "jpeg", "png",
    "rgb8; jpeg compressed bgr8",
)  # fmt: skip
_LONGEST = 3000


class Noise:
    """A source of messages that nobody should trust, the same for the same seed."""

    def __init__(self, seed: int, jpeg: bytes = b"") -> None:
        self._random = random.Random(seed)
        self._jpeg = jpeg

    def message(self, kind: type) -> Any:
        """One with senseless content."""
        message = kind()
        for name, field in zip(message.get_fields_and_field_types(), kind.SLOT_TYPES, strict=True):  # type: ignore[attr-defined]
            setattr(message, name, self._value(field))
        return message

    def malformed(self, kind: type) -> bytes:
        """What is no message: cut short, with changed bytes, or nothing but chance."""
        whole = bytearray(serialize_message(self.message(kind)))
        how = self._random.randrange(4)
        if how == 0:
            return bytes(whole[: self._random.randrange(len(whole) + 1)])
        if how == 1:
            for _ in range(self._random.randint(1, 8)):
                whole[self._random.randrange(len(whole))] = self._random.randrange(256)
            return bytes(whole)
        # The middleware sends no more bytes than the type can have; the first four say how the others are meant.
        kept = 4 if how == 2 else 0
        return bytes(whole[:kept]) + self._random.randbytes(self._random.randint(0, len(whole) - kept))

    def _value(self, field: Any) -> Any:
        if isinstance(field, AbstractNestedType):
            return self._sequence(field)
        if isinstance(field, AbstractString | AbstractWString):
            return self._random.choice(_WORDS)
        if isinstance(field, NamespacedType):
            return self.message(message_type("/".join(field.namespaced_name())))
        assert isinstance(field, BasicType)
        return self._number(field.typename)

    def _sequence(self, field: AbstractNestedType) -> Any:
        fixed = isinstance(field, Array)
        length = field.size if fixed else self._random.choice((0, 1, 7, self._random.randint(0, _LONGEST)))
        kind = field.value_type
        if isinstance(kind, BasicType) and kind.typename in ("uint8", "octet"):
            if self._jpeg and not fixed and self._random.random() < 0.5:
                return self._jpeg[: self._random.choice((len(self._jpeg), self._random.randrange(len(self._jpeg))))]
            return self._random.randbytes(length)
        return [self._value(kind) for _ in range(length if isinstance(kind, BasicType) else min(length, 7))]

    def _number(self, typename: str) -> Any:
        if typename == "boolean":
            return self._random.random() < 0.5
        if typename in ("double", "float"):
            return self._random.choice(_FLOATS if typename == "double" else _FLOATS32)
        if typename == "octet":
            return bytes([self._random.randrange(256)])
        bits = int(typename.removeprefix("u").removeprefix("int"))
        low, high = (0, 2**bits - 1) if typename.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        some = (low, high, 0, 1, self._random.randint(low, high), self._random.randint(0, min(high, 640)))
        return self._random.choice(some)


def shout(rig: Rig, count: int, *, seed: int = 0) -> dict[str, int]:
    """Sends `count` messages to each of the node's subscriptions, every third of them malformed.

    Returns:
        How many were sent, by topic.
    """
    noise = Noise(seed, rig.pictures[0].read_bytes())
    # Reliable, so that what the node does not get was at least not lost by the network.
    qos = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
    sent = {}
    for topic, kind in rig.subscriptions().items():
        publisher = rig.ears.node.create_publisher(kind, topic, qos)
        assert rig.ears.spin_until(publisher.get_subscription_count), topic
        # Discovery has two ends.
        rig.ears.spin_for(0.5)
        for number in range(count):
            publisher.publish(noise.malformed(kind) if number % 3 == 2 else noise.message(kind))
            # As many as the node's subscriptions hold, and time to take them.
            if number % 4 == 3:
                time.sleep(0.004)
            assert rig.alive, rig.process.output
        rig.ears.spin_for(0.2)
        rig.ears.node.destroy_publisher(publisher)
        sent[topic] = count
    return sent
