"""Cameras that misbehave: too fast, frozen, of another encoding or size from one picture to the next."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.pictures import read_picture
from tests.dsformer_ros.faults.rig import FRONT, Rig, Vitals


@dataclass(frozen=True)
class Flood:
    """What became of pictures that came faster than the network is.

    Attributes:
        sent: pictures published.
        rate: of publishing, as far as this process managed, pictures per second.
        answered: positions, among those sent, of the pictures that were answered, in the order of the answers.
        ages: seconds from publishing each of these to its answer.
        counts: what diagnostics say of the camera.
        before: the node's vitals before.
        after: and after.
    """

    sent: int
    rate: float
    answered: list[int]
    ages: list[float]
    counts: dict[str, int]
    before: Vitals
    after: Vitals


def flood(rig: Rig, count: int, rate: float) -> Flood:
    """Publishes `count` pictures at `rate` and listens meanwhile."""
    rig.settle()
    before, first = rig.vitals, len(rig.hypotheses)
    # Slowly along the road, or as far as that is in the time there is.
    rows = np.linspace(0, 15, count)
    messages = [rig.picture(number) for number in range(16)]
    rig.stamp(0.0)
    published: dict[tuple[int, int], tuple[int, float]] = {}

    def shoot() -> None:
        start = time.monotonic()
        for number in range(count):
            message = messages[round(rows[number])]
            # 200 pictures in a second, whatever the rate that is managed.
            message.header.stamp = Time(sec=5000 + number // 200, nanosec=number % 200 * 5_000_000)
            if number % 4 == 0:
                rig.roll(float(rows[number]), message.header.stamp)
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            published[_stamp(message)] = number, time.monotonic()
            rig.front.publish(message)

    camera = threading.Thread(target=shoot)
    camera.start()
    arrivals: list[float] = []

    def listen() -> bool:
        arrivals.extend([time.monotonic()] * (len(rig.hypotheses) - first - len(arrivals)))
        return not camera.is_alive()

    assert rig.ears.spin_until(listen, 10 * count / rate)
    rig.ears.spin_until(lambda: listen() and False, 1.0)
    seen = [_stamp(message) for message in rig.hypotheses[first:]]
    answered = [published[stamp][0] for stamp in seen]
    ages = [arrival - published[stamp][1] for arrival, stamp in zip(arrivals, seen, strict=True)]
    took = published[_stamp(messages[-1])][1] - published[5000, 0][1]
    known = len(rig.diagnostics)
    rig.ears.spin_until(lambda: len(rig.diagnostics) > known + 1)
    return Flood(count, (count - 1) / took, answered, ages, rig.counts(FRONT), before, rig.vitals)


def _stamp(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def freeze(rig: Rig, pictures: int) -> None:
    """A camera that repeats its last message, stamp and all, and then goes on."""
    message = rig.picture(7)
    for _ in range(pictures):
        rig.front.publish(message)
        rig.ears.spin_for(0.02)
    assert rig.answered(message.header.stamp)
    assert rig.answers(8)


def flip(rig: Rig, rounds: int) -> None:
    """A camera that changes size, encoding and compression from one picture to the next; each good one is answered."""
    for number in range(rounds):
        pixels = read_picture(rig.pictures[number % len(rig.pictures)])
        size = ((64, 48), (801, 33), (1920, 1080), (1, 1))[number % 4]
        kind = (".jpg", ".png", ".bmp")[number % 3]
        compressed = CompressedImage(format=("jpeg", "png", "what?")[number % 3])
        compressed.data = cv2.imencode(kind, cv2.resize(pixels, size))[1].tobytes()
        raw = rig.raw_picture(number, ("rgb8", "bgr8", "mono8")[number % 3])
        # Says one thing and holds another: too few pixels for what is announced, and then a rubbish encoding.
        lying = rig.raw_picture(number)
        lying.width, lying.step = 2 * lying.width, 2 * lying.step
        nameless = rig.raw_picture(number)
        nameless.encoding = "rgb9"
        publishers = {CompressedImage: rig.front, Image: rig.rear}
        for message in (lying, compressed, nameless):
            message.header.stamp = rig.stamp()
            publishers[type(message)].publish(message)
            rig.ears.spin_for(0.05)
        assert rig.answers_to(rig.rear, raw), f"{raw.encoding}\n{rig.process.output}"
    assert rig.answers(9)
