"""How old a camera's pictures are when their turn comes, whatever the clocks of camera and node say."""

from collections import deque
from itertools import pairwise
from statistics import median

# Pictures whose quickest one says how long the way takes: more than middleware and sockets hold back at a time.
_WAYS = 60
_INTERVALS = 10


class Freshness:
    """Of one camera. Header stamps are not looked at: recordings and simulations have times of their own.

    What a picture spent on its way shows only against others: the clock of the machine that sends may be another one.
    """

    def __init__(self) -> None:
        self._ways: deque[float] = deque(maxlen=_WAYS)
        self._arrivals: deque[float] = deque(maxlen=_INTERVALS + 1)

    def arrived(self, now: float, way: float | None) -> float:
        """A picture came.

        Args:
            now: seconds of `time.monotonic`.
            way: seconds from when it was sent to now, by two clocks; None where the middleware does not say.

        Returns:
            Seconds by which it is later than the quickest of the last ones.
        """
        self._arrivals.append(now)
        if way is None:
            return 0.0
        self._ways.append(way)
        return way - min(self._ways)

    @property
    def interval(self) -> float:
        """Seconds between pictures lately, usually: a pause does not count; infinite before there are two.

        Asked for in the worker's thread while others arrive.
        """
        between = [later - earlier for earlier, later in pairwise(tuple(self._arrivals))]
        return median(between) if between else float("inf")

    def is_stale(self, age: float, max_age: float) -> bool:
        """Whether a picture of that age is left out for the next, which is there before this could be `max_age` old.

        A camera that sends less often has no fresher picture to offer, so its pictures are never stale.
        """
        return age > max_age > self.interval
