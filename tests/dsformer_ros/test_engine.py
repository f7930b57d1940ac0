import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_processes import street
from sensor_msgs.msg import CompressedImage

from dsformer_core.localization import State
from dsformer_core.localization.prior import Prior
from dsformer_core.place_map import MapError
from dsformer_core.place_map.indexes.index import INDEX_KINDS
from dsformer_ros.diagnostics import STAGES
from dsformer_ros.engine import About, Engine
from dsformer_ros.frame_queue import Frame
from dsformer_ros.parameters import Settings
from tests.synthetic import write_larger_map


@pytest.fixture(scope="module")
def engine(place_map_directory: Path) -> Engine:
    return Engine.load(Settings(map=str(place_map_directory), threads=1))


@pytest.fixture(scope="module")
def engines(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    """One for each kind of index."""
    folder = tmp_path_factory.mktemp("maps")
    maps = {kind: write_larger_map(folder / f"{kind}.map", engine.place_map, kind) for kind in INDEX_KINDS}
    return {kind: engine.with_map(place_map.directory) for kind, place_map in maps.items()}


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


def test_a_picture_that_shows_nothing_is_not_looked_for(engine: Engine) -> None:
    data = cv2.imencode(".jpg", np.full((240, 320, 3), 4, np.uint8))[1].tobytes()
    answer = engine.answer(Frame(0, CompressedImage(format="jpeg", data=data), time.monotonic()), Settings(), 0.0)
    assert answer.verdict.state is State.NO_MATCH and "the picture is dark (mean 4 of 255)" in answer.verdict.reason
    assert not answer.usable and answer.about is About.FLAW and answer.hypotheses == []
    assert answer.matches.indices.shape == (1, 0) and set(answer.seconds) == set(STAGES) - {"publish"}


def test_a_picture_that_shows_little_is_looked_for_and_that_is_said(engine: Engine) -> None:
    blurred = cv2.GaussianBlur(street(3), (0, 0), 7)
    data = cv2.imencode(".jpg", blurred[..., ::-1])[1].tobytes()
    frame = Frame(0, CompressedImage(format="jpeg", data=data), time.monotonic())
    answer = engine.answer(frame, Settings(min_probability=1.0), 0.0)
    assert answer.usable and answer.hypotheses and "the picture is blurred" in answer.verdict.reason
    sure = engine.answer(frame, Settings(min_probability=0.0), 0.0)
    assert sure.verdict.state is State.LOCALIZED and "the picture is blurred" in sure.verdict.reason


@pytest.mark.parametrize("kind", [kind for kind in INDEX_KINDS if kind != "flat"])
def test_the_kind_of_index_does_not_show(engines: dict[str, Engine], kind: str) -> None:
    assert engines[kind].place_map.index_kind == kind
    for number in (0, 5, 11):
        exact, found = (one.answer(frame(number), Settings(), 0.0) for one in (engines["flat"], engines[kind]))
        assert exact.hypotheses and exact.matches.indices[0, 0] == number
        np.testing.assert_array_equal(found.matches.indices[:, :12], exact.matches.indices[:, :12])
        np.testing.assert_allclose(found.matches.similarities, exact.matches.similarities, atol=2e-3)
        assert found.verdict.state is exact.verdict.state
        assert found.hypotheses[0].references[0] == exact.hypotheses[0].references[0] == number


def test_a_map_that_is_altered_while_it_is_searched_gives_no_answer(engines: dict[str, Engine]) -> None:
    """The worker takes it as it takes a picture that is none: the node goes on, and `~/status` says why."""
    engine = engines["binary"]
    path = engine.place_map.directory / "descriptors.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + np.float16(6_000).tobytes())
    try:
        with pytest.raises(MapError, match="`dsformer map verify --deep"):
            engine.answer(frame(3), Settings(), 0.0)
    finally:
        path.write_bytes(whole)
    assert engine.answer(frame(3), Settings(), 0.0).hypotheses
