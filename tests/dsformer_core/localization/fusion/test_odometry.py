"""Odometry tells the same whatever order it came in, wherever its frame lies, and nothing where it is missing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.odometry import CAPACITY, HELD, WAITED, Motion, Odometry
from dsformer_core.localization.planar import PlanarPose

CONFIG = FusionConfig()
numbers = st.floats(-50, 50)


def path(seed: int = 0, count: int = 40) -> np.ndarray:
    """(count, 4) stamp, x, y, yaw of a winding drive at about 4 m/s."""
    random = np.random.default_rng(seed)
    yaw = np.cumsum(random.normal(0, 0.1, count))
    steps = 0.4 * np.column_stack([np.cos(yaw), np.sin(yaw)])
    return np.column_stack([10 + 0.1 * np.arange(count), np.cumsum(steps, axis=0), yaw])


def filled(rows: np.ndarray) -> Odometry:
    odometry = Odometry(CONFIG)
    for row in rows:
        odometry.add(*row.tolist(), None)
    return odometry


def flat(motions: list[Motion]) -> np.ndarray:
    return np.array([list(vars(motion).values()) for motion in motions], float)


def test_a_drive_of_four_metres_and_a_turn() -> None:
    odometry = filled(np.array([[0, 1, 1, math.pi / 2], [0.5, 1, 3, math.pi / 2], [1.0, 1, 5, math.pi]]))
    (motion,) = odometry.between(0.0, 1.0)
    assert motion.known and motion.seconds == 1.0
    assert [motion.x, motion.y, motion.yaw] == pytest.approx([4, 0, math.pi / 2])
    assert [motion.way, motion.turn] == pytest.approx([4, math.pi / 2])
    assert motion.variance == pytest.approx(0.02**2 * 50 * 4)
    assert motion.yaw_variance == pytest.approx(math.radians(0.5) ** 2 * 4)


@given(order=st.permutations(range(12)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_messages_does_not_matter(order: list[int]) -> None:
    rows = path(count=12)
    expected = flat(filled(rows).between(10.05, 11.0))
    assert np.allclose(flat(filled(rows[order]).between(10.05, 11.0)), expected, rtol=0, atol=1e-12)


@given(x=numbers, y=numbers, yaw=st.floats(-10, 10))
@settings(max_examples=30, deadline=None)
def test_where_its_frame_lies_does_not_matter(x: float, y: float, yaw: float) -> None:
    rows = path()
    turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    other = rows.copy()
    other[:, 1:3] = rows[:, 1:3] @ turn.T + (x, y)
    other[:, 3] += yaw
    assert np.allclose(flat(filled(other).between(10.2, 13)), flat(filled(rows).between(10.2, 13)), atol=1e-9)


@given(at=st.floats(10.0, 13.9))
@settings(max_examples=30, deadline=None)
def test_a_drive_in_two_pieces_ends_where_it_ends_in_one(at: float) -> None:
    odometry = filled(path())
    (whole,) = odometry.between(10.0, 13.9)
    x = y = yaw = way = variance = 0.0
    for piece in [*odometry.between(10.0, at), *odometry.between(at, 13.9)]:
        x += math.cos(yaw) * piece.x - math.sin(yaw) * piece.y
        y += math.sin(yaw) * piece.x + math.cos(yaw) * piece.y
        yaw, way, variance = yaw + piece.yaw, way + piece.way, variance + piece.variance
    assert [x, y, math.remainder(yaw - whole.yaw, 2 * math.pi)] == pytest.approx([whole.x, whole.y, 0], abs=1e-9)
    assert [way, variance] == pytest.approx([whole.way, whole.variance])


def test_what_is_missing_is_unknown() -> None:
    early, late = path(count=5), path(count=5)
    late[:, 0] += 5
    motions = filled(np.vstack([early, late])).between(10.0, 15.4)
    assert [motion.known for motion in motions] == [True, False, True]
    assert [motion.seconds for motion in motions] == pytest.approx([0.4, 4.6, 0.4])
    before, after = filled(early).between(8.0, 10.2), filled(early).between(10.2, 20.0)
    assert [motion.known for motion in before] == [False, True]
    assert before[0].seconds == pytest.approx(2.0 - HELD)
    assert [motion.known for motion in after] == [True, False]
    assert not Odometry(CONFIG).between(0, 1)[0].known


def test_an_odometry_frame_that_was_reset_is_no_motion() -> None:
    rows = path(count=20)
    rows[10:, 1:3] -= 500
    motions = filled(rows).between(10.0, 11.9)
    assert [motion.known for motion in motions] == [True, False, True]
    assert sum(motion.way for motion in motions) < 8


def test_a_growing_covariance_counts_and_a_standing_one_does_not() -> None:
    def variance(of: list[np.ndarray | None]) -> float:
        odometry = Odometry(CONFIG)
        for number, covariance in enumerate(of):
            odometry.add(0.1 * number, 0.4 * number, 0, 0, covariance)
        return sum(motion.variance for motion in odometry.between(0, 0.2))

    floor = variance([None] * 3)
    assert variance([np.eye(3) * 5] * 3) == floor
    assert variance([np.eye(3) * number for number in range(3)]) == pytest.approx(2)
    assert variance([np.full((3, 3), np.nan), -np.eye(3), np.eye(3)]) >= floor


def test_two_messages_a_microsecond_apart_tell_no_velocity() -> None:
    rows = np.array([[0, 0, 0, 0], [1.0, 1, 0, 0], [1.000001, 1.5, 0, 3.0]])
    motion = filled(rows).between(0.0, 1.2)[0]
    assert math.hypot(motion.x, motion.y) < 1.5 + CONFIG.motion_bound * HELD + 1e-6


def test_what_is_no_number_and_what_came_before_is_left_out() -> None:
    odometry = filled(path(count=5))
    for message in [(math.nan, 0, 0, 0), (20.0, math.inf, 0, 0), (20.0, 0, 0, math.nan), (10.0, 7, 7, 7)]:
        assert odometry.add(*message, None) == math.inf
    assert len(odometry) == 5


def test_it_does_not_grow() -> None:
    odometry = Odometry(CONFIG)
    for number in range(2 * CAPACITY):
        odometry.add(0.01 * number, 0.01 * number, 0, 0, None)
    assert len(odometry) <= CAPACITY
    end = 0.01 * (2 * CAPACITY - 1)
    (motion,) = odometry.between(end - 10, end)
    assert motion.x == pytest.approx(10)
    assert odometry.add(1.0, 0, 0, 0, None) == math.inf or len(odometry) <= CAPACITY


def test_odometry_that_begins_anew_turned_otherwise_tells_nothing_in_between() -> None:
    odometry = filled(np.array([[0, 0, 0, 1.57], [0.1, 0, 0.1, 1.57], [0.2, 0, 0, 0.0], [0.3, 0.1, 0, 0.0]]))
    assert [motion.known for motion in odometry.between(0.0, 0.3)] == [True, False, True]


@given(order=st.permutations(range(10)))
@settings(max_examples=30, deadline=None)
def test_a_pose_between_two_messages_lies_between_theirs_whatever_their_order(order: list[int]) -> None:
    odometry = Odometry(CONFIG)
    for number in [*order, order[0]]:
        odometry.add(0.1 * number, 0.3 * number, -0.3 * number, 0.01 * number, None)
    assert len(odometry) == 10 and odometry.newest == pytest.approx(0.9)
    found = odometry.at(0.33)
    assert found is not None and (found.x, found.y, found.yaw) == pytest.approx((0.99, -0.99, 0.033))


def test_yaw_is_interpolated_the_short_way() -> None:
    found = filled(np.array([[0.0, 0, 0, 3.1], [0.2, 0, 0, -3.1]])).at(0.1)
    assert found is not None and abs(found.yaw) == pytest.approx(math.pi)


def test_no_pose_is_given_of_moments_that_odometry_does_not_tell() -> None:
    odometry = Odometry(CONFIG)
    assert odometry.at(0.0) is None and odometry.newest == -math.inf
    odometry.add(10.0, 1, 0, 0, None)
    assert odometry.at(10.0) == odometry.at(10.0 + WAITED / 2) == PlanarPose(1, 0, 0)
    last = 10.0 + 2 * CONFIG.odometry_gap
    odometry.add(last, 2, 0, 0, None)
    assert odometry.at(9.99) is None, "before the first"
    assert odometry.at(10.0 + CONFIG.odometry_gap) is None, "in a gap"
    odometry.add(last + 0.001, 2.02, 0, 0, None)
    assert odometry.at(last) == PlanarPose(2, 0, 0)
    assert odometry.at(last + WAITED) == PlanarPose(2.02, 0, 0), "two messages a millisecond apart tell no velocity"
    assert odometry.at(last + 0.002 + WAITED) is None


def test_no_pose_is_given_between_two_frames() -> None:
    odometry = filled(np.array([[0.0, 0, 0, 0], [0.1, 0.4, 0, 0], [0.2, 90, 90, 1], [0.3, 90.4, 90, 1]]))
    assert odometry.at(0.1) == PlanarPose(0.4, 0, 0) and odometry.at(0.2) == PlanarPose(90, 90, 1)
    assert odometry.at(0.15) is None


def test_nothing_is_known_of_the_movement_into_another_frame() -> None:
    odometry = filled(np.array([[0.0, 0, 0, 0], [0.1, 0.4, 0, 0]]))
    odometry.begin_anew()
    for stamp, x in ((0.2, 1.5), (0.3, 1.9)):
        odometry.add(stamp, x, 0, 0, None)
    assert [motion.known for motion in odometry.between(0.0, 0.3)] == [True, False, True]
    assert odometry.at(0.15) is None and odometry.at(0.2) == PlanarPose(1.5, 0, 0)
    # A late one of before changes nothing of that.
    odometry.add(0.05, 0.2, 0, 0, None)
    assert [motion.known for motion in odometry.between(0.0, 0.3)] == [True, False, True]


def test_a_robot_that_stood_is_told_from_one_of_which_nothing_is_known() -> None:
    odometry = Odometry(FusionConfig())
    assert not odometry.stood(-3.0, 0.0, 0.5)
    for part in range(50):
        # Its wheels tremble; after 5 s it drives on.
        odometry.add(0.2 * part, 0.05 * (part % 2) + max(part - 25, 0), 0.0, 0.0, None)
    assert odometry.stood(1.0, 4.0, 0.5) and odometry.stood(1.03, 4.07, 0.5) and odometry.stood(-HELD / 2, 3.0, 0.5)
    assert not odometry.stood(-2 * HELD, 3.0, 0.5), "before it began"
    assert not odometry.stood(3.0, 6.0, 0.5) and not odometry.stood(8.0, 11.0, 1e9), "it drives; after it ended"
    odometry.add(20.0, 24.0, 0.0, 0.0, None)
    assert not odometry.stood(9.0, 19.0, 1e9), "nothing tells of ten seconds"
