"""Several robots in one process and one ROS domain, among other nodes, under either executor."""

import threading
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from sample_drive import Robot, nodes, picture
from std_msgs.msg import String
from std_srvs.srv import Trigger

ROBOTS = ("/robot1", "/robot2")


def parrot(context: Context) -> Any:
    """Somebody else's node: repeats what it hears."""
    node = rclpy.create_node("parrot", context=context)
    publisher = node.create_publisher(String, "said", 10)
    node.create_subscription(String, "heard", publisher.publish, 10)
    return node


@pytest.mark.parametrize("executor", [SingleThreadedExecutor, MultiThreadedExecutor])
def test_two_robots_in_one_process_do_not_meet(
    domain: int, monkeypatch: pytest.MonkeyPatch, executor: type[Executor]
) -> None:
    with nodes(domain, monkeypatch, namespaces=ROBOTS, others=[parrot], executor=executor, localize_timeout=20.0) as (
        _,
        ears,
    ):
        robots = [Robot(ears, namespace) for namespace in ROBOTS]
        for robot in robots:
            robot.wait_for_discovery()
        said = ears.record(String, "/said")
        to_parrot = ears.node.create_publisher(String, "/heard", 10)
        for number in range(6):
            for robot, first in zip(robots, (2, 40), strict=True):
                robot.roll(1000 + number, first + number)
                robot.see(1000 + number, first + number)
        assert robots[0].is_near(7) and robots[1].is_near(45)
        assert all(robot.status.startswith("LOCALIZED") for robot in robots)

        # A caller of one waits while the other, and everybody else, goes on.
        waiting = ears.call_async(Trigger, f"{robots[0].name}/localize")
        ears.spin_for(0.3)
        robots[1].roll(1006, 46)
        robots[1].see(1006, 46)
        to_parrot.publish(String(data="hello"))
        assert ears.spin_until(lambda: said) and not waiting.done()
        robots[0].roll(1006, 8)
        robots[0].send(1006, picture(8))
        assert ears.spin_until(waiting.done) and waiting.result().success
        assert waiting.result().message.startswith("LOCALIZED: x") and robots[0].is_near(8)

        names = {entry.name.split(":")[0] for array in robots[0].diagnostics for entry in array.status}
        assert names == {f"{namespace}/dsformer_localizer" for namespace in ROBOTS}

        assert ears.call(Trigger, f"{robots[0].name}/reset").success
        assert ears.spin_until(lambda: robots[0].status.startswith("STALE"))
        assert robots[1].status.startswith("LOCALIZED")
    assert not [thread for thread in threading.enumerate() if thread.name == "localizer"]


def test_every_topic_but_diagnostics_is_under_the_namespace(domain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes(domain, monkeypatch, namespaces=ROBOTS[:1]) as ((node,), ears):
        robot = Robot(ears, ROBOTS[0])
        robot.wait_for_discovery()
        name, namespace = node.get_name(), node.get_namespace()
        topics = [
            topic
            for found in (
                node.get_publisher_names_and_types_by_node(name, namespace),
                node.get_subscriber_names_and_types_by_node(name, namespace),
                node.get_service_names_and_types_by_node(name, namespace),
            )
            for topic, _ in found
        ]
        ours = {topic for topic in topics if topic not in ("/rosout", "/parameter_events", "/clock", "/diagnostics")}
        assert len(ours) > 15
        assert all(topic.startswith(f"{namespace}/") for topic in ours), ours
