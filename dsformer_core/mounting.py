"""Where a mounted camera looks."""

import math
from collections.abc import Sequence

import numpy as np

# A viewing direction closer to the vertical than this (as the sine of its elevation) has no usable yaw.
_STEEP = 0.9


def viewing_yaw(rotation: Sequence[float]) -> float:
    """Yaw of where a camera looks, from the rotation of its frame.

    Cameras look along z of an optical frame (REP-103). Where z is about vertical, the frame is not an optical one but
    a body's, which looks along x.

    Args:
        rotation: quaternion x, y, z, w that takes vectors of the camera's frame to base_frame.

    Returns:
        Radians in (-pi, pi], counter-clockwise from base_frame's x.
    """
    x, y, z, w = np.asarray(rotation, np.float64) / np.linalg.norm(rotation)
    along_z = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
    along_x = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z))
    east, north = along_x if abs(along_z[2]) > _STEEP else along_z[:2]
    return math.atan2(north, east)
