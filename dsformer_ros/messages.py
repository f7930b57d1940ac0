"""Hypotheses -> ROS messages, as pure functions. Stamps are always the picture's.

What consumers refuse is avoided here. AMCL wants a frame, a unit quaternion and covariance elements that are finite,
not negative and at most 1e9, off the diagonal as well. robot_localization takes a zero variance for 1e-6 and complains
above 1e3. navsat_transform drops a fix without a finite altitude.
"""

import json
import math
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, PoseArray, PoseWithCovariance, PoseWithCovarianceStamped, Quaternion, Vector3
from sensor_msgs.msg import NavSatFix, NavSatStatus, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from dsformer_core.geodesy import MapFrame, to_latlon
from dsformer_core.localization import Hypothesis
from dsformer_core.place_map import Matches, PlaceMap

UNKNOWN_VARIANCE = 1e3
"""Of axes that a picture says nothing about (z, roll, pitch): m^2 and rad^2, as much as robot_localization accepts."""

MOST_VARIANCE = UNKNOWN_VARIANCE
"""m^2, of a position along east or north that is published as the robot's."""

NO_ROW = 2**32 - 1
"""In `~/hypotheses_cloud`: no picture has supported this hypothesis yet, which somebody gave."""

_CLOUD_FIELDS = (
    *((name, "<f4") for name in ("x", "y", "z", "yaw", "probability", "similarity")),
    *((f"variance_{name}", "<f4") for name in ("x", "y", "yaw")),
    ("row", "<u4"),
)
_CLOUD = np.dtype(list(_CLOUD_FIELDS))
_POINT_FIELD = {"<f4": PointField.FLOAT32, "<u4": PointField.UINT32}

_MARKER_LIFETIME = Duration(sec=10)


def pose(hypothesis: Hypothesis, frame: MapFrame) -> Pose:
    """A hypothesis in the map frame. An unknown yaw becomes the identity: its variance says that it means nothing."""
    x, y = frame.to_local(hypothesis.utm)
    yaw = _known_yaw(hypothesis)
    return Pose(
        position=Point(x=float(x), y=float(y), z=_height(hypothesis, frame)),
        orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)),
    )


def pose_with_covariance(hypothesis: Hypothesis, frame: MapFrame, header: Header) -> PoseWithCovarianceStamped:
    """The message of `~/pose`: 6x6 covariance over x, y, z, roll, pitch, yaw (REP-103), diagonal."""
    east, north, yaw = np.diag(hypothesis.covariance)
    diagonal = np.array([east, north, UNKNOWN_VARIANCE, UNKNOWN_VARIANCE, UNKNOWN_VARIANCE, yaw], np.float64)
    covariance = PoseWithCovariance(pose=pose(hypothesis, frame), covariance=np.diag(diagonal).ravel())
    return PoseWithCovarianceStamped(header=header, pose=covariance)


def pose_array(hypotheses: Sequence[Hypothesis], frame: MapFrame, header: Header) -> PoseArray:
    """The message of `~/hypotheses`: every hypothesis, best first."""
    return PoseArray(header=header, poses=[pose(hypothesis, frame) for hypothesis in hypotheses])


def cloud(hypotheses: Sequence[Hypothesis], frame: MapFrame, header: Header) -> PointCloud2:
    """The message of `~/hypotheses_cloud`: one point per hypothesis, best first; yaw is NaN where unknown."""
    points = np.zeros(len(hypotheses), _CLOUD)
    for point, hypothesis in zip(points, hypotheses, strict=True):
        point["x"], point["y"] = frame.to_local(hypothesis.utm)
        point["z"] = _height(hypothesis, frame)
        for name in ("yaw", "probability", "similarity"):
            point[name] = getattr(hypothesis, name)
        point["variance_x"], point["variance_y"], point["variance_yaw"] = np.diag(hypothesis.covariance)
        point["row"] = hypothesis.references[0] if len(hypothesis.references) else NO_ROW
    message = PointCloud2(header=header, height=1, width=len(points), point_step=_CLOUD.itemsize, is_dense=True)
    message.row_step = message.point_step * message.width
    message.fields = [
        PointField(name=name, offset=4 * number, datatype=_POINT_FIELD[kind], count=1)
        for number, (name, kind) in enumerate(_CLOUD_FIELDS)
    ]
    message.data = points.tobytes()
    return message


def matches(found: Matches, place_map: PlaceMap, header: Header, camera: str) -> String:
    """The message of `~/matches`: JSON that a feature-matching localizer pairs pictures from, best reference first."""
    rows, similarities = np.atleast_1d(found.indices).ravel(), np.atleast_1d(found.similarities).ravel()
    content = {
        "stamp": {"sec": header.stamp.sec, "nanosec": header.stamp.nanosec},
        "camera": camera,
        "map": place_map.name,
        "matches": [
            {
                "id": place_map.ids[row],
                "image": place_map.images[row],
                "row": int(row),
                "similarity": round(float(similarity), 6),
            }
            for row, similarity in zip(rows, similarities, strict=True)
        ],
    }
    return String(data=json.dumps(content, ensure_ascii=False))


def fix(hypothesis: Hypothesis, frame: MapFrame, stamp: Time, base_frame: str) -> NavSatFix:
    """The message of `~/fix`: the hypothesis in WGS-84. An unknown altitude is the datum's."""
    latitude, longitude = to_latlon(hypothesis.utm, frame.zone)
    altitude = hypothesis.altitude if math.isfinite(hypothesis.altitude) else frame.datum.altitude
    east, north, _ = np.diag(hypothesis.covariance)
    message = NavSatFix(header=Header(stamp=stamp, frame_id=base_frame))
    message.status = NavSatStatus(status=NavSatStatus.STATUS_FIX, service=NavSatStatus.SERVICE_GPS)
    message.latitude, message.longitude, message.altitude = float(latitude), float(longitude), float(altitude)
    message.position_covariance = np.diag(np.array([east, north, UNKNOWN_VARIANCE], np.float64)).ravel()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    return message


def markers(hypotheses: Sequence[Hypothesis], frame: MapFrame, header: Header) -> MarkerArray:
    """The message of `~/markers`: per hypothesis an arrow, its one-sigma ellipse and its probability.

    Red is improbable, green is certain. A hypothesis without a yaw has a sphere for an arrow.
    """
    array = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for number, hypothesis in enumerate(hypotheses):
        where = pose(hypothesis, frame)
        certain = float(hypothesis.probability)
        knows_yaw = math.isfinite(hypothesis.yaw)
        east, north, _ = np.sqrt(np.diag(hypothesis.covariance))
        colour = ColorRGBA(r=1.0 - certain, g=certain, b=0.1, a=0.9)
        shapes = {
            "direction": (
                Marker.ARROW if knows_yaw else Marker.SPHERE,
                where,
                (3.0, 0.6, 0.6) if knows_yaw else (1.5,) * 3,
            ),
            # A flat cylinder without rotation: the published covariance lies along the map's axes.
            "sigma": (Marker.CYLINDER, Pose(position=where.position), (2 * float(east), 2 * float(north), 0.05)),
            "probability": (Marker.TEXT_VIEW_FACING, _above(where), (0.0, 0.0, 1.5)),
        }
        for namespace, (kind, at, (length, width, height)) in shapes.items():
            marker = Marker(header=header, ns=namespace, id=number, type=kind, pose=at, color=colour)
            marker.scale = Vector3(x=length, y=width, z=height)
            marker.lifetime = _MARKER_LIFETIME
            array.markers.append(marker)
        array.markers[-2].color = ColorRGBA(r=colour.r, g=colour.g, b=colour.b, a=0.25)
        array.markers[-1].text = f"{100 * certain:.0f} %"
    return array


def _known_yaw(hypothesis: Hypothesis) -> float:
    return float(hypothesis.yaw) if math.isfinite(hypothesis.yaw) else 0.0


def _height(hypothesis: Hypothesis, frame: MapFrame) -> float:
    return float(hypothesis.altitude) - frame.datum.altitude if math.isfinite(hypothesis.altitude) else 0.0


def _above(where: Pose) -> Pose:
    return Pose(position=Point(x=where.position.x, y=where.position.y, z=where.position.z + 2.0))
