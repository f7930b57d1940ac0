"""Short forms of what `benchmarks/node_faults.py` does for long: the node's process keeps its word under faults."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_processes import NodeProcess, listener

from dsformer_ros.domains import private_domain
from tests.dsformer_ros.consumers import amcl
from tests.dsformer_ros.consumers.rules import broken
from tests.dsformer_ros.faults import cameras, clocks, endurance, maps, noise, services, signals, transitions
from tests.dsformer_ros.faults.rig import FRONT, REAR, SAMPLE, Rig, Vitals, arguments, rig

SLOW = Path(__file__).with_name("slow_localizer.py")
# MiB that a process may have grown by, warmed up.
GROWTH = 20


def assert_not_grown(before: Vitals, after: Vitals) -> None:
    assert after.memory - before.memory < GROWTH
    # Libraries fill their pools of threads as they go; one for each call or each life would be more than that.
    assert after.threads <= before.threads + 2 and after.descriptors <= before.descriptors


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    log = tmp_path_factory.mktemp("node") / "log"
    with private_domain() as domain, rig(domain, log, warm=True) as robot:
        robot.settle()
        yield robot


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    log = tmp_path_factory.mktemp("simulated") / "log"
    with private_domain() as domain, rig(domain, log, warm=True, use_sim_time=True) as robot:
        robot.settle()
        yield robot


def test_noise_on_every_subscription_changes_nothing(robot: Rig) -> None:
    before, seen = robot.vitals, len(robot.poses)
    topics = noise.shout(robot, 300)
    assert {FRONT, REAR} < set(topics)
    assert robot.finds_itself(), f"{robot.state}\n{robot.process.output}"
    assert_not_grown(before, robot.vitals_after(before))
    received = sum(robot.counts(camera)["received"] for camera in (FRONT, REAR))
    assert received > 60, "the noise has not reached the node"
    for pose in robot.poses[seen:]:
        assert broken(amcl.rules(), pose) == []
    assert "Traceback" not in robot.process.output


def test_noise_on_the_clock_changes_nothing(simulated: Rig) -> None:
    assert "/clock" in noise.shout(simulated, 100)
    assert simulated.answers(3), simulated.process.output


def test_clocks_that_jump_and_disagree_cost_no_answer(simulated: Rig) -> None:
    clocks.jump(simulated, 1)
    clocks.disagree(simulated, 2)


def test_a_camera_that_freezes_is_answered_and_forgiven(robot: Rig) -> None:
    cameras.freeze(robot, 20)


def test_a_camera_that_changes_in_flight_is_answered(robot: Rig) -> None:
    cameras.flip(robot, 4)


def test_everybody_calls_at_once_and_everybody_is_answered(robot: Rig) -> None:
    before = robot.vitals
    assert services.crowd(robot, 30, 1) == 30 * len(services.KINDS)
    assert robot.finds_itself(), f"{robot.state}\n{robot.process.output}"
    assert_not_grown(before, robot.vitals_after(before))


def test_a_map_may_be_spoilt_under_the_running_node(robot: Rig, tmp_path: Path) -> None:
    place_map = Path(shutil.copytree(SAMPLE, tmp_path / "sample.map"))
    said = maps.ruin(robot, place_map, 1)
    assert "checksum" in said["damaged descriptors"] or "descriptors.npy" in said["damaged descriptors"]
    assert all(message.startswith("the old map stays") for message in said.values())
    assert robot.finds_itself(), f"{robot.state}\n{robot.process.output}"


def test_ten_pictures_a_second_are_answered_without_growing(robot: Rig) -> None:
    seen, share = endurance.endure(robot, 4.0, warm_up=2.0, every=1.0)
    assert len(seen) >= 4 and share > 0.5
    robot.step = 0.5
    assert robot.finds_itself(), f"{robot.state}\n{robot.process.output}"
    for vitals in seen:
        assert_not_grown(seen[0], vitals)


def test_it_lives_again_and_again_without_growing(robot: Rig) -> None:
    assert_not_grown(*transitions.live(robot, 6, warm_up=2))


def test_a_camera_that_is_faster_than_the_network_gets_answers_for_its_newest_pictures(
    domain: int, tmp_path: Path
) -> None:
    with rig(domain, tmp_path / "log", program=SLOW, warm=True) as robot:
        flood = cameras.flood(robot, 400, 200.0)
        for number in range(15, 40):
            row, now = float(number), Time(sec=5002 + (number - 15) // 2, nanosec=500_000_000 * (number % 2))
            robot.front.publish(robot.picture(row, now))
            assert robot.answered(now)
            if robot.state == "LOCALIZED":
                break
        assert robot.state == "LOCALIZED" and robot.is_where(robot.poses[-1], row), robot.process.output
    assert flood.answered == sorted(flood.answered)
    # A queue that keeps everything would still be answering its first twenty.
    assert len(flood.answered) >= 5 and flood.answered[-1] > 0.8 * flood.sent
    # But the last one, which was waiting when the camera stopped.
    assert np.diff(flood.answered)[:-1].min() > 5
    # Their age does not grow.
    half = len(flood.ages) // 2
    assert np.median(flood.ages[half:]) < 2 * np.median(flood.ages[:half])
    assert flood.counts["dropped"] > 10 * len(flood.answered)
    assert flood.after.memory - flood.before.memory < GROWTH


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_network_that_takes_long_holds_up_no_end(
    domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setenv("NETWORK_SECONDS", "20")
    process = NodeProcess(
        SLOW,
        domain,
        *arguments(cameras=[FRONT, REAR], autostart=True, stale_timeout=1.0),
        log=tmp_path / "log",
        warm=True,
    )
    with listener(domain) as ears:
        robot = Rig(process, ears)
        assert ears.spin_until(robot.front.get_subscription_count, 60), process.output
        # Until it has said that it waits for an answer.
        assert ears.spin_until(lambda: robot.front.publish(robot.picture(0)) or robot.state == "STALE", 40), robot.state
        start = time.monotonic()
        status = process.end(how)
        took = time.monotonic() - start
    assert status == 0 and "Traceback" not in process.output, process.output
    # The network would still take much longer; two seconds are promised on a machine that does nothing else.
    assert took < 8


def test_a_signal_at_any_moment_ends_it_cleanly(domain: int, tmp_path: Path) -> None:
    for end in signals.interrupt(domain, tmp_path, 4, latest=6.0):
        assert end.is_clean, f"{end.how} after {end.after:.2f} s: status {end.status}\n{end.output}"
