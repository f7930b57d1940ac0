import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_processes import street
from sensor_msgs.msg import CompressedImage

from dsformer_ros.engine import Engine
from dsformer_ros.frame_queue import Frame
from dsformer_ros.parameters import Settings


@pytest.fixture(scope="module")
def engine(place_map_directory: Path) -> Engine:
    return Engine.load(Settings(map=str(place_map_directory), threads=1))


def frame(number: int) -> Frame:
    data = cv2.imencode(".jpg", street(number)[..., ::-1])[1].tobytes()
    return Frame(0, CompressedImage(format="jpeg", data=data), time.monotonic())


def test_a_camera_that_looks_back_sees_what_lies_behind_the_robot(engine: Engine) -> None:
    ahead, back = (engine.answer(frame(3), Settings(), yaw).hypotheses[0] for yaw in (0.0, math.pi))
    assert math.cos(ahead.yaw - back.yaw) == pytest.approx(-1)


def test_a_camera_of_unknown_direction_tells_where_but_not_which_way(engine: Engine) -> None:
    known, unknown = (engine.answer(frame(3), Settings(), yaw).hypotheses for yaw in (0.0, math.nan))
    assert len(known) == len(unknown) > 0
    for with_yaw, without in zip(known, unknown, strict=True):
        assert math.isfinite(with_yaw.yaw) and math.isnan(without.yaw)
        np.testing.assert_array_equal(without.utm, with_yaw.utm)
        np.testing.assert_array_equal(without.covariance[:2, :2], with_yaw.covariance[:2, :2])
        assert without.covariance[2].tolist() == [0, 0, math.pi**2]
        assert without.probability == with_yaw.probability
