"""robot_localization's navsat_transform: the topic `gps/fix`.

Read in robot_localization, branch ros2 of March 2024: `gpsFixCallback`, `setTransformGps`, `computeTransform` and
`prepareGpsOdometry` of src/navsat_transform.cpp.
"""

from collections.abc import Sequence

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import NavSatFix, NavSatStatus

from dsformer_core.geodesy import UtmZone, grid_convergence, to_utm
from tests.dsformer_ros.consumers.rules import Rule, finite

TOPIC, TYPE = "gps/fix", NavSatFix
# SensorDataQoS, keep-last 1.
QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def _covariance(message: NavSatFix) -> np.ndarray:
    return np.asarray(message.position_covariance).reshape(3, 3)


RULES = (
    # gpsFixCallback: dropped
    Rule("a fix", lambda m: m.status.status != NavSatStatus.STATUS_NO_FIX),
    Rule("a latitude and a longitude", lambda m: not np.isnan([m.latitude, m.longitude]).any()),
    # Dropped as well, though few need the altitude.
    Rule("an altitude", lambda m: not np.isnan(m.altitude)),
    # GeographicLib throws, which ends the node.
    Rule("a place on Earth", lambda m: not abs(m.latitude) > 90.0 and not np.isinf([m.latitude, m.longitude]).any()),
    Rule("an altitude that is not infinite", lambda m: not np.isinf(m.altitude)),
    # gpsFixCallback: logged as an error for every message, and the antenna is taken to be at base_link
    Rule("a frame_id", lambda m: bool(m.header.frame_id)),
    # Copied as it is, whatever the type says; the filter behind it does as with any variance.
    Rule("finite covariances", lambda m: finite(m.position_covariance)),
    Rule("variances above 0", lambda m: not (np.diag(_covariance(m)) <= 0.0).any()),
    Rule("a symmetric covariance", lambda m: bool(np.array_equal(_covariance(m), _covariance(m).T, equal_nan=True))),
    # For people and for other consumers: 0 means that the covariance says nothing.
    Rule("a known kind of covariance", lambda m: m.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN),
)


def gps_odometry(datum: Sequence[float], fix: NavSatFix) -> np.ndarray:
    """(2,) the position on `odometry/gps`, for a datum of latitude, longitude and yaw, which is the IMU's there.

    With wait_for_datum the robot's pose at the datum is the world's origin, magnetic_declination_radians and yaw_offset
    are 0, and use_local_cartesian is false.
    """
    latitude, longitude, yaw = datum
    # GeographicLib chooses the zone, and its gamma is the angle from true north clockwise to grid north.
    zone = UtmZone.of(latitude, longitude)
    turned = yaw + float(grid_convergence(latitude, longitude, zone))
    away = (to_utm(fix.latitude, fix.longitude, zone) - to_utm(latitude, longitude, zone)).reshape(2)
    # cartesian_world_transform is the inverse of the datum's pose in the grid, turned by that.
    cosine, sine = np.cos(turned), np.sin(turned)
    return np.array([[cosine, sine], [-sine, cosine]]) @ away
