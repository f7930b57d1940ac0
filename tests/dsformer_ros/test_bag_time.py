"""The node under simulated time, as a bag player makes it: faster and slower than life, looped, paused."""

import time
from collections.abc import Iterator

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rosgraph_msgs.msg import Clock
from sample_drive import Robot, nodes, picture, second, stamp

START, LENGTH = 1_700_000_000.0, 1.5
ROWS = range(6)
CLOCK_PERIOD = 0.02


class Player:
    """Plays a short bag: the sample drive with odometry, and its time on /clock."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self._clock = robot.ears.node.create_publisher(Clock, "/clock", 10)
        self._odometry = [(LENGTH / 20 * number, len(ROWS) / 20 * number) for number in range(17)]
        self._pictures = [(LENGTH / len(ROWS) * number, row) for number, row in enumerate(ROWS)]

    def play(self, rate: float, begin: float = 0.0, end: float = LENGTH) -> None:
        """Plays the part between two moments of the bag."""
        events = [(when, 0, row) for when, row in self._odometry] + [(when, 1, row) for when, row in self._pictures]
        due = [event for event in sorted(events) if begin <= event[0] < end]
        started, ticked = time.monotonic(), -1.0
        while (now := begin + rate * (time.monotonic() - started)) < end:
            if time.monotonic() - ticked >= CLOCK_PERIOD:
                ticked = time.monotonic()
                self.tick(now)
            while due and due[0][0] <= now:
                when, kind, row = due.pop(0)
                if kind:
                    self.robot.send(START + when, picture(int(row)))
                else:
                    self.robot.roll(START + when, row)
            self.robot.ears.spin_for(0.005)
        for when, kind, row in due:
            if kind:
                self.robot.send(START + when, picture(int(row)))
            else:
                self.robot.roll(START + when, row)

    def tick(self, now: float) -> None:
        self._clock.publish(Clock(clock=stamp(START + now)))


@pytest.fixture
def player(domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Player]:
    # The last picture, after which none comes, must be answered however busy this machine is; which are too old:
    # test_old_pictures.py.
    timeouts = {"image_timeout": 2.0, "stale_timeout": 10.0, "localize_timeout": 20.0, "max_age": 60.0}
    with nodes(domain, monkeypatch, use_sim_time=True, **timeouts) as (_, ears):
        robot = Robot(ears)
        robot.wait_for_discovery()
        player = Player(robot)
        assert ears.spin_until(lambda: player.tick(0.0) or robot.ears.node.count_subscribers("/clock"))
        ears.spin_for(0.3)
        yield player


def camera_entry(diagnostics: DiagnosticArray) -> DiagnosticStatus:
    (found,) = (entry for entry in diagnostics.status if "camera" in entry.name)
    return found


LAST = START + LENGTH / len(ROWS) * ROWS[-1]


def test_a_bag_at_any_speed_looped_and_paused(player: Player) -> None:
    robot, ears = player.robot, player.robot.ears
    for rate in (1.0, 10.0):
        before = len(robot.poses)
        player.play(rate)
        assert ears.spin_until(lambda: robot.answered(LAST)), rate
        ears.spin_for(0.2)
        new = robot.poses[before:]
        assert new and abs(second(new[-1]) - LAST) < 1e-6 and robot.is_near(ROWS[-1]), rate
        assert robot.status.startswith("LOCALIZED"), rate
        robot.hypotheses.clear()

    # Looped, at a fifth of the speed, and paused in the middle.
    middle = 1.05
    player.play(0.2, end=middle)
    ears.spin_for(0.3)
    assert robot.status.startswith("LOCALIZED")
    first = [second(message) for message in robot.hypotheses]
    # Its first picture may come before the clock that says so.
    assert min(first) <= START + LENGTH / len(ROWS) + 1e-6, "a loop is no reason to be silent"
    known = len(robot.poses)
    deadline = time.monotonic() + 6.0
    while not robot.status.startswith("STALE") and time.monotonic() < deadline:
        player.tick(middle)
        ears.spin_for(0.05)
    assert "time stands still" in robot.status, "nobody's camera is dead"
    assert camera_entry(robot.diagnostics[-1]).level != DiagnosticStatus.ERROR
    assert len(robot.poses) == known
    player.play(0.2, begin=middle)
    assert ears.spin_until(lambda: robot.answered(LAST))
    ears.spin_for(0.2)
    resumed = robot.poses[known:]
    assert resumed and second(resumed[0]) < START + middle + 0.3, "the pause took nothing from what was known"
    assert robot.is_near(ROWS[-1])
    assert "jumped back" not in robot.status
    assert ears.spin_until(lambda: START <= second(robot.diagnostics[-1]) < START + 2 * LENGTH), (
        "it tells the bag's time"
    )
    (lag,) = (
        float(value.value) for value in camera_entry(robot.diagnostics[-1]).values if value.key == "stamp lag [s]"
    )
    assert abs(lag) < 2 * LENGTH, "stamps are compared with the bag's time"
