import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_processes import street
from sensor_msgs.msg import CompressedImage

from dsformer_core.extractor import Extractor
from dsformer_core.localization import State
from dsformer_core.localization.prior import Prior
from dsformer_core.place_map import build_place_map
from dsformer_core.sources import open_source
from dsformer_ros.engine import Engine
from dsformer_ros.frame_queue import Frame
from dsformer_ros.parameters import Settings


@pytest.fixture(scope="module")
def engine(place_map_directory: Path) -> Engine:
    return Engine.load(Settings(map=str(place_map_directory), threads=1))


@pytest.fixture(scope="module")
def engine_of_codes(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    directory = tmp_path_factory.mktemp("maps") / "codes.map"
    build_place_map(open_source(drive / "drive.csv"), Extractor("gem_mobilenet_v2"), directory, index="binary")
    return Engine.load(Settings(map=str(directory), threads=1))


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


def test_what_is_known_beforehand_restricts_and_is_said(engine: Engine) -> None:
    place_map = engine.place_map
    prior = Prior.at_latlon(place_map, place_map.latitude[8], place_map.longitude[8], 50.0, "/gps")
    answer = engine.answer(frame(3), Settings(), 0.0, prior)
    assert sorted(answer.matches.indices[0].tolist()) == [6, 7, 8, 9, 10]
    assert answer.verdict.reason.endswith("; looked within 50 m of /gps")
    nowhere = engine.answer(frame(3), Settings(), 0.0, Prior(prior.utm + 5_000, 50.0, "/gps"))
    assert nowhere.hypotheses == [] and nowhere.verdict.state is State.NO_MATCH


def test_the_kind_of_index_does_not_show(engine: Engine, engine_of_codes: Engine) -> None:
    """A dozen references are all candidates; of a larger map `benchmarks/two_stage_search.py` says what is missed."""
    for number in (0, 5, 11):
        exact, found = (one.answer(frame(number), Settings(), 0.0) for one in (engine, engine_of_codes))
        np.testing.assert_array_equal(found.matches.indices, exact.matches.indices)
        np.testing.assert_allclose(found.matches.similarities, exact.matches.similarities, atol=1e-5)
        assert found.verdict == exact.verdict
        assert [one.references.tolist() for one in found.hypotheses] == [
            one.references.tolist() for one in exact.hypotheses
        ]
    again = engine_of_codes.with_map(engine_of_codes.place_map.directory)
    assert again.place_map.index_kind == "binary"
