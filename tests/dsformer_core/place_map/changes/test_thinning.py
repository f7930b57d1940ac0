"""Thinning: what goes has somebody who stands for it, and what looks otherwise stays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.errors import UsageError
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.changes.thinning import Thinning, rows_to_keep, usual_similarity
from tests.drive_maps import drive_map
from tests.synthetic import ORIGIN, unit, write_map


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return drive_map(tmp_path_factory.mktemp("maps") / "town.map", "first", 150, thumbnails=False)


@settings(max_examples=25, deadline=None)
@given(metres=st.floats(0.5, 60), degrees=st.floats(0, 180), similar=st.floats(-0.5, 0.9))
def test_whoever_goes_has_one_who_stands_for_it(
    crowded: PlaceMap, metres: float, degrees: float, similar: float
) -> None:
    kept = rows_to_keep(crowded, Thinning(metres, degrees, similar))

    utm, yaw = crowded.utm, crowded.yaw
    near = np.hypot(*(utm[:, None] - utm).transpose(2, 0, 1)) <= metres
    turned = np.abs(np.remainder(yaw[:, None] - yaw + np.pi, 2 * np.pi) - np.pi)
    same = ~(turned > np.radians(degrees))
    descriptors = np.asarray(crowded.descriptors, np.float32)
    stands_for = near & same & (np.einsum("nd,md->nm", descriptors, descriptors) >= similar - 1e-6)
    gone = np.setdiff1d(np.arange(crowded.count), kept)
    assert all(stands_for[kept[kept < row], row].any() for row in gone)
    strictly = near & same & (descriptors @ descriptors.T >= similar + 1e-6)
    assert not (strictly[np.ix_(kept, kept)] & ~np.eye(len(kept), dtype=bool)).any()


def test_night_stays_beside_day(tmp_path: Path) -> None:
    """Thirty spots by day, twice, and once more by night, in which they have nothing of their day's looks."""
    random = np.random.default_rng(0)
    places = unit(random.normal(size=(30, 64)))
    night = random.normal(size=(30, 64))
    night = unit(night - np.einsum("nd,nd->n", night, places)[:, None] * places)

    def seen(looks: np.ndarray) -> np.ndarray:
        return unit(looks + 0.03 * random.normal(size=looks.shape))

    utm = ORIGIN + np.column_stack([np.zeros(30), np.arange(30) * 60.0])
    descriptors = np.concatenate([seen(places), seen(places), seen(night)])
    place_map = write_map(tmp_path / "a.map", descriptors, np.tile(utm, (3, 1)), np.zeros(90))
    kept = rows_to_keep(place_map, Thinning(5.0))
    np.testing.assert_array_equal(kept, [*range(30), *range(60, 90)])
    np.testing.assert_array_equal(rows_to_keep(place_map, Thinning(5.0, similar=-1.0)), np.arange(30))
    assert place_map.calibration.impostor_mean < usual_similarity(place_map) <= 0.99


def test_an_unknown_heading_agrees_with_any(tmp_path: Path) -> None:
    same = np.tile(unit(np.ones((1, 16))), (3, 1))
    yaw = np.array([0.0, np.pi, np.nan])
    place_map = write_map(tmp_path / "a.map", same, np.tile(ORIGIN, (3, 1)), yaw)
    np.testing.assert_array_equal(rows_to_keep(place_map, Thinning(1.0, 30.0, 0.9)), [0, 1])


@pytest.mark.parametrize("numbers", [(0.0,), (float("nan"),), (5.0, -1.0), (5.0, 181.0), (5.0, 30.0, 1.5)])
def test_numbers_out_of_range_are_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        Thinning(*numbers)
