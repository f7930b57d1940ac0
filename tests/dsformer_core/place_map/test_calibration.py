"""The probability that comes out must be worth what it says, and a map that cannot tell must say little."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.errors import DsformerError
from dsformer_core.place_map import SimilarityCalibration, fit_calibration
from tests.synthetic import ORIGIN, unit


def town(count: int, *, aliased: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A road with pictures every 4 m; where aliased, every second hundred metres is a copy of another hundred."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(count, 256))
    if aliased:
        steps[count // 2 :] = steps[: count - count // 2]
    views = np.array([sum(0.85**lag * steps[max(0, row - lag)] for lag in range(15)) for row in range(count)])
    views += 0.3 * random.normal(size=views.shape)
    return unit(views), ORIGIN + np.column_stack([4.0 * np.arange(count), np.zeros(count)]), np.zeros(count)


def test_the_same_map_gives_the_same_calibration() -> None:
    assert fit_calibration(*town(300, aliased=True)) == fit_calibration(*town(300, aliased=True))


def test_probabilities_are_worth_what_they_say() -> None:
    """Queries from between the references of the map, half of them with their place taken out of it."""
    descriptors, utm, yaw = town(600, aliased=False)
    calibration = fit_calibration(descriptors, utm, yaw)
    random = np.random.default_rng(3)
    said, right = [], []
    for row in random.choice(600, 300, replace=False):
        distance = np.abs(utm[:, 0] - utm[row, 0])
        hidden = distance <= (60.0 if random.random() < 0.5 else random.uniform(0, 20))
        similarity = np.where(hidden, -np.inf, descriptors @ descriptors[row])
        best = int(np.argmax(similarity))
        elsewhere = similarity[np.abs(utm[:, 0] - utm[best, 0]) > 25.0].max()
        said.append(calibration.probability(float(similarity[best]), float(similarity[best] - elsewhere)))
        right.append(distance[best] <= 25.0)
    said_array, right_array = np.array(said), np.array(right)
    bins = np.digitize(said_array, np.linspace(0, 1, 6)[1:-1])
    error = sum(
        (bins == one).mean() * abs(said_array[bins == one].mean() - right_array[bins == one].mean())
        for one in np.unique(bins)
    )
    assert error < 0.1
    assert said_array[right_array].mean() > said_array[~right_array].mean() + 0.3


@settings(max_examples=50, deadline=None)
@given(similarity=st.floats(-1, 1), more=st.floats(0, 0.5), margin=st.floats(0, 1), wider=st.floats(0, 0.5))
def test_more_similarity_and_more_margin_never_lower_it(
    similarity: float, more: float, margin: float, wider: float
) -> None:
    calibration = CALIBRATION
    here = calibration.probability(similarity, margin)
    assert 0 <= here < 1
    assert calibration.probability(similarity + more, margin) >= here - 1e-12
    assert calibration.probability(similarity, margin + wider) >= here - 1e-12


CALIBRATION = fit_calibration(*town(200, aliased=True))


@pytest.mark.parametrize("count", [1, 2, 5, 19])
def test_a_small_map_promises_little(count: int) -> None:
    calibration = fit_calibration(*town(count, aliased=False))
    assert all(math.isfinite(value) for value in calibration.to_dict().values())
    assert calibration.ceiling <= 1 - 1 / (count + 2)
    assert calibration.probability(1.0, 1.0) <= calibration.ceiling


def test_scattered_pictures_and_identical_ones_do_not_break_it() -> None:
    random = np.random.default_rng(0)
    scattered = ORIGIN + random.uniform(-1e4, 1e4, (30, 2))
    same = np.tile(unit(np.ones((1, 64))), (30, 1))
    for descriptors in (unit(random.normal(size=(30, 64))), same):
        for utm in (scattered, np.repeat(ORIGIN[None], 30, axis=0)):
            calibration = fit_calibration(descriptors, utm, np.full(30, np.nan))
            assert 0 <= calibration.probability(0.9, 0.1) < 1


def test_it_survives_the_map_file() -> None:
    assert SimilarityCalibration.from_dict(CALIBRATION.to_dict()) == CALIBRATION


@pytest.mark.parametrize(
    "change",
    [{"bias": float("nan")}, {"ceiling": 1.5}, {"impostor_spread": 0.0}, {"margin_weight": -1.0}, {"bias": "x"}],
)
def test_nonsense_is_refused(change: dict) -> None:
    with pytest.raises(DsformerError, match="calibration"):
        SimilarityCalibration.from_dict(CALIBRATION.to_dict() | change)
    with pytest.raises(DsformerError, match="expected the values"):
        SimilarityCalibration.from_dict({"bias": 1.0})
