"""The pinhole camera and where it stands."""

from dataclasses import dataclass
from math import cos, radians, sin, tan

import numpy as np


@dataclass(frozen=True)
class Camera:
    """An ideal pinhole camera with square pixels and its principal point in the middle of the picture.

    Attributes:
        width: pixels.
        height: pixels.
        fov_deg: horizontal field of view, degrees, in (0, 170).
    """

    width: int = 640
    height: int = 480
    fov_deg: float = 75.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture of {self.width}x{self.height} pixels")
        if not 0 < self.fov_deg <= 170:
            raise ValueError(f"field of view of {self.fov_deg} degrees; it lies in (0, 170]")

    @property
    def focal_length(self) -> float:
        """Focal length in pixels."""
        return self.width / 2 / tan(radians(self.fov_deg) / 2)

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) intrinsic matrix; pixel centres lie at integer coordinates."""
        f = self.focal_length
        return np.array([[f, 0, (self.width - 1) / 2], [0, f, (self.height - 1) / 2], [0, 0, 1]])

    def scaled(self, factor: float) -> "Camera":
        """The same view with `factor` times as many pixels per side (at least one)."""
        return Camera(max(1, round(self.width * factor)), max(1, round(self.height * factor)), self.fov_deg)


@dataclass(frozen=True)
class CameraPose:
    """Where the camera is, where it looks, and when.

    Attributes:
        easting: UTM metres.
        northing: UTM metres.
        yaw: of the optical axis, radians, counter-clockwise from grid east.
        height: above the ground, metres.
        pitch: radians, positive when the camera looks up.
        roll: radians, positive when the right side of the camera dips.
        timestamp: seconds since 1970 (UTC).
    """

    easting: float
    northing: float
    yaw: float
    height: float = 1.6
    pitch: float = 0.0
    roll: float = 0.0
    timestamp: float = 0.0

    @property
    def utm(self) -> np.ndarray:
        """(2,) easting and northing."""
        return np.array([self.easting, self.northing])

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) from world axes (east, north, up) to camera axes (right, down, forward)."""
        forward = np.array([cos(self.yaw) * cos(self.pitch), sin(self.yaw) * cos(self.pitch), sin(self.pitch)])
        level_right = np.array([sin(self.yaw), -cos(self.yaw), 0.0])
        level_down = np.cross(forward, level_right)
        right = cos(self.roll) * level_right + sin(self.roll) * level_down
        return np.stack([right, np.cross(forward, right), forward])


def projection(camera: Camera, pose: CameraPose, origin: np.ndarray) -> np.ndarray:
    """The matrix that takes world points to pixels.

    Args:
        camera: intrinsics.
        pose: extrinsics.
        origin: (2,) UTM position of the world's origin.

    Returns:
        (3, 4): applied to (east, north, up, 1), in metres from `origin`, gives (x w, y w, w) with w the depth in
        metres.
    """
    position = np.array([*(pose.utm - origin), pose.height])
    rotation = camera.matrix @ pose.rotation
    return np.column_stack([rotation, -rotation @ position])
