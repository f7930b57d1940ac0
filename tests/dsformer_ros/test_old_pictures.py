"""No picture that waited longer than `max_age` is localized by the running node, wherever it waited."""

import signal
import threading
import time
from pathlib import Path

import cv2
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from ros_processes import Listener, listener, running, street
from sensor_msgs.msg import CompressedImage

from dsformer_ros.domains import private_domain

CAMERA = "/front/image/compressed"
SLOW = Path(__file__).parent / "faults" / "slow_localizer.py"
RATE, PAUSE, MAX_AGE = 30.0, 0.8, 0.1


def values_of(diagnostics: list[DiagnosticArray]) -> dict[str, str]:
    """What the newest diagnostics say of the camera."""
    found: dict[str, str] = {}
    for array in diagnostics:
        for status in array.status:
            if CAMERA in status.name:
                found = {value.key: value.value for value in status.values}
    return found


def test_pictures_that_wait_while_the_node_cannot_run_are_not_localized(
    place_map_directory: Path, tmp_path: Path
) -> None:
    message = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", street(3)[..., ::-1])[1].tobytes())
    parameters = {"map": place_map_directory, "cameras": f"[{CAMERA}]", "threads": 1, "autostart": "true"}
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    sent: dict[int, float] = {}
    enough = threading.Event()
    with (
        private_domain() as domain,
        running("localizer_node", domain, "--ros-args", *given, log=tmp_path / "log") as node,
        listener(domain) as ears,
    ):
        answers = ears.record(PoseArray, "/dsformer_localizer/hypotheses")
        diagnostics = ears.record(DiagnosticArray, "/diagnostics")
        camera = ears.node.create_publisher(CompressedImage, CAMERA, 10)
        assert ears.spin_until(camera.get_subscription_count, 60), node.output

        def shoot() -> None:
            start, number = time.monotonic(), 0
            while not enough.wait(max(0.0, start + number / RATE - time.monotonic())):
                message.header.stamp = Time(sec=1000, nanosec=number)
                sent[number] = time.monotonic()
                camera.publish(message)
                number += 1

        shooting = threading.Thread(target=shoot)
        shooting.start()
        try:
            assert ears.spin_until(lambda: len(answers) > 15, 60), node.output
            node.process.send_signal(signal.SIGSTOP)
            # The kernel stops its threads one by one.
            time.sleep(0.1)
            stopped = time.monotonic()
            time.sleep(PAUSE)
            resumed = time.monotonic()
            node.process.send_signal(signal.SIGCONT)
            assert _answered_after(ears, answers, sent, resumed), "the node goes on"
        finally:
            enough.set()
            shooting.join()
            node.process.send_signal(signal.SIGCONT)
        diagnostics.clear()
        assert ears.spin_until(lambda: values_of(diagnostics), 20)
        said = values_of(diagnostics)
    answered = {answer.header.stamp.nanosec for answer in answers}
    waited = {number for number, when in sent.items() if stopped < when < resumed - MAX_AGE}
    assert len(waited) > 5 and not waited & answered
    assert 0 < float(said["oldest localized [ms]"]) <= 1e3 * MAX_AGE
    assert int(said["answered"]) + int(said["dropped"]) + int(said["skipped"]) == int(said["received"])


def _answered_after(ears: Listener, answers: list[PoseArray], sent: dict[int, float], when: float) -> bool:
    return bool(
        ears.spin_until(lambda: sum(sent[answer.header.stamp.nanosec] > when for answer in list(answers)) > 5, 60)
    )


def test_a_camera_that_waits_for_another_ones_picture_gets_its_turn(
    place_map_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wanted at the same moments, its pictures are always too old when the network has done the other's."""
    monkeypatch.setenv("NETWORK_SECONDS", "0.2")
    message = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", street(3)[..., ::-1])[1].tobytes())
    topics = [f"/{side}/image/compressed" for side in ("front", "left", "rear", "right")]
    given = [
        word
        for name, value in {
            "map": place_map_directory, "cameras": f"[{','.join(topics)}]",
            "camera_yaws_deg": "[0.0, 90.0, 180.0, -90.0]", "max_rate": 2.0, "autostart": "true", "threads": 1,
        }.items()
        for word in ("-p", f"{name}:={value}")
    ]  # fmt: skip
    with (
        private_domain() as domain,
        running(SLOW, domain, "--ros-args", *given, log=tmp_path / "log") as node,
        listener(domain) as ears,
    ):
        answers = ears.record(PoseArray, "/dsformer_localizer/hypotheses")
        cameras = [ears.node.create_publisher(CompressedImage, topic, 10) for topic in topics]
        assert ears.spin_until(lambda: all(camera.get_subscription_count() for camera in cameras), 60), node.output

        def both() -> bool:
            for camera, publisher in enumerate(cameras):
                message.header.stamp = Time(sec=1000 + camera, nanosec=int(time.monotonic() % 1 * 1e9))
                publisher.publish(message)
            ears.spin_for(0.04)
            seen = [answer.header.stamp.sec for answer in answers]
            return all(seen.count(1000 + camera) >= 3 for camera in range(len(cameras)))

        assert ears.spin_until(both, 40), [answer.header.stamp.sec for answer in answers]
