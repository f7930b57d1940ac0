"""What a robot relies on: it is told where it is, that it was carried away, and nothing that pictures do not say."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsformer_core.errors import UsageError
from dsformer_core.localization import State
from dsformer_core.localization.fusion import Estimate, FusionConfig, Tracker
from dsformer_core.localization.fusion.tracker import DRIVE_ON
from dsformer_core.place_map import Matches
from tests.synthetic import unit, write_map

LOCALIZED = State.LOCALIZED


def same(one: Estimate, other: Estimate, tolerance: float = 1e-9) -> None:
    assert len(one.hypotheses) == len(other.hypotheses)
    assert one.verdict.state is other.verdict.state
    assert one.elsewhere == pytest.approx(other.elsewhere, abs=tolerance)
    for a, b in zip(one.hypotheses, other.hypotheses, strict=True):
        assert a.probability == pytest.approx(b.probability, abs=tolerance)
        assert np.allclose(a.utm, b.utm, rtol=0, atol=1e3 * tolerance)
        assert np.allclose(a.covariance, b.covariance, rtol=0, atol=1e4 * tolerance)


def sound(estimate: Estimate) -> None:
    assert math.isfinite(estimate.elsewhere) and 0 <= estimate.elsewhere <= 1
    total = estimate.elsewhere + sum(hypothesis.probability for hypothesis in estimate.hypotheses)
    assert total == pytest.approx(1, abs=1e-6)
    probabilities = [hypothesis.probability for hypothesis in estimate.hypotheses]
    assert probabilities == sorted(probabilities, reverse=True)
    for hypothesis in estimate.hypotheses:
        assert np.isfinite(hypothesis.utm).all() and np.isfinite(hypothesis.covariance).all()
        assert np.array_equal(hypothesis.covariance, hypothesis.covariance.T)
        assert np.linalg.eigvalsh(hypothesis.covariance)[0] > 0
        assert math.isnan(hypothesis.yaw) == (hypothesis.covariance[2, 2] == np.pi**2)
        assert math.isnan(hypothesis.yaw) or -np.pi < hypothesis.yaw <= np.pi


def test_a_drive_is_followed(robot: Any) -> None:
    found = robot.drive(0, 50, 150)
    assert [estimate.verdict.state for estimate in found[-30:]] == [LOCALIZED] * 30
    assert robot.error(found[-1], 0, 197.5) < 10
    best = found[-1].hypotheses[0]
    assert abs(best.yaw) < math.radians(15)
    assert best.probability > 0.95 and len(best.references) and found[-1].singles
    for estimate in found:
        sound(estimate)


def test_it_knows_where_it_is_between_pictures_and_after_them(robot: Any) -> None:
    robot.drive(0, 50, 100)
    for part in range(1, 41):
        robot.tracker.add_odometry(robot.stamp + 0.125 * part, robot.way + 0.625 * part, 0.0, 0.0)
    later = robot.tracker.estimate(robot.stamp + 5.0)
    assert robot.error(later, 0, 147.5 + 25) < 10
    assert later.hypotheses[0].covariance[0, 0] >= robot.tracker.estimate().hypotheses[0].covariance[0, 0]
    assert later.verdict.state is LOCALIZED
    for part in range(1, 121):
        robot.tracker.add_odometry(robot.stamp + 5 + 0.125 * part, robot.way + 25 + 0.625 * part, 0.0, 0.0)
    lost = robot.tracker.estimate(robot.stamp + 20)
    assert lost.verdict.state is not LOCALIZED
    assert "no picture confirmed" in lost.verdict.reason


@pytest.mark.parametrize("odometry", [True, False])
def test_a_kidnapped_robot_notices_and_finds_itself(town: Any, odometry: bool) -> None:
    from tests.dsformer_core.localization.fusion.conftest import Robot

    robot = Robot(town, odometry=odometry)
    assert LOCALIZED in [estimate.verdict.state for estimate in robot.drive(0, 50, 200)]
    found = robot.drive(1, 150, 150)
    wrong = [
        number
        for number, estimate in enumerate(found)
        if estimate.verdict.state is LOCALIZED and robot.error(estimate, 1, 150 + 2.5 * number) > 25
    ]
    assert not wrong or max(wrong) <= 4
    again = [number for number in range(len(found) - 16, len(found)) if found[number].verdict.state is LOCALIZED]
    assert again and all(robot.error(found[number], 1, 150 + 2.5 * number) < 25 for number in again)
    if odometry:
        assert "disagree" in " ".join(estimate.verdict.reason for estimate in found)


def test_a_robot_carried_off_the_map_stays_silent(robot: Any) -> None:
    assert robot.drive(0, 50, 120)[-1].verdict.state is LOCALIZED
    states = [estimate.verdict.state for estimate in robot.drive(None, 50, 120)]
    assert LOCALIZED not in states[5:]
    assert robot.tracker.estimate().elsewhere > 0.5


def test_who_was_never_on_the_map_is_never_localized(robot: Any) -> None:
    verdicts = [estimate.verdict for estimate in robot.drive(None, 0, 300)]
    assert LOCALIZED not in [verdict.state for verdict in verdicts]
    assert not any(DRIVE_ON in verdict.reason for verdict in verdicts), "it does"


@pytest.mark.parametrize("odometry", [True, False])
def test_a_standing_robot_does_not_become_surer(town: Any, odometry: bool) -> None:
    tracker = Tracker(town.place_map)
    first = None
    for number in range(150):
        if odometry:
            # Its wheels tremble.
            tracker.add_odometry(0.1 * number, 3.0 + 0.1 * (number % 2), 2.0, 1.0)
        # A look-alike: half of one place, half of another, and the noise of a camera.
        view = unit(town.views[0, 20] + town.views[1, 50]) + 0.02 * unit(np.random.default_rng(number).normal(size=256))
        estimate = tracker.add_picture(0.1 * number, town.place_map.search(unit(view)[None])[0])
        first = first or estimate
    assert estimate.hypotheses[0].probability < first.hypotheses[0].probability + 0.15
    assert estimate.verdict.state is not LOCALIZED
    assert estimate.verdict.reason.endswith(DRIVE_ON) is odometry, "without odometry nobody knows that it stands"


def test_a_repeated_picture_counts_once(robot: Any) -> None:
    robot.drive(0, 50, 20)
    before = robot.tracker.estimate()
    matches = robot.town.look(0, 70.0, 1)
    once = robot.tracker.add_picture(robot.stamp, matches)
    same(robot.tracker.add_picture(robot.stamp, matches), once)
    assert once.hypotheses[0].probability != before.hypotheses[0].probability


def events(town: Any, count: int = 16) -> tuple[list[tuple[float, Matches]], list[tuple[float, ...]]]:
    pictures = [(0.5 * number, town.look(0, 50 + 2.5 * number, number)) for number in range(count)]
    moves = [(0.125 * part, 0.625 * part, 0.01 * part, 0.02 * part) for part in range(4 * count + 4)]
    return pictures, moves


def after(town: Any, pictures: list[Any], moves: list[Any], *, moves_first: bool = True) -> Estimate:
    tracker = Tracker(town.place_map, config=FusionConfig(history=20))
    for move in moves if moves_first else []:
        tracker.add_odometry(*move)
    for stamp, matches in pictures:
        tracker.add_picture(stamp, matches)
    for move in [] if moves_first else moves:
        tracker.add_odometry(*move)
    return tracker.estimate(8.0)


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_late_pictures_and_odometry_find_their_place(town: Any, data: st.DataObject) -> None:
    pictures, moves = events(town)
    expected = after(town, pictures, moves)
    same(after(town, data.draw(st.permutations(pictures)), data.draw(st.permutations(moves))), expected)
    same(after(town, pictures, data.draw(st.permutations(moves)), moves_first=False), expected)


@given(x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4), yaw=st.floats(-7, 7))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_where_the_odometry_frame_lies_changes_nothing(town: Any, x: float, y: float, yaw: float) -> None:
    pictures, moves = events(town, 8)
    turned = [
        (t, x + a * math.cos(yaw) - b * math.sin(yaw), y + a * math.sin(yaw) + b * math.cos(yaw), c + yaw)
        for t, a, b, c in moves
    ]
    same(after(town, pictures, turned), after(town, pictures, moves), 1e-7)


def test_finer_odometry_of_the_same_motion_gives_the_same_belief(town: Any) -> None:
    pictures, _ = events(town)
    coarse = [(0.5 * part, 2.5 * part, 0.0, 0.0) for part in range(18)]
    fine = [(0.01 * part, 0.05 * part, 0.0, 0.0) for part in range(900)]
    same(after(town, pictures, fine), after(town, pictures, coarse), 1e-6)


def test_asking_in_between_changes_nothing(town: Any) -> None:
    pictures, moves = events(town)
    tracker = Tracker(town.place_map)
    for stamp, matches in pictures:
        for move in moves:
            tracker.add_odometry(*move)
        tracker.add_picture(stamp, matches)
        sound(tracker.estimate(stamp + 0.3))
        sound(tracker.estimate(stamp - 0.7))
    same(tracker.estimate(8.0), after(town, pictures, moves))


def test_a_picture_older_than_all_that_is_remembered_is_left_out(town: Any) -> None:
    pictures, moves = events(town)
    tracker = Tracker(town.place_map, config=FusionConfig(history=4))
    for move in moves:
        tracker.add_odometry(*move)
    for stamp, matches in pictures[1:]:
        tracker.add_picture(stamp, matches)
    before = tracker.estimate()
    same(tracker.add_picture(*pictures[0]), before)


numbers = st.one_of(st.floats(-1e3, 1e3), st.sampled_from([math.nan, math.inf, 1e12, 0.0]))
stamps = st.floats(-20, 20)


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_the_belief_is_sound(town: Any, data: st.DataObject) -> None:
    tracker = Tracker(town.place_map, config=FusionConfig(hypotheses=8, history=6.0))
    for _ in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["move", "look", "prior", "ask", "none"]))
        stamp = data.draw(stamps)
        if what == "move":
            covariance = data.draw(st.sampled_from([None, np.eye(3), np.full((3, 3), np.nan), 1e6 * np.eye(3)]))
            tracker.add_odometry(data.draw(numbers), *(data.draw(numbers) for _ in range(3)), covariance)
        elif what == "look":
            along, street = data.draw(st.floats(0, 390)), data.draw(st.sampled_from([0, 1, None]))
            matches = town.look(street, along, data.draw(st.integers(0, 9)), noise=data.draw(st.floats(0, 3)))
            sound(tracker.add_picture(stamp, matches, camera_yaw=data.draw(st.sampled_from([0.0, 3.1, math.nan]))))
        elif what == "prior":
            scale = data.draw(st.floats(0, 1e4))
            tracker.set_prior(stamp, town.utm(0, 100), scale * np.eye(3), data.draw(st.sampled_from([0.5, math.nan])))
        elif what == "none":
            empty = Matches(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
            sound(tracker.add_picture(stamp, empty))
        sound(tracker.estimate(data.draw(stamps)))
    assert len(tracker._beliefs[-1] if tracker._beliefs else []) <= 8
    assert not tracker._events or tracker._events[-1].stamp - tracker._events[0].stamp <= 6


def test_what_is_kept_does_not_grow(robot: Any) -> None:
    for _ in range(4):
        robot.drive(0, 0, 300)
        robot.drive(None, 0, 100)
    events = robot.tracker._events
    assert events[-1].stamp - events[0].stamp <= robot.config.history
    assert all(len(belief) <= robot.config.hypotheses for belief in robot.tracker._beliefs)


def test_cameras_that_look_to_all_sides_agree(town: Any) -> None:
    tracker = Tracker(town.place_map)
    for number in range(30):
        tracker.add_odometry(0.5 * number, 2.5 * number, 0, 0)
        # This robot drives backwards: its only camera looks back, along the street.
        estimate = tracker.add_picture(0.5 * number, town.look(0, 50 + 2.5 * number, number), camera_yaw=math.pi)
    best = estimate.hypotheses[0]
    assert abs(abs(best.yaw) - math.pi) < math.radians(20)
    # Odometry says ahead, pictures say that this is against the street: one of both lies, and nobody is sure.
    assert estimate.verdict.state is not LOCALIZED or np.hypot(*(best.utm - town.utm(0, 122.5))) > 5


def test_two_cameras_are_sooner_sure_than_one(town: Any) -> None:
    def pictures_needed(cameras: list[float]) -> int:
        tracker = Tracker(town.place_map)
        for number in range(60):
            tracker.add_odometry(0.5 * number, 2.5 * number, 0, 0)
            for camera, mounted in enumerate(cameras):
                # Mounted to the side by a little: both see about the same, with noise of their own.
                matches = town.look(0, 50 + 2.5 * number, 1000 * camera + number, noise=6.0)
                estimate = tracker.add_picture(0.5 * number, matches, camera_yaw=mounted, camera=camera)
            if estimate.verdict.state is LOCALIZED:
                return number
        return 60

    assert pictures_needed([0.0, 0.2]) < pictures_needed([0.0])


def test_a_camera_of_unknown_mounting_tells_the_place_and_odometry_the_yaw(town: Any) -> None:
    tracker = Tracker(town.place_map)
    for number in range(40):
        tracker.add_odometry(0.5 * number, 2.5 * number, 0, 0)
        estimate = tracker.add_picture(0.5 * number, town.look(0, 50 + 2.5 * number, number), camera_yaw=math.nan)
        if not number:
            assert math.isnan(estimate.hypotheses[0].yaw)
    assert estimate.verdict.state is LOCALIZED
    assert np.hypot(*(estimate.hypotheses[0].utm - town.utm(0, 147.5))) < 15
    assert abs(estimate.hypotheses[0].yaw) < math.radians(25)


def test_a_map_without_headings(town: Any, tmp_path: Any) -> None:
    place_map = write_map(tmp_path / "blind.map", np.concatenate(town.views), town.place_map.utm)
    tracker = Tracker(place_map)
    for number in range(40):
        tracker.add_odometry(0.5 * number, 2.5 * number, 0, 0)
        estimate = tracker.add_picture(0.5 * number, town.look(0, 50 + 2.5 * number, number))
        sound(estimate)
    assert estimate.verdict.state is LOCALIZED
    assert np.hypot(*(estimate.hypotheses[0].utm - town.utm(0, 147.5))) < 15


def test_a_given_pose_becomes_a_strong_hypothesis_and_can_be_wrong(robot: Any) -> None:
    town, tracker = robot.town, robot.tracker
    tracker.set_prior(100.0, town.utm(0, 52.0), 16 * np.eye(3)[:2, :2], 0.0)
    given = tracker.estimate()
    assert np.allclose(given.hypotheses[0].utm, town.utm(0, 52.0))
    assert 0.5 < given.hypotheses[0].probability < 1 and given.elsewhere > 0
    assert given.verdict.state is not LOCALIZED, "before a picture confirms it"
    assert robot.drive(0, 50, 10)[-1].verdict.state is LOCALIZED
    robot.tracker.set_prior(robot.stamp, town.utm(1, 300), 16 * np.eye(2))
    assert np.hypot(*(tracker.estimate().hypotheses[0].utm - town.utm(1, 300))) < 1
    found = robot.drive(0, 60, 80)
    assert robot.error(found[-1], 0, 137.5) < 15 and found[-1].verdict.state is LOCALIZED


def test_a_pose_that_is_given_again_says_nothing_new(robot: Any) -> None:
    town, tracker = robot.town, robot.tracker
    robot.drive(0, 50, 100)
    for _ in range(5):
        assert tracker.set_prior(robot.stamp, town.utm(1, 300), 16 * np.eye(2))
    told = tracker.estimate()
    assert told.hypotheses[0].probability <= 0.9 + 1e-9 and told.verdict.state is not LOCALIZED
    wrong = [one for one in robot.drive(0, 150, 4) if robot.error(one, 0, 155) > 25]
    assert LOCALIZED not in [estimate.verdict.state for estimate in wrong]
    sound(told)


def test_a_pose_that_agrees_leaves_what_is_known_as_it_is(robot: Any) -> None:
    robot.drive(0, 50, 100)
    before = robot.tracker.estimate(robot.stamp)
    robot.tracker.set_prior(robot.stamp, robot.town.utm(0, 147.5), 400 * np.eye(2))
    same(robot.tracker.estimate(), before)


def test_a_pose_far_from_the_map_or_too_late_does_not_count(robot: Any) -> None:
    robot.drive(0, 50, 100)
    with pytest.raises(UsageError, match="from the nearest reference of town"):
        robot.tracker.set_prior(robot.stamp, robot.town.utm(0, 1e6), 16 * np.eye(2))
    assert not robot.tracker.set_prior(robot.stamp - 10, robot.town.utm(0, 50), 16 * np.eye(2))


@pytest.mark.parametrize("covariance", [[[1, 1], [1, 1]], [[1, -1 + 1e-9], [-1 + 1e-9, 1]], [[1, 0], [0, 0]]])
@pytest.mark.parametrize("scale", [1.0, 1e8, 1e18, 1e307])
def test_a_given_pose_of_any_covariance_does_not_spoil_what_pictures_say(
    robot: Any, covariance: list[list[float]], scale: float
) -> None:
    robot.tracker.set_prior(robot.stamp, robot.town.utm(0, 60), scale * np.array(covariance))
    robot.tracker.add_picture(robot.stamp, robot.town.look(0, 50, 0))
    found = robot.drive(0, 50, 100)
    for estimate in found:
        sound(estimate)
    assert found[-1].verdict.state is LOCALIZED and robot.error(found[-1], 0, 147.5) < 10


def test_what_is_older_than_all_that_is_remembered_is_no_answer(robot: Any) -> None:
    robot.drive(0, 50, 100)
    assert robot.tracker.estimate(robot.stamp - 2).verdict.state is LOCALIZED
    old = robot.tracker.estimate(robot.stamp - 8)
    assert old.verdict.state is State.NO_MATCH and "no more remembered" in old.verdict.reason and not old.hypotheses


def test_a_camera_that_turns_a_little_is_no_new_witness(town: Any) -> None:
    tracker = Tracker(town.place_map)
    view = town.place_map.search(unit(town.views[0, 20] + town.views[1, 50])[None])[0]
    found = []
    for number in range(20):
        tracker.add_odometry(0.1 * number, 3.0, 2.0, 1.0)
        found.append(tracker.add_picture(0.1 * number, view, camera_yaw=0.01 * number))
    assert found[-1].hypotheses[0].probability < found[0].hypotheses[0].probability + 0.15


def test_where_was_not_searched_nothing_is_refuted(robot: Any) -> None:
    town, tracker = robot.town, robot.tracker
    before = robot.drive(0, 50, 100)[-1]
    other = town.utm(1, 200), 50.0
    for number in range(8):
        stamp, along = robot.stamp + 0.5 * (number + 1), 150 + 2.5 * number
        tracker.add_odometry(stamp, robot.way + 2.5 * (number + 1), 0.0, 0.0)
        view = town.view(0, along, number, noise=0.35)
        matches = town.place_map.search(view[None], near=other[0], radius=other[1])[0]
        found = tracker.add_picture(stamp, matches, within=other)
    assert found.hypotheses[0].probability > 0.9 * before.hypotheses[0].probability
    assert np.hypot(*(found.hypotheses[0].utm - town.utm(0, 167.5))) < 15


def test_reset_forgets(robot: Any) -> None:
    robot.drive(0, 50, 100)
    robot.tracker.reset()
    nothing = robot.tracker.estimate(0.0)
    assert not nothing.hypotheses and nothing.elsewhere == 1 and nothing.verdict.state is State.NO_MATCH
    # Also the clock: what comes now may be older than all before.
    assert robot.tracker.add_picture(3.0, robot.town.look(1, 50, 0)).stamp == 3.0


def test_nonsense_is_refused_in_one_line(town: Any) -> None:
    tracker = Tracker(town.place_map)
    matches = town.look(0, 50, 0)
    assert tracker.set_prior(0.0, town.utm(0, 0), np.diag([20.0, -1e-9, -1e-9])), "rounded"
    for call in (
        lambda: tracker.add_picture(math.nan, matches),
        lambda: tracker.estimate(math.inf),
        lambda: tracker.set_prior(math.nan, town.utm(0, 0), np.eye(2)),
        lambda: tracker.set_prior(0.0, [math.nan, 0], np.eye(2)),
        lambda: tracker.set_prior(0.0, town.utm(0, 0), -np.eye(2)),
        # A yaw that is as good as unknown excuses no position.
        lambda: tracker.set_prior(0.0, town.utm(0, 0), np.diag([2000.0, -900.0, 1e9])),
        lambda: tracker.set_prior(0.0, town.utm(0, 0), np.diag([20.0, 10.0, -1.0])),
        lambda: tracker.set_prior(0.0, town.utm(0, 0), np.eye(4)),
        lambda: FusionConfig(miss=0),
        lambda: FusionConfig(history=0),
        lambda: FusionConfig(motion_bound=math.nan),
        lambda: FusionConfig(min_probability=0.5, keep_probability=0.7),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert "\n" not in str(caught.value)
