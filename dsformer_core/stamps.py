"""Which stamps of messages are believed, and when time has jumped: one rule, of the node and of recordings."""

JUMP_BACK = 1.0
"""Seconds. Stamps may come a little out of order; a clock that jumped back does more."""

_JUMP_AHEAD = 10.0
# Seconds of stamps in one second of life: simulators and bags run up to ten times as fast, and deliver in bursts.
_FASTEST = 20.0


class StampGuard:
    """The time that the stamps of one topic tell.

    One message whose stamp is far from those before it tells nothing, and is not to be used: broken drivers and bits
    that flip make such. Time has jumped when a second message agrees, or the receiver's own clock does.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The next stamp is believed, whatever it is."""
        self._last: tuple[float, float] | None = None
        self._doubted: tuple[float, float] | None = None

    @property
    def newest(self) -> float | None:
        """The newest stamp that was believed, seconds; None before there was any."""
        return None if self._last is None else self._last[0]

    def jumped(self, stamp: float, now: float, clock: float) -> float | None:
        """Takes in the stamp of a message.

        Args:
            stamp: seconds.
            now: when it was received, seconds of a clock that only goes on.
            clock: what the receiver's clock said then, seconds.

        Returns:
            By how many seconds time jumped, below 0 where back, 0 where it went on; None where that is not believed.
        """
        if self._last is None or _follows(self._last, stamp, now):
            self._last = stamp if self._last is None else max(self._last[0], stamp), now
            self._doubted = None
            return 0.0
        agreed = self._doubted is not None and _follows(self._doubted, stamp, now)
        # A clock at 0 is one of a simulation that has not said anything yet.
        if not agreed and (clock <= 0 or abs(clock - stamp) > JUMP_BACK):
            self._doubted = stamp, now
            return None
        jump = stamp - self._last[0]
        self._last, self._doubted = (stamp, now), None
        return jump


def _follows(before: tuple[float, float], stamp: float, now: float) -> bool:
    """Whether a stamp may come after an earlier one; `before` has that and when it came."""
    return -JUMP_BACK <= stamp - before[0] <= max(_JUMP_AHEAD, _FASTEST * (now - before[1]))
