"""Callers of `~/localize`, each waiting for an answer to a picture that came after the call."""

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from rclpy.executors import Executor
from rclpy.task import Future


class Outcome(NamedTuple):
    """What a caller gets: whether the robot is localized, and where or why not."""

    localized: bool
    message: str


@dataclass
class _Request:
    since: float
    deadline: float
    awaiting: set[int]
    future: Future
    abstentions: list[str] = field(default_factory=list)


class LocalizeRequests:
    """Any number of waiting callers; safe between threads.

    Times are seconds of `time.monotonic`, not stamps: a clock that jumps must neither strand nor cheat a caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[_Request] = []

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(self, executor: Executor | None, cameras: set[int], now: float, timeout: float) -> Future:
        """Registers a caller.

        Args:
            executor: spins the coroutine that will await the future.
            cameras: whose answers to wait for before giving up.
            now: pictures that arrived before do not count.
            timeout: seconds to wait at most.

        Returns:
            A future that will hold an `Outcome`.
        """
        request = _Request(now, now + timeout, set(cameras), Future(executor=executor))
        with self._lock:
            self._requests.append(request)
        return request.future

    def want(self, arrival: float) -> bool:
        """Whether a picture that arrived at this time may be what a caller waits for."""
        with self._lock:
            return any(arrival > request.since for request in self._requests)

    def answered(self, camera: int, arrival: float, outcome: Outcome) -> bool:
        """Tells callers what came of a picture; True when any of them got what it waited for.

        Args:
            camera: whose picture it was.
            arrival: when that picture arrived.
            outcome: a caller that gets no better one gets those of all cameras, joined.
        """
        finished = []
        with self._lock:
            for request in self._requests:
                if arrival <= request.since:
                    continue
                request.awaiting.discard(camera)
                if outcome.localized:
                    finished.append((request, outcome))
                else:
                    request.abstentions.append(outcome.message)
                    if not request.awaiting:
                        finished.append((request, Outcome(False, "; ".join(request.abstentions))))
        return self._finish(finished)

    def expire(self, now: float, why: str) -> bool:
        """Gives up for callers whose time is over; `why` is for those who saw no answer at all."""
        with self._lock:
            late = [request for request in self._requests if now >= request.deadline]
        return self._finish([(request, Outcome(False, "; ".join(request.abstentions) or why)) for request in late])

    def abandon(self, why: str) -> bool:
        """Gives up for every caller."""
        with self._lock:
            everyone = list(self._requests)
        return self._finish([(request, Outcome(False, why)) for request in everyone])

    def _finish(self, finished: list[tuple[_Request, Outcome]]) -> bool:
        for request, outcome in finished:
            with self._lock:
                if request not in self._requests:
                    continue
                self._requests.remove(request)
            request.future.set_result(outcome)
        return bool(finished)
