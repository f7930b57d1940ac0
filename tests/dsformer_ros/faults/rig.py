"""A localizer as a process in the sample map, and this process as its cameras, its wheels and its listener."""

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped, Quaternion
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import Listener, NodeProcess, listener
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.pictures import read_picture
from dsformer_core.place_map import PlaceMap
from dsformer_ros.picture_publisher import compressed_message

SAMPLE = Path(__file__).resolve().parents[3] / "maps" / "sample"
NODE, NAME = "/dsformer_localizer", "dsformer_localizer"
FRONT, REAR, ODOM = "/front/image/compressed", "/rear/image", "/odom"
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE

# Seconds between two pictures, and messages of odometry in one.
_STEP, _WHEEL_RATE = 0.5, 50
# Metres within which a pose is right: a place of the map.
_NEAR = 15.0

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Vitals:
    """What a process holds: resident memory in MiB, threads, open file descriptors."""

    memory: float
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> "Vitals":
        process = Path("/proc") / str(pid)
        lines = (process / "status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        memory = int(values["VmRSS"].split()[0]) / 1024
        return cls(memory, int(values["Threads"]), len(list((process / "fd").iterdir())))


class Rig:
    """The node's process, everything that it says, and the robot that it is on.

    Whenever a picture is made, the robot drives to where it was taken, along the road, with odometry at 50 Hz of the
    stamps' time.

    Attributes:
        process: of the node.
        ears: this process's node.
        pictures: JPEGs of mapped views, in their order along the road.
        step: seconds between the stamps of two pictures.
    """

    def __init__(self, process: NodeProcess, ears: Listener) -> None:
        self.process, self.ears = process, ears
        place_map = PlaceMap.open(SAMPLE)
        thumbnails = (place_map.thumbnail_path(row) for row in range(place_map.count))
        self.pictures = [path for path in thumbnails if path is not None]
        self._road = np.column_stack([place_map.frame.to_local(place_map.utm), np.unwrap(place_map.yaw)])
        self._row, self._second, self.step = 0.0, 1000.0, _STEP
        self.wheels = ears.node.create_publisher(Odometry, ODOM, 100)
        self.hypotheses = ears.record(PoseArray, f"{NODE}/hypotheses", 100)
        self.poses = ears.record(PoseWithCovarianceStamped, f"{NODE}/pose", 100)
        self.statuses = ears.record(DiagnosticStatus, f"{NODE}/status", _LATCHED)
        self.diagnostics = ears.record(DiagnosticArray, "/diagnostics", 10)
        self.front = ears.node.create_publisher(CompressedImage, FRONT, 10)
        self.rear = ears.node.create_publisher(Image, REAR, 10)

    @property
    def state(self) -> str:
        return self.statuses[-1].message.split(":")[0] if self.statuses else ""

    @property
    def vitals(self) -> Vitals:
        return Vitals.of(self.process.process.pid)

    @property
    def alive(self) -> bool:
        return self.process.process.poll() is None

    def vitals_after(self, before: Vitals) -> Vitals:
        """As they are when a loader's thread has ended and DDS no longer looks for others with a socket more."""

        def back() -> bool:
            now = self.vitals
            return now.threads <= before.threads and now.descriptors <= before.descriptors

        self.ears.spin_until(back, 5.0)
        return self.vitals

    def subscriptions(self) -> dict[str, type]:
        """Topics that the node listens to, with their types, as the graph has them."""
        found = self.ears.node.get_subscriber_names_and_types_by_node(NAME, "/")
        return {topic: message_type(kinds[0]) for topic, kinds in found}

    def picture(self, number: float, stamp: Time | None = None) -> CompressedImage:
        """The mapped view nearest to a row, as the front camera sends it when the robot has driven there."""
        row = number % len(self.pictures)
        message = compressed_message(self.pictures[round(row) % len(self.pictures)])
        message.header.stamp, message.header.frame_id = self.stamp(row, stamp), "front_optical_frame"
        return message

    def raw_picture(self, number: int, encoding: str = "rgb8", stamp: Time | None = None) -> Image:
        """A mapped view as the rear camera, which looks ahead as well, sends it: rgb8, bgr8 or mono8."""
        row = number % len(self.pictures)
        pixels = read_picture(self.pictures[row])
        if encoding == "bgr8":
            pixels = pixels[..., ::-1]
        elif encoding == "mono8":
            pixels = pixels[..., 1]
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, data=pixels.tobytes())
        message.step = len(message.data) // message.height
        message.header.stamp, message.header.frame_id = self.stamp(row, stamp), "rear_optical_frame"
        return message

    def stamp(self, row: float | None = None, at: Time | None = None) -> Time:
        """The next stamp, or the given one, at which the robot has driven to a row, or stands where it did."""
        row = self._row if row is None else row
        if at is None:
            began, self._second = self._second, round(self._second + self.step, 3)
            moments = np.linspace(began, self._second, round(_WHEEL_RATE * self.step) + 1)[1:]
            for share, moment in zip(np.linspace(0, 1, len(moments) + 1)[1:], moments, strict=True):
                self.roll(self._row + share * (row - self._row), _time(float(moment)))
            at = _time(self._second)
        else:
            self.roll(row, at)
        self._row = row
        return at

    def roll(self, row: float, stamp: Time) -> None:
        """One message of odometry, from between two rows."""
        x, y, yaw = (float(np.interp(row, np.arange(len(self._road)), column)) for column in self._road.T)
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id, message.header.stamp = "odom", stamp
        message.pose.pose.position.x, message.pose.pose.position.y = x, y
        message.pose.pose.orientation = Quaternion(z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2)))
        self.wheels.publish(message)

    def is_where(self, pose: PoseWithCovarianceStamped, row: float) -> bool:
        """Whether a pose is near a row."""
        truth = [np.interp(row, np.arange(len(self._road)), column) for column in self._road.T[:2]]
        return bool(np.hypot(pose.pose.pose.position.x - truth[0], pose.pose.pose.position.y - truth[1]) < _NEAR)

    def finds_itself(self, first: int = 5, most: int = 30) -> bool:
        """Whether, driving along the road, it becomes LOCALIZED where it is."""
        for row in range(first, first + most):
            message = self.picture(row)
            self.front.publish(message)
            self.answered(message.header.stamp, 4.0)
            self.ears.spin_for(0.1)
            newest = self.poses[-1] if self.poses else None
            if newest is not None and newest.header.stamp == message.header.stamp and self.is_where(newest, row):
                return bool(self.ears.spin_until(lambda: self.state == "LOCALIZED", 5.0))
        return False

    def answered(self, stamp: Time, timeout: float = 20.0) -> bool:
        """Whether the picture with this stamp gets an answer in time."""
        return bool(self.ears.spin_until(lambda: any(m.header.stamp == stamp for m in self.hypotheses), timeout))

    def answers(self, number: int = 0) -> bool:
        """Whether a good picture is answered."""
        return self.answers_to(self.front, self.picture(number))

    def answers_to(self, camera: Any, message: Any, attempts: int = 14) -> bool:
        """Whether a good picture is answered; a best-effort one may get lost, and is sent again with a later stamp."""
        for _ in range(attempts):
            message.header.stamp = self.stamp()
            camera.publish(message)
            if self.answered(message.header.stamp, 1.5):
                return True
        return False

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.ears.call(ChangeState, f"{NODE}/change_state", request).success)

    def counts(self, camera: str) -> dict[str, int]:
        """What diagnostics count of a camera's pictures, as far as they have come."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if camera in status.name:
                    return {pair.key: int(pair.value) for pair in status.values if pair.value.isdecimal()}
        return {}

    def settle(self) -> None:
        """Lets the node find this process's publishers, and show a few pictures, so that all is allocated."""
        heard = (self.front, self.wheels)
        self.ears.spin_until(lambda: all(each.get_subscription_count() for each in heard) or not self.alive, 60)
        assert self.alive and all(each.get_subscription_count() for each in heard), self.process.output
        self.ears.spin_for(0.5)
        for number in range(5):
            assert self.answers(number), self.process.output


def _time(seconds: float) -> Time:
    whole = int(seconds)
    return Time(sec=whole, nanosec=round((seconds - whole) * 1e9) % 10**9)


def message_type(name: str) -> type:
    """The class of e.g. "sensor_msgs/msg/Image"."""
    package, _, kind = name.split("/")
    found = getattr(importlib.import_module(f"{package}.msg"), kind)
    assert isinstance(found, type)
    return found


def arguments(**parameters: Any) -> list[str]:
    """The node's command line."""
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return ["--ros-args", *(word for name, value in values.items() for word in ("-p", f"{name}:={value}"))]


@contextmanager
def rig(
    domain: int, log: Path, *, program: str | Path = "localizer_node", warm: bool = False, **parameters: Any
) -> Iterator[Rig]:
    """A node that is active with two cameras, until the block ends; it must then end as it should.

    Args:
        domain: ROS domain.
        log: file for what the node prints.
        program: module of the package, or script, that runs the node.
        warm: spare it importing libraries.
        **parameters: of the node, beside those that all rigs have.
    """
    given = {"cameras": [FRONT, REAR], "autostart": True, "threads": 1, "min_probability": 0.3} | parameters
    process = NodeProcess(program, domain, *arguments(**given), log=log, warm=warm)
    try:
        with listener(domain) as ears:
            yield Rig(process, ears)
            assert process.end() == 0, process.output
            assert "Traceback" not in process.output, process.output
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()
