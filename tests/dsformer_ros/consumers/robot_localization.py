"""robot_localization's EKF: a `poseN` input, fused in world_frame.

Read in robot_localization, branch ros2 of March 2024: `poseCallback`, `preparePose` and `copyCovariance` of
src/ros_filter.cpp, and `correct` of src/ekf.cpp.
"""

import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy

from tests.dsformer_ros.consumers.rules import Rule, finite, seconds

TYPE = PoseWithCovarianceStamped
# SensorDataQoS with keep-last of poseN_queue_size.
QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)

# x, y and yaw of x, y, z, roll, pitch, yaw: what a planar localizer's pose holds.
PLANAR = (True, True, False, False, False, True)


class PoseInput:
    """One `poseN` of a filter: it remembers stamps."""

    def __init__(
        self, world_frame: str = "map", fused: Sequence[bool] = PLANAR, *, set_pose_at: float = -math.inf
    ) -> None:
        """A fresh input.

        Args:
            world_frame: the filter's parameter.
            fused: the first six of `poseN_config`.
            set_pose_at: seconds, when the filter was last set with set_pose.
        """
        self._last = -math.inf
        axes = [axis for axis, used in enumerate(fused) if used]

        def covariance(message: PoseWithCovarianceStamped) -> np.ndarray:
            return np.asarray(message.pose.covariance).reshape(6, 6)

        def length(message: PoseWithCovarianceStamped) -> float:
            q = message.pose.pose.orientation
            return math.sqrt(q.x**2 + q.y**2 + q.z**2 + q.w**2)

        def touched(message: PoseWithCovarianceStamped) -> np.ndarray:
            """Elements of rows and columns of fused axes."""
            six = covariance(message)
            return np.concatenate([six[axes].ravel(), six[:, axes].ravel()])

        self.rules = (
            # poseCallback: dropped
            Rule("a stamp after the last set_pose", lambda m: seconds(m.header.stamp) > set_pose_at),
            # poseCallback: dropped
            Rule("a stamp not before the last pose's", lambda m: seconds(m.header.stamp) >= self._last),
            # preparePose: another frame needs a transform; an empty one is taken for world_frame without a word
            Rule("world_frame", lambda m: m.header.frame_id == world_frame),
            # What is fused becomes the state; nothing filters NaN out.
            Rule("a finite pose", lambda m: finite(_pose(m))),
            # preparePose: a diagnostic, and the identity instead
            Rule("a quaternion that is not all 0", lambda m: length(m) != 0.0),
            # preparePose: a warning
            Rule("a quaternion of length 1 +- 0.01", lambda m: length(m) == 0.0 or not abs(length(m) - 1.0) > 0.01),
            Rule("finite covariances of what is fused", lambda m: bool(np.isfinite(touched(m)).all())),
            # copyCovariance: a diagnostic
            Rule("covariances of what is fused up to 1e3", lambda m: not (touched(m) > 1e3).any()),
            # copyCovariance: a diagnostic; later replaced by next to nothing, so that this one pose is believed blindly
            Rule("no variance of 0 where fused", lambda m: not (np.diag(covariance(m))[axes] == 0.0).any()),
            # copyCovariance: a diagnostic; later its absolute value
            Rule("no negative variance where fused", lambda m: not (np.diag(covariance(m))[axes] < 0.0).any()),
            # ekf.cpp, correct: below 1e-9 it is replaced; older releases and the documentation say 1e-6
            Rule(
                "variances of at least 1e-6 where fused",
                lambda m: not ((np.diag(covariance(m))[axes] < 1e-6) & (np.diag(covariance(m))[axes] > 0.0)).any(),
            ),
        )

    def taken(self, message: PoseWithCovarianceStamped) -> None:
        """Notes the stamp of a message that was handed over."""
        self._last = max(self._last, seconds(message.header.stamp))


def _pose(message: PoseWithCovarianceStamped) -> tuple[float, ...]:
    position, q = message.pose.pose.position, message.pose.pose.orientation
    return position.x, position.y, position.z, q.x, q.y, q.z, q.w


# A filter's parameters, as far as they decide what becomes of an absolute pose. `parameters` is `ros__parameters`.
INPUT_RULES = (
    # Differences of absolute poses would throw away what they are for; params/ekf.yaml shows it set to true.
    Rule("pose0_differential is false", lambda p: p["pose0_differential"] is False),
    # Relative ones begin at 0, wherever the robot is.
    Rule("pose0_relative is false", lambda p: p["pose0_relative"] is False),
    # Without it any false fix pulls the state along.
    Rule("pose0_rejection_threshold is given", lambda p: 0.0 < p["pose0_rejection_threshold"] < 100.0),
    # loadUpdateConfig: fifteen, of which poses give the first six
    Rule("pose0_config has 15 entries", lambda p: len(p["pose0_config"]) == 15),
    Rule("pose0_config fuses x, y and yaw alone", lambda p: tuple(p["pose0_config"][:6]) == PLANAR),
    # Velocities and accelerations of a pose are ignored.
    Rule("pose0_config has no velocity", lambda p: not any(p["pose0_config"][6:])),
    # A picture's answer comes later than its stamp: without a history it is fused as if it were of now.
    Rule("smooth_lagged_data is true", lambda p: p["smooth_lagged_data"] is True),
    Rule("history_length covers the answer's delay", lambda p: p["history_length"] >= 1.0),
)
