"""Hands pictures from the executor's thread to the worker's: per camera the newest wins, and cameras take turns."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from sensor_msgs.msg import CompressedImage, Image


@dataclass(frozen=True)
class Frame:
    """One picture as it came from a camera.

    Attributes:
        camera: index into the `cameras` parameter.
        message: what the camera sent, not yet decoded.
        arrival: when it came, seconds of `time.monotonic`.
        generation: counts how often everything was forgotten before it came.
        late: seconds that it took longer to come than others.
    """

    camera: int
    message: Image | CompressedImage
    arrival: float
    generation: int = 0
    late: float = 0.0

    def age(self, now: float) -> float:
        """Seconds since it would have come without delay."""
        return now - self.arrival + self.late


class FrameQueue:
    """At most one waiting frame per camera; safe between threads."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Frame] = OrderedDict()
        self._condition = threading.Condition()
        self._closed = False

    def put(self, frame: Frame) -> bool:
        """Leaves a frame for the worker; False when it replaced one that nobody had taken."""
        with self._condition:
            # An existing key keeps its place in the order, so a fast camera does not overtake a slow one.
            replaced = frame.camera in self._waiting
            self._waiting[frame.camera] = frame
            self._condition.notify()
            return not replaced

    def take(self) -> Frame | None:
        """The frame of the camera that has waited longest, as soon as there is one; None once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._waiting.popitem(last=False)[1]

    def clear(self) -> list[Frame]:
        """Takes away what waits, and returns it."""
        with self._condition:
            waiting = list(self._waiting.values())
            self._waiting.clear()
            return waiting

    def close(self) -> None:
        """Makes `take` return None from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
