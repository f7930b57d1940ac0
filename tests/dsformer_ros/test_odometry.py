import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry

from dsformer_core.errors import DsformerError
from dsformer_ros.odometry import sample_of

anything = st.floats(allow_nan=True, allow_infinity=True)


def odometry(yaw: float = 0.5) -> Odometry:
    message = Odometry(child_frame_id="base_link")
    message.header.frame_id, message.header.stamp = "odom", Time(sec=12, nanosec=500_000_000)
    message.pose.pose.position.x, message.pose.pose.position.y = 3.0, -4.0
    message.pose.pose.orientation = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return message


def test_a_message_is_a_pose_at_a_time_in_a_frame() -> None:
    message = odometry()
    message.pose.covariance = np.diag([1.0, 2, 3, 4, 5, 6]).ravel()
    sample = sample_of(message)
    assert (sample.stamp, sample.frame, sample.pose.x, sample.pose.y) == (12.5, "odom", 3.0, -4.0)
    assert sample.pose.yaw == pytest.approx(0.5)
    assert sample.covariance is not None and np.diag(sample.covariance).tolist() == [1, 2, 6]


@pytest.mark.parametrize("value", [0.0, math.nan, -1.0])
def test_a_covariance_that_says_nothing_is_none(value: float) -> None:
    message = odometry()
    message.pose.covariance = np.full(36, value)
    assert sample_of(message).covariance is None


@given(st.lists(anything, min_size=7, max_size=7), st.lists(anything, min_size=36, max_size=36))
def test_whatever_a_message_holds_it_is_a_pose_or_refused(pose: list[float], covariance: list[float]) -> None:
    message = odometry()
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w = pose
    message.pose.covariance = covariance
    try:
        sample = sample_of(message)
    except DsformerError:
        return
    assert math.isfinite(sample.pose.x) and math.isfinite(sample.pose.y) and abs(sample.pose.yaw) <= math.pi
    assert sample.covariance is None or np.isfinite(sample.covariance).all()
