from pathlib import Path

import numpy as np
import pytest
from ros_processes import NodeProcess, listener, street
from sensor_msgs.msg import CompressedImage, Image

from dsformer_ros.images import decode
from dsformer_ros.picture_publisher import main


def test_every_file_is_published_byte_for_byte_in_order(drive: Path, tmp_path: Path, domain: int) -> None:
    with listener(domain) as ears:
        messages = ears.record(CompressedImage, "/camera/image/compressed", 20)
        process = NodeProcess(
            "picture_publisher",
            domain,
            str(drive),
            "--topic",
            "/camera/image/compressed",
            "--rate",
            "50",
            log=tmp_path / "log",
            warm=True,
        )
        assert ears.spin_until(lambda: len(messages) == 12, 60), process.output
        assert process.process.wait(20) == 0
    assert [bytes(message.data) for message in messages] == [path.read_bytes() for path in sorted(drive.glob("*.jpg"))]
    stamps = [message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec for message in messages]
    assert stamps == sorted(stamps) and stamps[0] > 1e9
    assert {(message.format, message.header.frame_id) for message in messages} == {("jpeg", "camera_optical_frame")}


def test_raw_pictures_are_what_the_files_hold(drive: Path, tmp_path: Path, domain: int) -> None:
    with listener(domain) as ears:
        messages = ears.record(Image, "/image", 20)
        process = NodeProcess(
            "picture_publisher",
            domain,
            str(drive / "03.jpg"),
            "--raw",
            "--loop",
            "--rate",
            "20",
            log=tmp_path / "log",
            warm=True,
        )
        assert ears.spin_until(lambda: len(messages) >= 3, 60), process.output
        assert process.end() == 0
        assert "Traceback" not in process.output
    assert np.abs(decode(messages[0]).astype(int) - street(3)).mean() < 5


@pytest.mark.parametrize(
    ("content", "status", "word"),
    [(None, 2, "no such file"), ({}, 1, "holds no pictures"), ({"a.jpg": b""}, 1, "a.jpg: not a picture")],
)
def test_failures_are_one_line(
    content: dict[str, bytes] | None,
    status: int,
    word: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    domain: int,
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # This process keeps its own.
    folder = tmp_path / "pictures"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    assert main([str(folder), "--wait", "0"]) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("picture_publisher:")]
    assert word in line
