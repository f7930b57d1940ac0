"""Stamps of messages as seconds, which is how the core takes them."""

from builtin_interfaces.msg import Time


def seconds_of(stamp: Time) -> float:
    """Seconds, to about a quarter of a microsecond for stamps of our time."""
    return stamp.sec + 1e-9 * stamp.nanosec


def is_stamp(stamp: Time) -> bool:
    """Whether it is a time that may be handed on: consumers refuse more nanoseconds than a second has."""
    return stamp.nanosec < 10**9
