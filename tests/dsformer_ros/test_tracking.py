"""The node over time: pictures and odometry brought together, and what people tell it."""

import math
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sample_drive import ODOM_IN_MAP, Robot, nodes, picture, place, sample_engine, second, stamp
from sensor_msgs.msg import NavSatFix, NavSatStatus
from std_srvs.srv import Empty, Trigger

from dsformer_core.geodesy import to_latlon
from dsformer_core.localization.planar import PlanarPose
from dsformer_ros.domains import private_domain
from dsformer_ros.node import LocalizerNode

TWO = ("image/compressed", "rear/compressed")


def probability(robot: Robot) -> float:
    """Of the best hypothesis in the newest `~/hypotheses_cloud`."""
    message = robot.clouds[-1]
    return float(np.frombuffer(bytes(message.data), "<f4").reshape(-1, message.point_step // 4)[0, 4])


@pytest.fixture(scope="module")
def running_robot() -> Iterator[Robot]:
    with (
        private_domain() as domain,
        pytest.MonkeyPatch.context() as monkeypatch,
        nodes(domain, monkeypatch, cameras=list(TWO), provide_reinitialize_service=True) as (_, ears),
    ):
        robot = Robot(ears, cameras=TWO)
        robot.wait_for_discovery()
        yield robot


@pytest.fixture
def robot(running_robot: Robot) -> Robot:
    """The robot, that knows nothing."""
    running_robot.set("fusion", True)
    running_robot.set("fusion_without_odometry", False)
    assert running_robot.ears.call(Trigger, f"{running_robot.name}/reset").success
    running_robot.ears.spin_for(0.1)
    running_robot.forget()
    return running_robot


def test_a_drive_becomes_surer_than_any_of_its_pictures(robot: Robot) -> None:
    last = robot.drive(1000, range(8))
    assert robot.pose_at(last) is not None and robot.is_near(7)
    assert robot.ears.spin_until(lambda: robot.clouds and second(robot.clouds[-1]) == last)
    assert probability(robot) > 0.95
    assert robot.status.startswith("LOCALIZED")
    # What was told last may be of before the drive.
    robot.diagnostics.clear()
    assert robot.ears.spin_until(lambda: robot.diagnostics)
    entries = {entry.name: entry for entry in robot.diagnostics[-1].status}
    assert {f"dsformer_localizer: {part}" for part in ("node", "status", "odometry")} <= entries.keys()
    assert entries["dsformer_localizer: odometry"].message == "comes on /odom, of frame 'odom'"
    assert all(entry.hardware_id for entry in entries.values())
    assert robot.ears.spin_until(
        lambda: any("LOCALIZED" in one.message for one in robot.diagnostics[-1].status if "status" in one.name)
    )


def test_pictures_of_another_camera_support_the_same_robot(robot: Robot) -> None:
    last = robot.drive(1000, range(6))
    robot.roll(last + 1, 6)
    robot.see(last + 1, 6, camera=1)
    assert robot.pose_at(last + 1) is not None and robot.is_near(6)


def test_a_picture_that_shows_nothing_says_so_and_leaves_the_belief_alone(robot: Robot) -> None:
    last = robot.drive(1000, range(6))
    dark = cv2.imencode(".jpg", np.full((240, 320, 3), 3, np.uint8))[1].tobytes()
    robot.send(last + 0.5, dark)
    assert robot.ears.spin_until(lambda: robot.answered(last + 0.5))
    assert robot.pose_at(last + 0.5) is None
    assert robot.ears.spin_until(lambda: "the picture is dark (mean 3 of 255)" in robot.status)
    assert robot.status.startswith("NO_MATCH")
    robot.drive(last + 1, [6, 7])
    assert robot.pose_at(last + 2) is not None
    assert robot.ears.spin_until(lambda: robot.status.startswith("LOCALIZED"))


def test_a_robot_that_was_carried_away_falls_silent_and_is_found_again(robot: Robot) -> None:
    last = robot.drive(1000, range(8))
    assert robot.is_near(7)
    start = last + 1
    for number, row in enumerate(range(30, 42)):
        # The wheels roll on as though nothing had happened.
        robot.roll(start + number, 8 + number)
        robot.see(start + number, row)
    wrong = [
        message
        for message in robot.poses
        if second(message) > start + 4 and not _near(message, 30 + round(second(message) - start))
    ]
    assert not wrong, "after four pictures nobody is told that it went on along the street"
    assert robot.pose_at(start + 11) is not None and robot.is_near(41)


def _near(message: PoseWithCovarianceStamped, row: int) -> bool:
    at, truth = message.pose.pose.position, place(row)
    return bool(np.hypot(at.x - truth.x, at.y - truth.y) < 20)


def test_a_reset_forgets_the_drive(robot: Robot) -> None:
    last = robot.drive(1000, range(8))
    before = len(robot.poses)
    assert robot.ears.call(Trigger, f"{robot.name}/reset").success
    robot.roll(last + 1, 45)
    robot.see(last + 1, 45)
    robot.ears.spin_for(0.2)
    at, truth = robot.hypotheses[-1].poses[0].position, place(45)
    assert np.hypot(at.x - truth.x, at.y - truth.y) < 12, "the drive would have spoken against it"
    assert all(_near(message, 45) for message in robot.poses[before:])


def test_what_nav2_calls_begins_anew(robot: Robot) -> None:
    last = robot.drive(1000, range(8))
    called = robot.ears.call_async(Empty, "/reinitialize_global_localization")
    assert robot.ears.spin_until(called.done)
    assert robot.ears.spin_until(lambda: "reinitialize_global_localization was called" in robot.status)
    robot.roll(last + 1, 45)
    robot.ears.spin_for(0.5)
    before = len(robot.hypotheses)
    for camera in range(2):
        robot.send(last + 1, picture(45), camera)
    assert robot.ears.spin_until(lambda: len(robot.hypotheses) >= before + 2)
    at, truth = robot.hypotheses[-1].poses[0].position, place(45)
    assert np.hypot(at.x - truth.x, at.y - truth.y) < 12


def given_pose(row: int, frame: str = "map", norm: float = 1.0, seconds: float = 0.0) -> PoseWithCovarianceStamped:
    here = place(row)
    message = PoseWithCovarianceStamped()
    message.header.frame_id, message.header.stamp = frame, stamp(seconds)
    message.pose.pose.position.x, message.pose.pose.position.y = here.x, here.y
    message.pose.pose.orientation = Quaternion(z=norm * math.sin(here.yaw / 2), w=norm * math.cos(here.yaw / 2))
    message.pose.covariance = np.diag([9.0, 9.0, 0, 0, 0, 0.1]).ravel()
    return message


def given_fix(row: int) -> NavSatFix:
    place_map = sample_engine().place_map
    latitude, longitude = to_latlon(place_map.utm[row], place_map.zone)
    fix = NavSatFix(latitude=float(latitude), longitude=float(longitude), status=NavSatStatus(status=0))
    fix.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    fix.position_covariance = np.diag([4.0, 4.0, 9.0]).ravel()
    return fix


def tell(robot: Robot, message: Any) -> None:
    """Publishes once, as a person with a mouse does."""
    topic = "set_prior_fix" if isinstance(message, NavSatFix) else "set_prior"
    publisher = robot.ears.node.create_publisher(type(message), f"{robot.name}/{topic}", QoSProfile(depth=1))
    assert robot.ears.spin_until(publisher.get_subscription_count)
    robot.ears.spin_for(0.4)
    publisher.publish(message)
    robot.ears.spin_for(0.4)


@pytest.mark.parametrize("make", [given_pose, given_fix])
def test_a_pose_that_somebody_sets_makes_pictures_certain_that_were_not(
    robot: Robot, make: Callable[[int], Any]
) -> None:
    robot.roll(1000, 10)
    robot.see(1000, 10)
    assert robot.pose_at(1000) is None, "not certain enough by itself"
    assert robot.ears.call(Trigger, f"{robot.name}/reset").success
    robot.roll(1001, 10)
    tell(robot, make(10))
    assert not robot.poses, "nobody has seen anything yet"
    robot.roll(1002, 10)
    robot.see(1002, 10)
    assert robot.ears.spin_until(lambda: robot.pose_at(1002)) and robot.is_near(10)


def test_a_pose_that_was_set_wrongly_gives_way_to_what_pictures_show(robot: Robot) -> None:
    robot.roll(1000, 40)
    robot.see(1000, 40)
    tell(robot, given_pose(10))
    robot.drive(1001, range(41, 51))
    wrong = [message for message in robot.poses if not _near(message, 40 + round(second(message) - 1000))]
    assert not wrong and robot.is_near(50)


def test_what_is_set_again_and_again_is_no_answer_before_a_picture_says_so(robot: Robot) -> None:
    last = robot.drive(1000, range(34, 41))
    assert robot.is_near(40)
    for _ in range(4):
        tell(robot, given_pose(10))
    robot.roll(last + 1, 40)
    robot.see(last + 1, 40)
    assert not any(_near(message, 10) for message in robot.poses)


def test_a_rough_position_that_is_wrong_takes_nothing_from_what_is_known(robot: Robot) -> None:
    robot.set("prior_min_radius", 15.0)
    receiver = robot.ears.node.create_publisher(NavSatFix, f"{robot.namespace}/prior_fix", 1)
    assert robot.ears.spin_until(receiver.get_subscription_count)
    robot.ears.spin_for(0.4)
    try:
        last = robot.drive(1000, range(7))
        assert robot.is_near(6)
        for number, row in enumerate(range(7, 15)):
            when, wrong = last + 1 + number, given_fix(50)
            wrong.header.stamp = stamp(when)
            receiver.publish(wrong)
            robot.ears.spin_for(0.05)
            robot.roll(when, row)
            robot.see(when, row)
            assert "prior_fix" in robot.status or robot.ears.spin_until(lambda: "prior_fix" in robot.status)
        assert "pictures disagree" not in robot.status, "nobody looked where the robot is"
        assert robot.is_near(14, within=25)
    finally:
        robot.set("prior_min_radius", 100.0)
        robot.ears.node.destroy_publisher(receiver)


def test_what_is_set_without_odometry_is_refused_and_why_is_said(
    robot: Robot, capfd: pytest.CaptureFixture[str]
) -> None:
    tell(robot, given_pose(10))
    assert "no odometry comes on /odom, and fusion_without_odometry is off" in capfd.readouterr().err


def test_a_map_that_is_loaded_anew_and_fusion_that_is_switched_off_leave_nothing_behind(robot: Robot) -> None:
    last = robot.drive(1000, range(6))
    assert robot.pose_at(last) is not None
    assert robot.ears.call(Trigger, f"{robot.name}/reload_map").success
    robot.roll(last + 1, 6)
    robot.see(last + 1, 6)
    robot.ears.spin_for(0.2)
    assert robot.pose_at(last + 1) is None, "certain only together with what was known"
    robot.set("fusion", False)
    robot.see(last + 2, 30)
    assert robot.ears.spin_until(lambda: robot.pose_at(last + 2)) and robot.is_near(30)


def test_what_nobody_can_mean_is_refused_with_one_line_each(robot: Robot, capfd: pytest.CaptureFixture[str]) -> None:
    far = given_pose(40)
    far.pose.pose.position.x = 1e6
    cases: list[tuple[Any, str]] = [
        (given_pose(40, frame="odom"), "its frame is 'odom', and map_frame is 'map'"),
        (given_pose(40, norm=0.5), "norm is 0.5, not 1"),
        (given_pose(40, seconds=9e8), "after the newest picture's and odometry's"),
        (far, "m from the nearest reference"),
        (NavSatFix(latitude=math.nan, longitude=13.0, status=NavSatStatus(status=0)), "latitude"),
        (NavSatFix(latitude=55.0, longitude=13.0, status=NavSatStatus(status=-1)), "no fix"),
    ]
    last = robot.drive(1000, range(6))
    topics = {PoseWithCovarianceStamped: "set_prior", NavSatFix: "set_prior_fix"}
    publishers = {
        kind: robot.ears.node.create_publisher(kind, f"{robot.name}/{topic}", QoSProfile(depth=1))
        for kind, topic in topics.items()
    }
    assert robot.ears.spin_until(lambda: all(each.get_subscription_count() for each in publishers.values()))
    robot.ears.spin_for(0.4)
    capfd.readouterr()
    for message, word in cases:
        publishers[type(message)].publish(message)
        # Complaints are a second apart at least.
        robot.ears.spin_for(1.1)
        lines = [line for line in capfd.readouterr().err.splitlines() if "not used" in line]
        assert len(lines) == 1 and word in lines[0] and f"{robot.name}/{topics[type(message)]}: " in lines[0]
    robot.drive(last + 1, [6])
    assert robot.pose_at(last + 1) is not None and robot.is_near(6)


class Transforms:
    """The topic /tf, whose messages are of tf2_msgs, of which there is no wheel."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.open = False

    def publish(self, message: Any) -> None:
        self.sent += message.transforms


@pytest.fixture
def transforms(monkeypatch: pytest.MonkeyPatch) -> Transforms:
    messages = types.ModuleType("tf2_msgs.msg")
    messages.TFMessage = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tf2_msgs", types.ModuleType("tf2_msgs"))
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", messages)
    topic = Transforms()
    create, destroy = LocalizerNode.create_publisher, LocalizerNode.destroy_publisher

    def create_publisher(node: Any, kind: Any, name: str, *rest: Any, **options: Any) -> Any:
        if name != "/tf":
            return create(node, kind, name, *rest, **options)
        topic.open = True
        return topic

    def destroy_publisher(node: Any, publisher: Any) -> bool:
        if publisher is not topic:
            return destroy(node, publisher)
        topic.open = False
        return True

    monkeypatch.setattr(LocalizerNode, "create_publisher", create_publisher)
    monkeypatch.setattr(LocalizerNode, "destroy_publisher", destroy_publisher)
    return topic


def test_odometry_is_tied_to_the_map_at_the_pictures_stamp_while_localized(
    domain: int, monkeypatch: pytest.MonkeyPatch, transforms: Transforms
) -> None:
    with nodes(domain, monkeypatch, publish_map_to_odom=True) as ((node,), ears):
        robot = Robot(ears)
        robot.wait_for_discovery()
        last = robot.drive(1000, range(8))
        assert {second(pose) for pose in robot.poses} == {second(sent) for sent in transforms.sent}
        newest = transforms.sent[-1]
        assert (newest.header.frame_id, newest.child_frame_id, second(newest)) == ("map", "odom", last)
        position, turn = newest.transform.translation, newest.transform.rotation
        said = PlanarPose(position.x, position.y, 2 * math.atan2(turn.z, turn.w))
        # What robots do with it: base_link in odom, taken along it, is base_link in the map.
        seen = said @ (ODOM_IN_MAP.inverse @ place(7))
        pose = robot.pose_at(last)
        assert pose is not None
        at = pose.pose.pose.position
        assert (seen.x, seen.y) == pytest.approx((at.x, at.y), abs=1e-3)
        assert math.cos(said.yaw - ODOM_IN_MAP.yaw) > math.cos(math.radians(15))
        before = len(transforms.sent)
        node.set_parameters([Parameter("fusion_min_probability", value=1.0)])
        robot.drive(last + 1, [8, 9])
        assert len(transforms.sent) == before, "nothing while it is not localized"
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert ears.call(ChangeState, f"{robot.name}/change_state", request).success
        assert not transforms.open


def test_a_camera_with_another_clock_is_answered_by_itself_and_disturbs_nobody(
    robot: Robot, capfd: pytest.CaptureFixture[str]
) -> None:
    last = robot.drive(1000, range(6))
    for number in range(3):
        robot.see(7.0 + number, 40, camera=1)
    assert "behind odometry's or another camera's" in capfd.readouterr().err
    robot.drive(last + 1, [6, 7])
    assert robot.pose_at(last + 2) is not None and robot.is_near(7)
    assert "jumped" not in robot.status


@pytest.mark.parametrize("first", [False, True])
def test_a_camera_whose_clock_is_ahead_silences_nobody(
    robot: Robot, capfd: pytest.CaptureFixture[str], first: bool
) -> None:
    if first:
        # Nobody knows better yet.
        robot.see(time.time() + 3600, 40, camera=1)
    last = robot.drive(time.time() - 8, range(6))
    robot.send(time.time() + 3601, picture(40), camera=1)
    assert robot.ears.spin_until(lambda: "s ahead of the clock, and others' do not" in capfd.readouterr().err)
    again = time.time() + 3602
    robot.send(again, picture(40), camera=1)
    last = robot.drive(last + 1, range(6, 12))
    assert robot.pose_at(last) is not None and robot.is_near(11)
    assert not robot.answered(again), "it is known now, whatever was forgotten because of it"
    # Its clock is set right: nothing was known of it that would be forgotten now.
    robot.see(last + 0.5, 11, camera=1)
    assert "jumped back" not in capfd.readouterr().err


def test_odometry_that_starts_again_is_noticed(robot: Robot) -> None:
    robot.drive(1000, range(6))
    robot.roll(500, 30)
    robot.roll(500.1, 30)
    assert robot.ears.spin_until(lambda: "the stamps of /odom jumped back by 504.9 s" in robot.status)
    # The camera still tells the old time; its first picture of the new one could be anything.
    robot.send(500.5, picture(30))
    last = robot.drive(501, range(30, 36))
    assert robot.pose_at(last) is not None and robot.is_near(35)


def test_another_odometry_that_takes_over_costs_no_wrong_pose(
    robot: Robot, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    last = robot.drive(1000, range(8))
    assert robot.is_near(7)
    monkeypatch.setattr(robot, "odom_frame", "other_odom")
    monkeypatch.setattr(robot, "odom_in_map", PlanarPose(500.0, -300.0, 0.5))
    last = robot.drive(last + 1, range(8, 15))
    wrong = [each for each in robot.poses if not _near(each, min(round(second(each) - 1000), 14))]
    assert not wrong and robot.pose_at(last) is not None and robot.is_near(14)
    assert "its frame was 'odom' and is 'other_odom': another odometry begins" in capfd.readouterr().err


def test_hypotheses_are_of_their_pictures_moment_though_it_came_late(robot: Robot) -> None:
    """Of two cameras one is slower: its picture of second 6 comes after the other's of second 7."""
    robot.drive(1000, range(8))
    robot.send(1006.5, picture(6), camera=1)
    assert robot.ears.spin_until(lambda: robot.answered(1006.5))
    robot.ears.spin_for(0.2)
    assert robot.pose_at(1006.5) is None, "poses do not go back in time"
    at, here, there = robot.hypotheses[-1].poses[0].position, place(6), place(7)
    truth = (here.x + there.x) / 2, (here.y + there.y) / 2
    newest = robot.pose_at(1007)
    assert newest is not None
    ahead = newest.pose.pose.position
    # Behind the newest pose by half of the way between the two.
    gone, way = np.hypot(ahead.x - at.x, ahead.y - at.y), np.hypot(there.x - truth[0], there.y - truth[1])
    assert gone == pytest.approx(way, abs=1.5)


def test_without_odometry_every_picture_is_answered_by_itself(robot: Robot) -> None:
    """Two pictures of opposite ends of the map, one second apart: no robot drives like that."""
    for number, row in enumerate((3, 50)):
        robot.see(1000 + number, row)
        assert robot.ears.spin_until(lambda number=number: robot.pose_at(1000 + number)) and robot.is_near(row)
    robot.set("fusion_without_odometry", True)
    robot.see(1002, 3)
    assert robot.ears.spin_until(lambda: "0.95 is needed" in robot.status) and robot.pose_at(1002) is None


def test_while_odometry_is_silent_status_and_diagnostics_say_so(robot: Robot) -> None:
    last = robot.drive(1000, range(6))
    robot.see(last + 7, 6)
    assert robot.ears.spin_until(lambda: "no odometry for 7 s: each picture by itself" in robot.status)
    robot.roll(last + 8, 6)
    robot.roll(last + 8.1, 6)
    robot.see(last + 8.1, 6)
    assert robot.ears.spin_until(lambda: "no odometry" not in robot.status)


def ask(robot: Robot, seconds: float, row: int) -> Trigger.Response:
    """Calls ~/localize, and shows the next picture from where the robot stands."""
    asked = robot.ears.call_async(Trigger, f"{robot.name}/localize")
    robot.ears.spin_for(0.3)
    robot.roll(seconds, 10)
    robot.send(seconds, picture(row))
    assert robot.ears.spin_until(asked.done)
    robot.ears.spin_for(0.3)
    return asked.result()


def test_who_asks_gets_what_the_picture_says_and_nobody_else_does(robot: Robot) -> None:
    """A robot's first picture is not certain enough for the street, and the next from the same spot tell no more."""
    robot.roll(1000, 10)
    robot.see(1000, 10)
    assert robot.ears.spin_until(lambda: robot.status.startswith("NO_MATCH"))
    for second_, row in ((1001, 10), (1002, 40)):
        said = ask(robot, second_, row)
        assert said.success and "by this picture alone LOCALIZED: x " in said.message
        assert "with all before it, as on ~/status, NO_MATCH: " in said.message
    assert robot.answered(1001) and robot.answered(1002)
    assert not robot.poses, "by itself a picture is wrong ten times as often"
    assert robot.status.startswith("NO_MATCH")


def test_who_has_pictures_looked_at_only_when_it_asks_gets_them_published(robot: Robot) -> None:
    robot.set("continuous", False)
    try:
        robot.roll(1000, 10)
        assert ask(robot, 1001, 10).success
        assert robot.pose_at(1001) is not None and robot.is_near(10)
        assert robot.status.startswith("LOCALIZED")
    finally:
        robot.set("continuous", True)
