"""The node in this process, over DDS: what must never be published, and what must not outlive a transition."""

import itertools
import shutil
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import Listener, listener, street
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from dsformer_core.errors import DsformerError
from dsformer_ros import pipeline
from dsformer_ros.cameras import Camera
from dsformer_ros.engine import Engine
from dsformer_ros.node import LocalizerNode
from dsformer_ros.parameters import Settings

NODE, CAMERA = "/dsformer_localizer", "/front/image/compressed"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SHUT_DOWN = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("localizer", "map loader")]


class Gate:
    """A function that waits, each time it is called, until it is let through."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.entered, self.open = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, *arguments: Any) -> Any:
        self.entered.release()
        assert self.open.acquire(timeout=60)
        return self._function(*arguments)


def gate(monkeypatch: pytest.MonkeyPatch, method: str) -> Gate:
    """Puts a gate before a method of the engine."""
    gate = Gate(getattr(Engine, method))
    # A function, unlike an object, becomes a method.
    monkeypatch.setattr(Engine, method, lambda *arguments: gate(*arguments))
    return gate


@dataclass
class Robot:
    node: LocalizerNode
    ears: Listener

    def __post_init__(self) -> None:
        self._seconds = itertools.count(1000)
        self.hypotheses = self.ears.record(PoseArray, f"{NODE}/hypotheses")
        self.statuses = self.ears.record(DiagnosticStatus, f"{NODE}/status", LATCHED)
        self.camera = self.ears.node.create_publisher(CompressedImage, CAMERA, 10)

    @property
    def status(self) -> str:
        return self.statuses[-1].message if self.statuses else ""

    def change(self, *transitions: int) -> list[bool]:
        return [self.ears.call(ChangeState, f"{NODE}/change_state", self._request(one)).success for one in transitions]

    def start_to_change(self, transition: int) -> Any:
        return self.ears.call_async(ChangeState, f"{NODE}/change_state", self._request(transition))

    def activate(self) -> None:
        assert all(self.change(CONFIGURE, ACTIVATE))
        assert self.ears.spin_until(self.camera.get_subscription_count)
        self.ears.spin_for(0.3)

    def show(self, number: int) -> int:
        """Publishes a view; returns the second of its stamp."""
        encoded = cv2.imencode(".jpg", street(number)[..., ::-1])[1].tobytes()
        message = CompressedImage(format="jpeg", data=encoded)
        message.header.stamp = Time(sec=next(self._seconds))
        self.camera.publish(message)
        return message.header.stamp.sec

    def answered(self, second: int) -> bool:
        return any(message.header.stamp.sec == second for message in self.hypotheses)

    def show_until_entered(self, gate: Gate, number: int = 3) -> int:
        second = self.show(number)
        assert self.ears.spin_until(lambda: gate.entered.acquire(blocking=False))
        return second

    def ask(self, number: int) -> None:
        second = self.show(number)
        assert self.ears.spin_until(lambda: self.answered(second))

    @staticmethod
    def _request(transition: int) -> ChangeState.Request:
        return ChangeState.Request(transition=Transition(id=transition))


@pytest.fixture(scope="module")
def engine(place_map_directory: Path) -> Engine:
    return Engine.load(Settings(map=str(place_map_directory), threads=1))


@pytest.fixture
def robot(engine: Engine, domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    """The node, unconfigured, spun by a thread; its engine is loaded once for all tests."""
    monkeypatch.setattr(Engine, "load", lambda _: engine)
    context = Context()
    rclpy.init(context=context, args=[], domain_id=domain)
    given = {
        "map": str(engine.place_map.directory), "cameras": [CAMERA], "min_probability": 0.1, "image_timeout": 30.0
    }  # fmt: skip
    node = LocalizerNode(
        context=context, parameter_overrides=[Parameter(name, value=value) for name, value in given.items()]
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin)
    spinner.start()
    try:
        with listener(domain) as ears:
            yield Robot(node, ears)
    finally:
        executor.shutdown()
        spinner.join()
        node.close()
        node.destroy_node()
        context.try_shutdown()


@pytest.fixture
def other_map(place_map_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place_map_directory, tmp_path / "other.map"))


def test_a_picture_in_flight_is_not_answered_out_of_a_map_that_was_replaced(
    robot: Robot, other_map: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.activate()
    robot.ask(2)
    answer = gate(monkeypatch, "answer")
    second = robot.show_until_entered(answer)
    robot.node.set_parameters([Parameter("map", value=str(other_map))])
    assert robot.ears.call(Trigger, f"{NODE}/reload_map").success
    assert robot.ears.spin_until(lambda: robot.status.startswith("STALE: map drive was loaded"))
    answer.open.release(2)
    robot.ask(3)
    assert not robot.answered(second)
    assert robot.ears.spin_until(lambda: robot.status.startswith("LOCALIZED"))


def test_a_reset_forgets_the_picture_in_flight_and_says_so(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.activate()
    robot.ask(2)
    assert robot.ears.spin_until(lambda: robot.status.startswith("LOCALIZED"))
    answer = gate(monkeypatch, "answer")
    second = robot.show_until_entered(answer)
    assert robot.ears.call(Trigger, f"{NODE}/reset").success
    assert robot.ears.spin_until(lambda: robot.status.startswith("STALE: ~/reset was called"))
    answer.open.release(2)
    robot.ask(3)
    assert not robot.answered(second)


def test_a_deactivated_node_is_silent_at_once_and_leaves_no_latched_claim(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.activate()
    robot.ask(2)
    answer = gate(monkeypatch, "answer")
    second = robot.show_until_entered(answer)
    deactivated = robot.start_to_change(DEACTIVATE)
    assert robot.ears.spin_until(lambda: robot.status == "STALE: the node was deactivated")
    answer.open.release()
    assert robot.ears.spin_until(deactivated.done) and deactivated.result().success
    assert not threads()
    late = robot.ears.record(DiagnosticStatus, f"{NODE}/status", LATCHED)
    assert robot.ears.spin_until(lambda: late) and late[-1].message.startswith("STALE")
    assert not robot.answered(second)


def test_a_worker_that_outlives_its_time_ends_though_another_has_started(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_LONGEST_GOODBYE", 0.1)
    robot.activate()
    answer = gate(monkeypatch, "answer")
    second = robot.show_until_entered(answer)
    assert all(robot.change(DEACTIVATE, ACTIVATE))
    assert threads() == ["localizer", "localizer"]
    answer.open.release()
    assert robot.ears.spin_until(lambda: threads() == ["localizer"])
    assert robot.ears.spin_until(robot.camera.get_subscription_count)
    robot.ears.spin_for(0.3)
    answer.open.release()
    robot.ask(3)
    assert not robot.answered(second)


def test_a_map_is_loaded_once_at_a_time(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.activate()
    load = gate(monkeypatch, "with_map")
    first = robot.ears.call_async(Trigger, f"{NODE}/reload_map")
    assert robot.ears.spin_until(lambda: load.entered.acquire(blocking=False))
    second = robot.ears.call(Trigger, f"{NODE}/reload_map")
    assert not second.success and "being loaded already" in second.message
    load.open.release()
    assert robot.ears.spin_until(first.done) and first.result().success
    load.open.release()
    assert robot.ears.call(Trigger, f"{NODE}/reload_map").success


def test_cleaning_up_while_a_map_is_loaded_waits_for_it_and_keeps_the_old_one_out(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.activate()
    load = gate(monkeypatch, "with_map")
    reloaded = robot.ears.call_async(Trigger, f"{NODE}/reload_map")
    assert robot.ears.spin_until(lambda: load.entered.acquire(blocking=False))
    assert all(robot.change(DEACTIVATE))
    cleaned_up = robot.start_to_change(CLEANUP)
    robot.ears.spin_for(0.3)
    load.open.release()
    assert robot.ears.spin_until(cleaned_up.done) and cleaned_up.result().success
    assert robot.ears.spin_until(reloaded.done) and "reconfigured meanwhile" in reloaded.result().message
    assert not threads()


def test_one_call_on_demand_gives_one_answer(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    """AMCL starts anew with each of them."""
    robot.activate()
    robot.node.set_parameters([Parameter("continuous", value=False)])
    answer = gate(monkeypatch, "answer")
    localized = robot.ears.call_async(Trigger, f"{NODE}/localize")
    robot.ears.spin_for(0.3)
    wanted = robot.show_until_entered(answer)
    needless = robot.show(3)
    robot.ears.spin_for(0.3)
    answer.open.release(2)
    assert robot.ears.spin_until(localized.done) and localized.result().success
    robot.ears.spin_for(0.5)
    assert robot.answered(wanted) and not robot.answered(needless)


@pytest.mark.parametrize(
    "transitions",
    [
        (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP),
        (CONFIGURE, ACTIVATE, DEACTIVATE, ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE, SHUT_DOWN["active"]),
        (CONFIGURE, CLEANUP, CONFIGURE, SHUT_DOWN["inactive"]),
        (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP, SHUT_DOWN["unconfigured"]),
    ],
)
def test_nothing_is_left_in_whatever_order_it_is_ended(robot: Robot, transitions: tuple[int, ...]) -> None:
    for transition in transitions:
        assert robot.change(transition) == [True]
        if transition == ACTIVATE:
            assert threads() == ["localizer"]
            assert robot.ears.spin_until(robot.camera.get_subscription_count)
            robot.ears.spin_for(0.3)
            robot.ask(2)
            assert robot.ears.spin_until(lambda: robot.status.startswith("LOCALIZED"))
        elif transition in (DEACTIVATE, SHUT_DOWN["active"]):
            assert robot.ears.spin_until(lambda: robot.status.startswith("STALE: the node")), robot.status
            assert not threads()
    assert not threads()
    publishers = robot.ears.node.get_publishers_info_by_topic
    assert robot.ears.spin_until(lambda: not publishers(f"{NODE}/status") and not publishers(f"{NODE}/pose"))
    assert robot.ears.spin_until(lambda: not robot.camera.get_subscription_count())


@pytest.mark.parametrize(("error", "state"), [(DsformerError("no"), "inactive"), (ValueError("no"), "unconfigured")])
def test_an_activation_that_fails_leaves_no_worker(
    robot: Robot, error: Exception, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Camera) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Camera, "open", fail)
        assert robot.change(CONFIGURE, ACTIVATE) == [True, False]
    assert not threads()
    if state == "unconfigured":
        assert robot.change(CONFIGURE) == [True]
    assert robot.change(ACTIVATE) == [True]
    assert threads() == ["localizer"]


def test_an_impossible_transition_is_refused(robot: Robot) -> None:
    assert robot.change(ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE, CONFIGURE, 250) == [False] * 3 + [True, False, False]
    assert robot.change(ACTIVATE, ACTIVATE, CLEANUP, DEACTIVATE) == [True, False, False, True]
    assert not threads()


class Topic:
    """A latched topic: who publishes on it, and what each of them has said last."""

    def __init__(self) -> None:
        self.publishers: list[Topic.Publisher] = []

    class Publisher:
        def __init__(self, topic: "Topic") -> None:
            self.topic, self.last = topic, None
            topic.publishers.append(self)

        def publish(self, message: Any) -> None:
            self.last = message


@pytest.fixture
def tf_static(monkeypatch: pytest.MonkeyPatch) -> Topic:
    """tf2_msgs and the topic /tf_static, which exist only in a ROS installation."""
    messages = types.ModuleType("tf2_msgs.msg")
    messages.TFMessage = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tf2_msgs", types.ModuleType("tf2_msgs"))
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", messages)
    topic = Topic()
    create, destroy = LocalizerNode.create_publisher, LocalizerNode.destroy_publisher

    def create_publisher(node: Any, kind: Any, name: str, *rest: Any, **options: Any) -> Any:
        return Topic.Publisher(topic) if name == "/tf_static" else create(node, kind, name, *rest, **options)

    def destroy_publisher(node: Any, publisher: Any) -> bool:
        if isinstance(publisher, Topic.Publisher):
            topic.publishers.remove(publisher)
            return True
        return destroy(node, publisher)

    monkeypatch.setattr(LocalizerNode, "create_publisher", create_publisher)
    monkeypatch.setattr(LocalizerNode, "destroy_publisher", destroy_publisher)
    return topic


def test_earth_to_map_is_of_the_map_that_is_loaded_and_said_by_one(
    tf_static: Topic, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> Any:
        (publisher,) = tf_static.publishers
        (transform,) = publisher.last.transforms
        return transform

    robot.node.set_parameters([Parameter("publish_earth_to_map", value=True)])
    assert robot.change(CONFIGURE, CLEANUP, CONFIGURE) == [True] * 3
    before = said()
    assert (before.header.frame_id, before.child_frame_id) == ("earth", "map")

    engine = robot.node._pipeline.engine  # type: ignore[union-attr]
    frame = engine.place_map.frame
    moved = types.SimpleNamespace(name="moved", count=1, frame=type(frame)(type(frame.datum)(56.0, 13.5), frame.zone))
    monkeypatch.setattr(Engine, "with_map", lambda *_: Engine(moved, engine.extractor))  # type: ignore[arg-type]
    assert robot.ears.call(Trigger, f"{NODE}/reload_map").success
    assert abs(said().transform.translation.x - before.transform.translation.x) > 1000

    robot.node.set_parameters([Parameter("map_frame", value="town")])
    assert robot.ears.spin_until(lambda: said().child_frame_id == "town")

    assert robot.change(CLEANUP) == [True]
    assert not tf_static.publishers


def test_without_tf2_msgs_a_failed_configure_leaves_nothing(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", None)
    robot.node.set_parameters([Parameter("publish_earth_to_map", value=True)])
    assert robot.change(CONFIGURE) == [False]
    assert robot.ears.spin_until(lambda: not robot.ears.node.get_publishers_info_by_topic(f"{NODE}/status"))
    robot.node.set_parameters([Parameter("publish_earth_to_map", value=False)])
    assert robot.change(CONFIGURE, ACTIVATE) == [True, True]
