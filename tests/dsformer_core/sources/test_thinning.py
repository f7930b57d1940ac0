import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.errors import UsageError
from dsformer_core.sources import SourceOptions, Thinning, open_source
from tests.recordings import LATITUDE, METRES_PER_DEGREE
from tests.synthetic import write_picture

NEVER = math.inf


def keep(east: list[float], heading: list[float], metres: float, degrees: float) -> list[int]:
    longitude = np.array(east) / METRES_PER_DEGREE
    latitude = np.full(len(east), LATITUDE)
    return np.flatnonzero(Thinning(metres, degrees).keep(latitude, longitude, np.array(heading))).tolist()


def test_distance_or_turning_since_the_last_that_was_kept() -> None:
    east = [0, 1, 2.1, 2.2, 4.0, 4.3]
    assert keep(east, [0] * 6, 2, NEVER) == [0, 2, 5]
    assert keep([0] * 6, [350, 355, 21, 30, 5, 340], NEVER, 30) == [0, 2, 5], "round the compass, either way"
    assert keep(east, [0, 40, 40, 40, 40, 40], 2, 30) == [0, 1, 4]
    assert keep([0] * 4, [math.nan, 0, math.nan, 180], 2, 30) == [0], "a heading that is unknown is no turn"
    assert keep([0] * 3, [0] * 3, 0, NEVER) == [0, 1, 2]
    assert keep([], [], 2, 30) == []
    half = 180 * METRES_PER_DEGREE
    assert keep([half, -half + 1, -half + 3], [0] * 3, 2, NEVER) == [0, 2], "across the date line"


@given(
    steps=st.lists(st.tuples(st.floats(-5, 5), st.floats(-60, 60)), min_size=1, max_size=30),
    metres=st.floats(0.1, 10),
    degrees=st.floats(1, 90),
)
def test_every_picture_has_a_kept_one_before_it_that_shows_nearly_the_same(
    steps: list[tuple[float, float]], metres: float, degrees: float
) -> None:
    east, heading = np.cumsum(steps, axis=0).T
    kept = keep(east.tolist(), (heading % 360).tolist(), metres, degrees)
    assert kept[0] == 0
    for row in range(len(east)):
        last = max(one for one in kept if one <= row)
        turn = abs((heading[row] - heading[last] + 180) % 360 - 180)
        assert abs(east[row] - east[last]) < metres + 1e-3 and turn < degrees + 1e-6


def test_any_source_can_be_thinned_and_each_folder_is_a_camera(tmp_path: Path) -> None:
    for camera in ("left", "right"):
        for number in range(6):
            path = tmp_path / camera / f"{number}.jpg"
            write_picture(path, latitude=LATITUDE, longitude=13.2 + number / METRES_PER_DEGREE, heading=number * 10)
    assert len(open_source(tmp_path).scan()[0]) == 12
    progress: list[int] = []
    pictures, skipped = open_source(tmp_path, options=SourceOptions(every_metres=2.9)).scan(progress.append)
    assert [picture.id for picture in pictures] == ["left/0.jpg", "left/3.jpg", "right/0.jpg", "right/3.jpg"]
    assert not skipped and sum(progress) == 12
    turned, _ = open_source(tmp_path, options=SourceOptions(every_degrees=40)).scan()
    assert [picture.id for picture in turned] == ["left/0.jpg", "left/4.jpg", "right/0.jpg", "right/4.jpg"]


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_no_distance_below_nothing(value: float) -> None:
    with pytest.raises(UsageError, match=r"--every-metres is .*: it must be 0 or more"):
        Thinning(every_metres=value)
    with pytest.raises(UsageError, match=r"--every-degrees is .*: it must be 0 or more"):
        Thinning(every_degrees=value)
