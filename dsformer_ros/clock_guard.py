"""A node whose `/clock` says what is no time lives on, and one whose time stands still knows it."""

import math
import time
from typing import Any

from rclpy.clock import Clock
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage

# Simulators tick at 10 Hz and more.
_LONG = 1.0


def survive_broken_clocks(node: Node) -> None:
    """Drops messages on `/clock` that hold no time: rclpy raises in its own callback, which would end the node.

    Such come from simulators that count from before zero, and from recordings that were cut.
    """
    source: Any = node._time_source
    take = source.clock_callback

    def receive(message: ClockMessage) -> None:
        try:
            take(message)
        except (ValueError, OverflowError) as error:
            node.get_logger().warning(f"/clock: {error}; not used", throttle_duration_sec=5.0)

    # For the subscription that there is, and for the one that a later use_sim_time makes.
    source.clock_callback = receive
    subscription = getattr(source, "_clock_sub", None)
    if subscription is not None:
        subscription.callback = receive


class Standstill:
    """Whether the node's time stands still, as simulated time does while a recording is paused."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last, self._since = math.nan, 0.0

    def look(self) -> None:
        """To be called a few times per second."""
        seconds = self._clock.now().nanoseconds * 1e-9
        if seconds != self._last:
            self._last, self._since = seconds, time.monotonic()

    def why(self) -> str:
        """One line where it has for `_LONG` seconds, '' while it goes on."""
        self.look()
        if time.monotonic() - self._since < _LONG:
            return ""
        if self._last == 0:
            return "use_sim_time is on, and no time comes on /clock"
        return f"time stands still at {self._last:.1f} s: is what sends /clock paused?"
