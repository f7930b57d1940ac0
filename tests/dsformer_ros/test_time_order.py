"""Stamps that come in no order, or wrong: poses go forward in time, and one wrong stamp changes nothing."""

from collections.abc import Iterator

import pytest
from builtin_interfaces.msg import Time
from sample_drive import Robot, nodes, picture, second
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from dsformer_ros.domains import private_domain
from tests.dsformer_ros.consumers import robot_localization
from tests.dsformer_ros.consumers.rules import broken

TWO = ("image/compressed", "rear/compressed")
FAR = 2_000_000_000


@pytest.fixture(scope="module")
def running_robot() -> Iterator[Robot]:
    with (
        private_domain() as domain,
        pytest.MonkeyPatch.context() as monkeypatch,
        nodes(domain, monkeypatch, cameras=list(TWO)) as (_, ears),
    ):
        robot = Robot(ears, cameras=TWO)
        robot.wait_for_discovery()
        yield robot


@pytest.fixture
def robot(running_robot: Robot) -> Robot:
    """The robot, that knows nothing."""
    running_robot.set("fusion", True)
    assert running_robot.ears.call(Trigger, f"{running_robot.name}/reset").success
    running_robot.ears.spin_for(0.1)
    running_robot.forget()
    return running_robot


@pytest.mark.parametrize("fusion", [True, False])
def test_poses_of_two_cameras_come_in_an_order_that_robot_localization_takes(robot: Robot, fusion: bool) -> None:
    robot.set("fusion", fusion)
    last = robot.drive(1000, range(7))
    before = len(robot.poses)
    pose_input = robot_localization.PoseInput()
    for number, row in enumerate(range(7, 11)):
        # The rear camera's exposures lie before the front's, and come after them; once they are of one moment.
        front = last + 1 + number
        robot.roll(front, row)
        robot.see(front, row)
        robot.see(front - (0.0 if number == 2 else 0.1), row, camera=1)
    robot.ears.spin_for(0.2)
    assert len(robot.poses) >= before + 4 and robot.is_near(10)
    for message in robot.poses:
        assert broken(pose_input.rules, message) == []
        pose_input.taken(message)
    assert len({second(message) for message in robot.poses}) == len(robot.poses), "one moment, one pose"


@pytest.mark.parametrize("when", [FAR, 5, 1020])
def test_one_message_of_odometry_with_a_wrong_stamp_changes_nothing(
    robot: Robot, when: float, capfd: pytest.CaptureFixture[str]
) -> None:
    last = robot.drive(1000, range(7))
    robot.roll(when, 7)
    robot.drive(last + 1, [7, 8])
    assert robot.pose_at(last + 1) is not None and robot.pose_at(last + 2) is not None and robot.is_near(8)
    assert "jumped" not in robot.status and robot.status.startswith("LOCALIZED")
    # Complaints are some seconds apart at least.
    assert when != FAR or "from those before it; not used" in capfd.readouterr().err


@pytest.mark.parametrize("when", [FAR, 5])
def test_one_picture_with_a_wrong_stamp_changes_nothing(robot: Robot, when: float) -> None:
    last = robot.drive(1000, range(7))
    robot.send(when, picture(40))
    robot.drive(last + 1, [7, 8])
    assert robot.pose_at(last + 1) is not None and robot.pose_at(last + 2) is not None and robot.is_near(8)
    assert not robot.answered(when)


def test_a_camera_that_starts_anew_in_another_time_leaves_the_robot_where_it_is(
    robot: Robot, capfd: pytest.CaptureFixture[str]
) -> None:
    last = robot.drive(1000, range(7))
    robot.see(last, 6, camera=1)
    for late in (0.0, 0.2, 0.4):
        robot.send(5 + late, picture(6), camera=1)
        robot.ears.spin_for(0.2)
    assert robot.answered(5.4), "its second message is believed"
    assert "rear/compressed jumped back" in capfd.readouterr().err
    robot.drive(last + 1, [7, 8])
    assert robot.pose_at(last + 1) is not None and robot.is_near(8)
    assert not any(second(message) < 1000 for message in robot.poses)


def test_time_that_jumps_back_for_everybody_begins_anew(robot: Robot) -> None:
    robot.drive(1000, range(4))
    for late in (0.0, 0.1):
        robot.roll(100 + late, 30)
        robot.send(100 + late, picture(30))
    assert robot.ears.spin_until(lambda: "jumped back" in robot.status)
    last = robot.drive(101, range(30, 37))
    assert robot.pose_at(last) is not None and robot.is_near(36)


def test_a_stamp_that_is_none_is_handed_on_to_nobody(robot: Robot) -> None:
    last = robot.drive(1000, range(7))
    message = CompressedImage(format="jpeg", data=picture(6))
    message.header.stamp = Time(sec=int(last), nanosec=3 * 10**9)
    robot.cameras[0].publish(message)
    robot.drive(last + 1, [7])
    assert robot.answered(last + 1) and not any(each.header.stamp.nanosec >= 10**9 for each in robot.hypotheses)
