import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.localization.odom_correction import map_to_odom
from dsformer_core.localization.planar import PlanarPose

angles = st.floats(-math.pi, math.pi)
poses = st.builds(PlanarPose, st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), angles)


def same(one: PlanarPose, other: PlanarPose) -> bool:
    apart = math.hypot(one.x - other.x, one.y - other.y)
    return apart < 1e-6 and math.cos(one.yaw - other.yaw) == pytest.approx(1)


@given(poses, poses)
def test_the_correction_takes_odometry_to_where_the_robot_is(in_map: PlanarPose, in_odom: PlanarPose) -> None:
    assert same(map_to_odom(in_map, in_odom) @ in_odom, in_map)


@given(poses, poses, poses)
def test_a_robot_that_drives_on_leaves_the_correction_as_it_is(
    in_map: PlanarPose, in_odom: PlanarPose, step: PlanarPose
) -> None:
    assert same(map_to_odom(in_map @ step, in_odom @ step), map_to_odom(in_map, in_odom))


def test_odometry_that_began_at_the_wall_facing_north() -> None:
    """The robot started at (10, 5) looking north (+y); it drove 3 m ahead. Odometry says x = 3."""
    correction = map_to_odom(PlanarPose(10, 8, math.pi / 2), PlanarPose(3, 0, 0))
    assert same(correction, PlanarPose(10, 5, math.pi / 2))
