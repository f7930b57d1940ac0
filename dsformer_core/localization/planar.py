"""Poses on the ground, and what of a pose in space is one: messages may hold anything."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsformer_core.errors import DsformerError
from dsformer_core.geodesy import wrap_angle

_UNIT = 1e-2
"""How far a quaternion's norm may be from 1: what float32 senders and rounded texts come to, a zero one does not."""


@dataclass(frozen=True)
class PlanarPose:
    """A pose on the ground: metres and radians counter-clockwise."""

    x: float
    y: float
    yaw: float

    def __matmul__(self, other: "PlanarPose") -> "PlanarPose":
        """`a_to_b @ b_to_c` is `a_to_c`, as for matrices."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return PlanarPose(
            self.x + cosine * other.x - sine * other.y,
            self.y + sine * other.x + cosine * other.y,
            float(wrap_angle(self.yaw + other.yaw)),
        )

    @property
    def inverse(self) -> "PlanarPose":
        """The same seen from the other frame."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return PlanarPose(
            -cosine * self.x - sine * self.y, sine * self.x - cosine * self.y, float(wrap_angle(-self.yaw))
        )


def planar_pose(position: ArrayLike, quaternion: ArrayLike) -> PlanarPose:
    """A pose in space, seen from above.

    Args:
        position: (3,) x, y, z in metres.
        quaternion: (4,) x, y, z, w of unit norm. Its yaw is that of the rotated x axis.

    Raises:
        DsformerError: a number is not finite, or the quaternion is no rotation.
    """
    place, turn = np.asarray(position, np.float64), np.asarray(quaternion, np.float64)
    if not (np.isfinite(place).all() and np.isfinite(turn).all()):
        raise DsformerError("its pose has numbers that are not finite")
    norm = float(np.linalg.norm(turn))
    if abs(norm - 1) > _UNIT:
        raise DsformerError(f"its orientation is no rotation: the quaternion's norm is {norm:.3g}, not 1")
    x, y, z, w = turn / norm
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return PlanarPose(float(place[0]), float(place[1]), yaw)


def planar_covariance(covariance: ArrayLike) -> NDArray[np.float64] | None:
    """Of (36,) or (6, 6) over x, y, z, roll, pitch, yaw (REP-103) the (3, 3) over x, y, yaw.

    Returns:
        Symmetric; None where it is all zero, which is how ROS says "unknown".

    Raises:
        DsformerError: it is no covariance.
    """
    planar = np.asarray(covariance, np.float64).reshape(6, 6)[np.ix_([0, 1, 5], [0, 1, 5])]
    if not np.isfinite(planar).all():
        raise DsformerError("its covariance has numbers that are not finite")
    planar = planar / 2 + planar.T / 2
    if not planar.any():
        return None
    if np.linalg.eigvalsh(planar)[0] < -1e-6 * np.abs(planar).max():
        raise DsformerError("its covariance has a negative variance")
    return planar
