"""A recording that is paused is told from time that goes on, and from a clock that never came."""

import pytest
from rclpy.clock import ROSClock
from rclpy.time import Time

from dsformer_ros import clock_guard
from dsformer_ros.clock_guard import Standstill


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What `time.monotonic` says."""
    now = [100.0]
    monkeypatch.setattr(clock_guard.time, "monotonic", lambda: now[0])
    return now


def simulated() -> ROSClock:
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    return clock


def test_simulated_time_that_stops_is_said_with_the_moment_and_forgotten_when_it_goes_on(wall: list[float]) -> None:
    clock = simulated()
    standstill = Standstill(clock)
    for tick in range(20):
        clock.set_ros_time_override(Time(nanoseconds=10**9 * (1_700_000_000 + tick)))
        standstill.look()
        wall[0] += 0.2
        assert standstill.why() == ""
    wall[0] += 1.0
    assert standstill.why() == "time stands still at 1700000019.0 s: is what sends /clock paused?"
    clock.set_ros_time_override(Time(nanoseconds=10**9 * 1_700_000_020))
    assert standstill.why() == ""


def test_a_clock_that_never_came_is_said(wall: list[float]) -> None:
    standstill = Standstill(simulated())
    standstill.look()
    wall[0] += 1.5
    assert standstill.why() == "use_sim_time is on, and no time comes on /clock"


def test_the_time_of_day_never_stands_still(wall: list[float]) -> None:
    standstill = Standstill(ROSClock())
    for _ in range(3):
        standstill.look()
        wall[0] += 5.0
        assert standstill.why() == ""
