"""A node whose `/clock` says what is no time lives on, and one whose time stands still knows it."""

from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock


def survive_broken_clocks(node: Node) -> None:
    """Drops messages on `/clock` that hold no time: rclpy raises in its own callback, which would end the node.

    Such come from simulators that count from before zero, and from recordings that were cut.
    """
    source: Any = node._time_source
    take = source.clock_callback

    def receive(message: Clock) -> None:
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
    """How long the node's clock has said the same, as simulated time does while a recording is paused."""

    def __init__(self) -> None:
        self._clock, self._since = float("nan"), 0.0

    def seconds(self, clock: float, now: float) -> float:
        """To be asked a few times per second.

        Args:
            clock: what the node's clock says, seconds.
            now: seconds of `time.monotonic`.
        """
        if clock != self._clock:
            self._clock, self._since = clock, now
        return now - self._since
