import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dsformer_core.errors import DsformerError
from dsformer_core.localization.planar import PlanarPose, planar_covariance, planar_pose

angles = st.floats(-math.pi, math.pi)
poses = st.builds(PlanarPose, st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), angles)


def same(one: PlanarPose, other: PlanarPose) -> bool:
    apart = math.hypot(one.x - other.x, one.y - other.y)
    return apart < 1e-6 and math.cos(one.yaw - other.yaw) == pytest.approx(1)


@given(poses, poses)
def test_composition_is_that_of_matrices(one: PlanarPose, other: PlanarPose) -> None:
    def matrix(pose: PlanarPose) -> np.ndarray:
        c, s = math.cos(pose.yaw), math.sin(pose.yaw)
        return np.array([[c, -s, pose.x], [s, c, pose.y], [0, 0, 1]])

    np.testing.assert_allclose(matrix(one @ other), matrix(one) @ matrix(other), atol=1e-6)
    np.testing.assert_allclose(matrix(one.inverse), np.linalg.inv(matrix(one)), atol=1e-6)


@given(angles, st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_a_pose_in_space_is_seen_from_above(yaw: float, pitch: float, roll: float) -> None:
    quaternion = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_quat()
    for sign in (1, -1):
        pose = planar_pose((1.0, 2.0, 3.0), sign * quaternion)
        assert same(pose, PlanarPose(1, 2, yaw))


@pytest.mark.parametrize(
    ("position", "quaternion", "word"),
    [
        ((math.nan, 0, 0), (0, 0, 0, 1), "not finite"),
        ((0, 0, 0), (0, 0, math.inf, 1), "not finite"),
        ((0, 0, 0), (0, 0, 0, 0), "norm is 0"),
        ((0, 0, 0), (0, 0, 1, 1), "no rotation"),
    ],
)
def test_what_is_no_pose_is_refused(position: tuple, quaternion: tuple, word: str) -> None:
    with pytest.raises(DsformerError, match=word):
        planar_pose(position, quaternion)


def test_a_covariance_is_of_x_y_and_yaw() -> None:
    full = np.diag([1.0, 2, 3, 4, 5, 6])
    full[0, 5] = full[5, 0] = 0.5
    planar = planar_covariance(full.ravel())
    assert planar is not None and planar.tolist() == [[1, 0, 0.5], [0, 2, 0], [0.5, 0, 6]]
    assert planar_covariance(np.diag([0.0, 0, 3, 4, 5, 0])) is None


@pytest.mark.parametrize("broken", [np.full(36, np.nan), np.diag([-1.0, 1, 1, 1, 1, 1]), np.full(36, np.inf)])
def test_what_is_no_covariance_is_refused(broken: np.ndarray) -> None:
    with pytest.raises(DsformerError, match="covariance"):
        planar_covariance(broken)
