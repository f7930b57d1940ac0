"""What people see of an answer: the picture, its references, and which way each looks."""

import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_processes import street
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from dsformer_ros.engine import Engine
from dsformer_ros.frame_queue import Frame
from dsformer_ros.match_image import match_image
from dsformer_ros.parameters import Settings

TILE_WIDTH, COMPASS = 320, 44


@pytest.fixture(scope="module")
def engine(place_map_directory: Path) -> Engine:
    return Engine.load(Settings(map=str(place_map_directory), threads=1))


def compasses(engine: Engine, camera_yaw: float) -> list[np.ndarray]:
    """The lower right corner of every tile, grey."""
    data = cv2.imencode(".jpg", street(3)[..., ::-1])[1].tobytes()
    frame = Frame(0, CompressedImage(format="jpeg", data=data), time.monotonic())
    answer = engine.answer(frame, Settings(), camera_yaw)
    message = match_image(answer, engine.place_map, Header(frame_id="front"))
    picture = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    tiles = np.split(picture, picture.shape[1] // TILE_WIDTH, axis=1)
    return [tile[-COMPASS:, -COMPASS:] for tile in tiles]


def direction(compass: np.ndarray) -> float:
    """Yaw of the arrow, radians: its head is its heavier end."""
    middle = COMPASS / 2
    rows, columns = np.indices(compass.shape)
    white = (compass > 128) & (np.hypot(rows - middle, columns - middle) < 16)
    return math.atan2(middle - rows[white].mean(), columns[white].mean() - middle)


@pytest.mark.parametrize("camera_yaw", [0.0, math.pi / 2])
def test_arrows_show_where_query_and_references_look(engine: Engine, camera_yaw: float) -> None:
    """However the camera is mounted: what it looks at is the street of its references."""
    query, *references = compasses(engine, camera_yaw)
    wanted = float(engine.place_map.yaw[3])
    assert len(references) == 3
    for compass in (query, *references):
        assert math.cos(direction(compass) - wanted) > 0.9


def test_where_the_direction_is_unknown_there_is_no_arrow(engine: Engine) -> None:
    with_arrow, without = compasses(engine, 0.0)[0], compasses(engine, math.nan)[0]
    assert not np.allclose(with_arrow, without, atol=40)
