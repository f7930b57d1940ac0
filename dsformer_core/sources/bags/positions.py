"""Positions and headings in a recording: from satellites, from odometry in a frame with a datum, from an IMU."""

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from dsformer_core.sources.interpolation import compass, interpolate
from dsformer_core.sources.local_frame import EAST, LocalFrame
from dsformer_core.sources.source import why_unusable
from dsformer_core.sources.track import Track

Array = npt.NDArray[np.float64]

NAV_SAT_FIX = "sensor_msgs/msg/NavSatFix"
ODOMETRY = "nav_msgs/msg/Odometry"
# The surest first.
POSES = (ODOMETRY, "geometry_msgs/msg/PoseWithCovarianceStamped", "geometry_msgs/msg/PoseStamped")
IMU = "sensor_msgs/msg/Imu"

_TOO_UNSURE = "too unsure"


def stamp(message: Any, received: int) -> float:
    """Seconds since 1970 at which a message's content was measured; when it was received, where it does not say."""
    time = message.header.stamp
    return time.sec + time.nanosec * 1e-9 if time.sec or time.nanosec else received * 1e-9


class Positions:
    """The positions of one topic, and how many were refused for which reason.

    Attributes:
        refused: reason -> number of messages.
        read: number of messages.
    """

    def __init__(self, frame: LocalFrame | None, max_std: float) -> None:
        """Knows none yet.

        Args:
            frame: of poses; None for NavSatFix.
            max_std: metres; what says that it is less sure is refused.
        """
        self.refused: Counter[str] = Counter()
        self.read = 0
        self._frame = frame
        self._max_std = max_std
        # Of the standard deviations that were refused, the least and the greatest, in metres.
        self._unsure: list[float] = []
        self._rows: list[tuple[float, float, float, float]] = []

    def take(self, message: Any, received: int) -> None:
        """Reads a NavSatFix, Odometry, PoseStamped or PoseWithCovarianceStamped."""
        self.read += 1
        reason, place = self._pose(message) if self._frame is not None else self._fix(message)
        if reason is None:
            self._rows.append((stamp(message, received), *place))
        else:
            self.refused[reason] += 1

    def refusals(self) -> str:
        """What was refused, and why; how unsure positions are, and what they may be. Empty where nothing was."""
        reasons = {reason: f"{count} {reason}" for reason, count in sorted(self.refused.items())}
        if _TOO_UNSURE in reasons:
            known = [f"{deviation:.3g}" for deviation in self._unsure]
            said = f"by {' to '.join(dict.fromkeys(known))} m" if known else "they do not say how much"
            reasons[_TOO_UNSURE] += f" ({said}; --max-position-std is {self._max_std:g} m)"
        return ", ".join(reasons.values())

    def track(self, max_gap: float) -> Track:
        """Where the vehicle was."""
        if self._frame is None:
            return Track.of(self._rows, "ellipsoid", max_gap)
        table = np.array(self._rows).reshape(-1, 4)
        places = np.column_stack([table[:, 0], *self._frame.to_geodetic(table[:, 1:])])
        return Track.of(places.tolist(), "ellipsoid", max_gap)

    def _fix(self, message: Any) -> tuple[str | None, tuple[float, float, float]]:
        place = message.latitude, message.longitude, message.altitude
        # Type 0 says that the covariance is unknown.
        unsure = message.position_covariance_type and self._is_unsure(message.position_covariance, 3)
        if message.status.status < 0:
            return "without lock", place
        if why_unusable(*place[:2]) is not None:
            return "no usable position", place
        return (_TOO_UNSURE if unsure else None), place

    def _pose(self, message: Any) -> tuple[str | None, tuple[float, float, float]]:
        with_covariance = hasattr(message.pose, "covariance")
        position = message.pose.pose.position if with_covariance else message.pose.position
        place = position.x, position.y, position.z if math.isfinite(position.z) else 0.0
        if not all(map(math.isfinite, place)):
            return "no usable position", place
        unsure = with_covariance and self._is_unsure(message.pose.covariance, 6)
        return (_TOO_UNSURE if unsure else None), place

    def _is_unsure(self, covariance: Any, rows: int) -> bool:
        variance = max(covariance[0], covariance[rows + 1])
        # Not the other way round, so that NaN is unsure.
        unsure = not variance <= self._max_std**2
        if unsure and not math.isnan(variance):
            deviations = [*self._unsure, math.sqrt(variance)]
            self._unsure = [min(deviations), max(deviations)]
        return unsure


class Headings:
    """Where the vehicle's x axis points, from orientations of one topic.

    Attributes:
        frame_id: of the last message: the sensor's frame where it is an IMU.
    """

    def __init__(self, frame_heading_deg: float = EAST) -> None:
        """Knows none yet.

        Args:
            frame_heading_deg: where the x axis of the frame points that orientations are in, compass degrees.
        """
        self.frame_id = ""
        self._frame_heading_deg = frame_heading_deg
        self._rows: list[tuple[float, float, float, float, float]] = []

    def take(self, message: Any, received: int) -> None:
        """Reads an Imu, Odometry, PoseStamped or PoseWithCovarianceStamped."""
        self.frame_id = message.header.frame_id
        if hasattr(message, "orientation"):
            # -1 says that there is no orientation.
            orientation = None if message.orientation_covariance[0] == -1 else message.orientation
        else:
            orientation = (message.pose.pose if hasattr(message.pose, "pose") else message.pose).orientation
        if orientation is not None:
            turn = orientation.x, orientation.y, orientation.z, orientation.w
            if all(map(math.isfinite, turn)) and any(turn):
                self._rows.append((stamp(message, received), *turn))

    @property
    def known(self) -> int:
        """Number of messages that give an orientation."""
        return len(self._rows)

    def at(self, time: Array, max_gap: float, mounting: Rotation | None = None) -> Array:
        """Compass degrees (M,) of the vehicle's x axis at times (M,); NaN where unknown.

        Args:
            time: seconds since 1970.
            max_gap: seconds that may be bridged.
            mounting: what takes vectors of the sensor to the vehicle's body, where orientations are the sensor's.
        """
        table = np.array(self._rows).reshape(-1, 5)
        known, first = np.unique(table[:, 0], return_index=True)
        ahead = np.array([1.0, 0.0, 0.0]) if mounting is None else mounting.inv().apply([1.0, 0.0, 0.0])
        x, y, _ = Rotation.from_quat(table[first, 1:]).apply(ahead).T
        heading = self._frame_heading_deg - np.degrees(np.arctan2(y, x))
        return compass(interpolate(known, heading, time, max_gap, period=360))
