"""Stamps of messages as seconds, which is how the core takes them."""

from builtin_interfaces.msg import Time

JUMP_BACK = 1.0
"""Seconds. Stamps may come a little out of order; a clock that jumped back does more."""


def seconds_of(stamp: Time) -> float:
    """Seconds, to about a quarter of a microsecond for stamps of our time."""
    return stamp.sec + 1e-9 * stamp.nanosec
