"""Hypotheses become messages that say the same. What consumers make of them: `consumers/`."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from sensor_msgs.msg import PointField
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from dsformer_core.localization import Hypothesis
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_ros import messages
from tests.dsformer_ros.consumers.hypotheses import FRAME, hypotheses

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="map")


@given(hypotheses())
def test_the_covariance_is_the_hypothesis_own(hypothesis: Hypothesis) -> None:
    message = messages.pose_with_covariance(hypothesis, FRAME, HEADER)
    covariance = np.asarray(message.pose.covariance).reshape(6, 6)
    assert not np.any(covariance - np.diag(np.diag(covariance))), "published covariance is diagonal"
    np.testing.assert_allclose(np.diag(covariance)[[0, 1, 5]], np.diag(hypothesis.covariance))
    assert (np.diag(covariance)[2:5] == messages.UNKNOWN_VARIANCE).all()
    assert message.header == HEADER


@given(hypotheses())
def test_the_pose_is_the_hypothesis(hypothesis: Hypothesis) -> None:
    pose = messages.pose(hypothesis, FRAME)
    np.testing.assert_allclose(FRAME.to_utm([pose.position.x, pose.position.y]), hypothesis.utm, atol=1e-6)
    if math.isfinite(hypothesis.yaw):
        yaw = 2 * math.atan2(pose.orientation.z, pose.orientation.w)
        assert math.isclose(math.cos(yaw - hypothesis.yaw), 1, abs_tol=1e-12)
    else:
        assert pose.orientation.w == 1
    known = math.isfinite(hypothesis.altitude)
    assert pose.position.z == pytest.approx(hypothesis.altitude - 40 if known else 0)


@given(hypotheses())
def test_the_fix_has_the_hypothesis_covariance(hypothesis: Hypothesis) -> None:
    message = messages.fix(hypothesis, FRAME, HEADER.stamp, "base_link")
    assert (message.header.frame_id, message.header.stamp) == ("base_link", HEADER.stamp)
    covariance = np.asarray(message.position_covariance).reshape(3, 3)
    np.testing.assert_allclose(np.diag(covariance)[:2], np.diag(hypothesis.covariance)[:2])


def some(count: int) -> list[Hypothesis]:
    return [
        Hypothesis(
            utm=FRAME.to_utm([10.0 * number, -5.0]),
            altitude=math.nan,
            yaw=math.nan if number == 1 else 0.5,
            covariance=np.diag([4.0, 9.0, 0.25]),
            probability=0.5 / (number + 1),
            similarity=0.9,
            references=np.array([number + 7, 3]),
        )
        for number in range(count)
    ]


def test_the_fix_lies_where_the_pose_does() -> None:
    here = Hypothesis(FRAME.origin, math.nan, 0.0, np.eye(3), 0.9, 0.9, np.array([0]))
    message = messages.fix(here, FRAME, HEADER.stamp, "base_link")
    assert (message.latitude, message.longitude, message.altitude) == pytest.approx((55.7, 13.2, 40.0), abs=1e-9)


def test_a_hypothesis_that_somebody_set_has_no_row() -> None:
    """No picture has supported it yet."""
    (told,) = some(1)
    told = replace(told, references=np.empty(0, np.int64), similarity=math.nan, altitude=math.nan)
    message = messages.cloud([told], FRAME, HEADER)
    assert np.frombuffer(bytes(message.data), "<u4")[-1] == messages.NO_ROW == 2**32 - 1
    assert messages.markers([told], FRAME, HEADER).markers
    assert messages.pose_with_covariance(told, FRAME, HEADER).pose.pose.position.z == 0.0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_cloud_has_one_point_per_hypothesis(count: int) -> None:
    message = messages.cloud(some(count), FRAME, HEADER)
    kinds = {PointField.FLOAT32: "<f4", PointField.UINT32: "<u4"}
    dtype = np.dtype({
        "names": [field.name for field in message.fields],
        "formats": [kinds[field.datatype] for field in message.fields],
        "offsets": [field.offset for field in message.fields],
        "itemsize": message.point_step,
    })  # fmt: skip
    points = np.frombuffer(bytes(message.data), dtype)
    assert (message.height, message.width, message.row_step) == (1, count, count * message.point_step)
    assert dtype.names is not None and set(dtype.names) == {
        "x", "y", "z", "yaw", "probability", "similarity", "variance_x", "variance_y", "variance_yaw", "row"
    }  # fmt: skip
    np.testing.assert_allclose(points["x"], [10.0 * number for number in range(count)], atol=1e-3)
    np.testing.assert_array_equal(points["row"], np.arange(count) + 7)
    np.testing.assert_allclose(points["variance_y"], 9.0)
    if count == 3:
        assert np.isnan(points["yaw"][1]) and points["yaw"][0] == 0.5


def test_the_array_has_the_best_first() -> None:
    array = messages.pose_array(some(3), FRAME, HEADER)
    assert [round(pose.position.x) for pose in array.poses] == [0, 10, 20] and array.header == HEADER


def test_markers_replace_the_previous_ones_and_are_drawable() -> None:
    first, *rest = messages.markers(some(3), FRAME, HEADER).markers
    assert first.action == Marker.DELETEALL
    assert len({(marker.ns, marker.id) for marker in rest}) == len(rest) == 9
    for marker in rest:
        assert marker.header.frame_id == "map" and marker.color.a > 0 and marker.scale.z > 0


def test_matches_name_their_references(place_map_directory: object) -> None:
    place_map = PlaceMap.open(str(place_map_directory))
    found = Matches(np.array([[4, 2]]), np.array([[0.9, 0.8]], np.float32))
    content = json.loads(messages.matches(found, place_map, HEADER, "/front/image").data)
    assert content["stamp"] == {"sec": 12, "nanosec": 34}
    assert (content["camera"], content["map"]) == ("/front/image", "drive")
    assert [match["id"] for match in content["matches"]] == [place_map.ids[4], place_map.ids[2]]
    assert [match["row"] for match in content["matches"]] == [4, 2]
    assert content["matches"][0]["similarity"] == pytest.approx(0.9, abs=1e-6)
