"""Our messages through the checks of those who consume them, and each check once with a message that it must refuse."""

import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion
from hypothesis import given
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_processes import Listener, listener, running
from sensor_msgs.msg import CompressedImage, NavSatFix, NavSatStatus
from std_msgs.msg import Header

from dsformer_core.localization import Hypothesis, State, Verdict
from dsformer_core.localization.prior import Look
from dsformer_core.place_map import Matches
from dsformer_ros import messages
from dsformer_ros.domains import private_domain
from dsformer_ros.engine import Answer
from dsformer_ros.frame_queue import Frame
from dsformer_ros.outputs import publishable
from dsformer_ros.picture_publisher import compressed_message
from tests.dsformer_ros.consumers import amcl, nav2_bt, navsat_transform, robot_localization
from tests.dsformer_ros.consumers.hypotheses import FARTHEST, FRAME, hypotheses
from tests.dsformer_ros.consumers.rules import Rule, broken

NODE, CAMERA = "/dsformer_localizer", "/front/image/compressed"
SAMPLE = Path(__file__).resolve().parents[3] / "maps" / "sample"
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="map")

AMCL = amcl.rules(cells=(2 * FARTHEST, 2 * FARTHEST))


def is_published(hypothesis: Hypothesis) -> bool:
    """Whether the node hands it on, sure as it is of it."""
    frame = Frame(0, CompressedImage(), 0.0)
    nothing = Matches(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    sure = Verdict(State.LOCALIZED, "sure")
    answer = Answer(frame, np.zeros((1, 1, 3), np.uint8), 0.0, nothing, Look({}, ""), [hypothesis], sure)
    judged = publishable(answer)
    assert judged.verdict == sure or "no pose is published beyond 32 m" in judged.verdict.reason
    return judged.verdict.state is State.LOCALIZED


@given(hypotheses())
def test_every_pose_that_can_be_published_is_taken(hypothesis: Hypothesis) -> None:
    message = messages.pose_with_covariance(hypothesis, FRAME, HEADER)
    assert broken(AMCL, message) == []
    if not is_published(hypothesis):
        assert "covariances of what is fused up to 1e3" in broken(robot_localization.PoseInput().rules, message)
        return
    assert broken(robot_localization.PoseInput().rules, message) == []
    # Even where somebody fuses all six axes, of which a picture knows three.
    assert broken(robot_localization.PoseInput(fused=[True] * 6).rules, message) == []


@given(hypotheses())
def test_every_fix_that_can_be_published_is_taken(hypothesis: Hypothesis) -> None:
    assert broken(navsat_transform.RULES, messages.fix(hypothesis, FRAME, HEADER.stamp, "base_link")) == []


class Heard:
    """What the consumers' own subscriptions, with their QoS, got from the node in the sample map."""

    def __init__(self, ears: Listener) -> None:
        self.ears = ears
        self.for_amcl = ears.record(amcl.TYPE, f"{NODE}/pose", amcl.QOS)
        self.for_robot_localization = ears.record(robot_localization.TYPE, f"{NODE}/pose", robot_localization.QOS)
        self.for_navsat_transform = ears.record(navsat_transform.TYPE, f"{NODE}/fix", navsat_transform.QOS)
        self.services_before_configure: dict[str, list[str]] = {}


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    given = ["--ros-args", "-p", f"cameras:=[{CAMERA}]", "-p", "threads:=1", "-p", "min_probability:=0.3"]
    given += ["-p", "provide_reinitialize_service:=true"]
    log = tmp_path_factory.mktemp("node") / "log"
    with (
        private_domain() as domain,
        running("localizer_node", domain, *given, log=log) as process,
        listener(domain) as ears,
    ):
        heard = Heard(ears)
        change = f"{NODE}/change_state"
        ears.call(ChangeState, change, ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
        heard.services_before_configure = dict(ears.node.get_service_names_and_types())
        ears.call(ChangeState, change, ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE)))
        camera = ears.node.create_publisher(CompressedImage, CAMERA, 10)
        assert ears.spin_until(camera.get_subscription_count), process.output
        ears.spin_for(0.5)
        everybody = (heard.for_amcl, heard.for_robot_localization, heard.for_navsat_transform)
        # Along the road, until it is sure and has said so three times.
        for number, picture in enumerate(sorted((SAMPLE / "thumbnails").rglob("*.jpg"))):
            message = compressed_message(picture)
            message.header.stamp = Time(sec=1000 + number)
            camera.publish(message)
            if ears.spin_until(lambda: all(len(messages) >= 3 for messages in everybody), 0.5):
                break
        assert all(len(messages) >= 3 for messages in everybody), process.output
        yield heard


def test_amcl_takes_what_the_node_publishes(heard: Heard) -> None:
    for message in heard.for_amcl:
        assert broken(amcl.rules(), message) == []


def test_robot_localization_takes_what_the_node_publishes_one_after_the_other(heard: Heard) -> None:
    pose_input = robot_localization.PoseInput()
    for message in heard.for_robot_localization:
        assert broken(pose_input.rules, message) == []
        pose_input.taken(message)


def test_navsat_transform_takes_what_the_node_publishes(heard: Heard) -> None:
    for message in heard.for_navsat_transform:
        assert broken(navsat_transform.RULES, message) == []


def test_the_behaviour_tree_finds_its_service_as_soon_as_the_node_is_up(heard: Heard) -> None:
    assert heard.services_before_configure.get(f"/{nav2_bt.SERVICE}") == [nav2_bt.TYPE]


def pose() -> PoseWithCovarianceStamped:
    somewhere = Hypothesis(FRAME.to_utm([10.0, -5.0]), 41.0, 0.5, np.diag([4.0, 9.0, 0.25]), 0.9, 0.9, np.array([0]))
    return messages.pose_with_covariance(somewhere, FRAME, HEADER)


def fix() -> NavSatFix:
    return messages.fix(
        Hypothesis(FRAME.origin, 41.0, 0.5, np.eye(3), 0.9, 0.9, np.array([0])), FRAME, HEADER.stamp, "b"
    )


def covariance(at: tuple[int, int], value: float) -> dict[str, Any]:
    elements = np.diag([4.0, 9.0, 4.0, 0.25, 0.25, 0.25])
    elements[at] = value
    return {"pose.covariance": elements.ravel()}


def changed(message: Any, changes: dict[str, Any]) -> Any:
    message = copy.deepcopy(message)
    for path, value in changes.items():
        *parents, last = path.split(".")
        target = message
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    return message


INPUT = robot_localization.PoseInput(set_pose_at=5.0)
INPUT.taken(pose())
# What each rule is called, and what breaks it.
REFUSED: list[tuple[Sequence[Rule], Any, dict[str, Any], str]] = [
    *(
        (amcl.rules(), pose(), changes, name)
        for changes, name in [
            ({"header.stamp": Time(sec=1, nanosec=10**9)}, "nanoseconds below a second"),
            ({"header.frame_id": ""}, "a frame_id"),
            ({"header.frame_id": "/map"}, "global_frame_id exactly"),
            ({"pose.pose.position.z": math.nan}, "a finite position"),
            # Nav2 #6234: three decimals are too few.
            ({"pose.pose.orientation": Quaternion(z=0.383, w=0.924)}, "a unit quaternion"),
            (covariance((3, 3), math.inf) | covariance((2, 3), math.nan), "finite covariance elements"),
            (covariance((2, 2), 1e10), "covariance elements up to 1e9"),
            (covariance((0, 1), -0.1), "no negative covariance element"),
            ({"pose.pose.position.x": 4001.0}, "a position within the grid's number of cells"),
            (covariance((0, 0), 0.0), "particles that spread"),
        ]
    ),
    *(
        (INPUT.rules, pose(), changes, name)
        for changes, name in [
            ({"header.stamp": Time(sec=11)}, "a stamp not before the last pose's"),
            ({"header.frame_id": "odom"}, "world_frame"),
            ({"pose.pose.position.x": math.nan}, "a finite pose"),
            ({"pose.pose.orientation": Quaternion(w=0.0)}, "a quaternion that is not all 0"),
            ({"pose.pose.orientation": Quaternion(w=0.9)}, "a quaternion of length 1 +- 0.01"),
            (covariance((0, 5), math.nan), "finite covariances of what is fused"),
            (covariance((1, 1), 2e3), "covariances of what is fused up to 1e3"),
            (covariance((5, 5), 0.0), "no variance of 0 where fused"),
            (covariance((0, 0), -1.0), "no negative variance where fused"),
            (covariance((0, 0), 1e-7), "variances of at least 1e-6 where fused"),
        ]
    ),
    (robot_localization.PoseInput(set_pose_at=12.5).rules, pose(), {}, "a stamp after the last set_pose"),
    *(
        (navsat_transform.RULES, fix(), changes, name)
        for changes, name in [
            ({"status.status": NavSatStatus.STATUS_NO_FIX}, "a fix"),
            ({"latitude": math.nan}, "a latitude and a longitude"),
            ({"altitude": math.nan}, "an altitude"),
            ({"altitude": math.inf}, "an altitude that is not infinite"),
            ({"latitude": 90.1}, "a place on Earth"),
            ({"header.frame_id": ""}, "a frame_id"),
            ({"position_covariance": [1.0, math.nan, 0, math.nan, 1, 0, 0, 0, 1]}, "finite covariances"),
            ({"position_covariance": [1.0, 0, 0, 0, 0, 0, 0, 0, 1]}, "variances above 0"),
            ({"position_covariance": [1.0, 0.5, 0, 0, 1, 0, 0, 0, 1]}, "a symmetric covariance"),
            ({"position_covariance_type": NavSatFix.COVARIANCE_TYPE_UNKNOWN}, "a known kind of covariance"),
        ]
    ),
]


@pytest.mark.parametrize(("rules", "good", "changes", "name"), REFUSED, ids=[each[-1] for each in REFUSED])
def test_a_check_refuses_what_it_is_there_for(
    rules: Sequence[Rule], good: Any, changes: dict[str, Any], name: str
) -> None:
    assert broken(rules, changed(good, changes)) == [name]


def test_every_check_is_seen_to_refuse_something() -> None:
    every = {rule.name for rules in (amcl.rules(), INPUT.rules, navsat_transform.RULES) for rule in rules}
    assert every == {name for *_, name in REFUSED}
