"""Nav2's AMCL: the topic `initialpose` and the service `set_initial_pose`, whose request goes the same way.

Read in navigation2, main of August 2026: nav2_ros_common/validate_messages.hpp (`validateMsg`, there since PR #5683 in
its present strictness), and `initialPoseReceived` and `handleInitialPose` of nav2_amcl/src/amcl_node.cpp.
"""

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy

from tests.dsformer_ros.consumers.rules import Rule, finite

TOPIC, TYPE = "initialpose", PoseWithCovarianceStamped
# create_subscription without a QoS: nav2's StandardTopicQoS, reliable, depth 10.
QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


def _norm_squared(message: PoseWithCovarianceStamped) -> float:
    q = message.pose.pose.orientation
    return q.x**2 + q.y**2 + q.z**2 + q.w**2


def _position(message: PoseWithCovarianceStamped) -> tuple[float, float, float]:
    position = message.pose.pose.position
    return position.x, position.y, position.z


def _particles(message: PoseWithCovarianceStamped) -> np.ndarray:
    """The covariance that the particles are drawn from: x, y and their correlation, and yaw (handleInitialPose)."""
    six = np.asarray(message.pose.covariance).reshape(6, 6)
    three = np.zeros((3, 3))
    three[:2, :2], three[2, 2] = six[:2, :2], six[5, 5]
    return three


def rules(global_frame: str = "map", cells: tuple[int, int] = (4000, 4000)) -> tuple[Rule, ...]:
    """The rules of an AMCL.

    Args:
        global_frame: its parameter `global_frame_id`.
        cells: width and height of its occupancy grid, in cells.
    """
    return (
        # validateMsg(Time)
        Rule("nanoseconds below a second", lambda m: m.header.stamp.nanosec < 10**9),
        # validateMsg(Header)
        Rule("a frame_id", lambda m: bool(m.header.frame_id)),
        # initialPoseReceived: compared as strings, without TF
        Rule("global_frame_id exactly", lambda m: not m.header.frame_id or m.header.frame_id == global_frame),
        # validateMsg(Point)
        Rule("a finite position", lambda m: finite(_position(m))),
        # validateMsg(Quaternion), epsilon 1e-4, of the square
        Rule("a unit quaternion", lambda m: abs(_norm_squared(m) - 1.0) < 1e-4),
        # validateMsg(array), over all 36
        Rule("finite covariance elements", lambda m: finite(m.pose.covariance)),
        Rule("covariance elements up to 1e9", lambda m: not any(abs(value) > 1e9 for value in m.pose.covariance)),
        # The same: an off-diagonal element of a valid covariance may be negative, but not here.
        Rule("no negative covariance element", lambda m: not any(value < 0.0 for value in m.pose.covariance)),
        # initialPoseReceived: metres from the frame's origin, compared with size_x and size_y, which are cells
        Rule(
            "a position within the grid's number of cells",
            lambda m: not any(abs(at) > size for at, size in zip(_position(m), cells, strict=False)),
        ),
        # handleInitialPose -> pf_init draws from this; a variance of 0 puts every particle on one spot, and what is no
        # covariance has no square root.
        Rule(
            "particles that spread",
            lambda m: not np.isfinite(_particles(m)).all() or bool(np.linalg.eigvalsh(_particles(m))[0] > 0.0),
        ),
    )
