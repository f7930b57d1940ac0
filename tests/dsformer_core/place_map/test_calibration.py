"""The probability that comes out must be worth what it says, and a map that cannot tell must say little."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.errors import DsformerError
from dsformer_core.localization import LocalizationConfig
from dsformer_core.place_map import SimilarityCalibration, fit_calibration
from dsformer_core.place_map.calibration import RIGHT_PLACE_RADIUS
from tests.synthetic import ORIGIN, unit

MIN_PROBABILITY = LocalizationConfig().min_probability


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


DIMENSION = 256
COMMON, LIGHT = unit(np.random.default_rng(99).normal(size=(2, DIMENSION)))
CONDITIONS = {"another day": (0.3, 0.0), "traffic": (0.6, 0.3), "dusk": (0.9, 0.6), "night": (1.3, 1.0)}
"""Of a later drive: noise of each picture, and how far its light moves all of them the same way."""


def street(seed: int, length: float, *, kept: float = 0.93) -> np.ndarray:
    """What is to be seen every 2 m of a street: unit vectors that have `kept` in common with the next."""
    steps = np.random.default_rng(seed).normal(size=(int(length / 2) + 40, DIMENSION))
    return unit(np.array([sum(kept**lag * steps[row - lag] for lag in range(40)) for row in range(40, len(steps))]))


def describe(views: np.ndarray, *, seed: int, noise: float, light: float) -> np.ndarray:
    """Descriptors of views under a condition; all share a part, as those of real networks do."""
    clutter = np.random.default_rng(seed).normal(size=views.shape) / math.sqrt(DIMENSION)
    return unit(2.0 * COMMON + views + light * LIGHT + noise * clutter)


def ask(
    calibration: SimilarityCalibration, references: np.ndarray, at: np.ndarray, queries: np.ndarray, true: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each query's best match, and whether that is right."""
    similarity = queries @ references.T
    best = similarity.argmax(axis=1)
    rivals = np.where(np.abs(at - at[best, None]) > RIGHT_PLACE_RADIUS, similarity, -np.inf).max(axis=1)
    top = similarity.max(axis=1)
    said = [calibration.probability(float(one), float(one - rival)) for one, rival in zip(top, rivals, strict=True)]
    return np.array(said), np.abs(at[best] - true) <= RIGHT_PLACE_RADIUS


def log_loss(said: np.ndarray, right: np.ndarray) -> float:
    return float(-np.log(np.where(right, said, 1 - said)).mean())


@pytest.mark.parametrize(("count", "step"), [(200, 4), (90, 8), (25, 20)])
def test_later_drives_are_found_and_other_streets_are_not(count: int, step: int) -> None:
    """Between the references and in other light: what a robot asks, and what a map of one drive cannot play."""
    views, at = street(0, count * step), step * np.arange(count, dtype=float)
    references = describe(views[:: step // 2][:count], seed=1, noise=0.3, light=0.0)
    utm = ORIGIN + np.column_stack([at, np.zeros(count)])
    calibration = fit_calibration(references, utm, np.zeros(count))
    rows, false_fixes = np.arange(1, len(views) - 1, 5), 0
    for seed, (condition, (noise, light)) in enumerate(CONDITIONS.items(), start=2):
        queries = describe(views[rows], seed=seed, noise=noise, light=light)
        said, right = ask(calibration, references, at, queries, 2.0 * rows)
        assert right.mean() > 0.98, condition
        assert (said >= MIN_PROBABILITY).mean() > 0.85, condition
        assert not (said[~right] >= MIN_PROBABILITY).any(), condition
        assert log_loss(said, right) < 0.3, condition

        strangers = describe(street(50 + seed, count * step)[::5], seed=seed, noise=noise, light=light)
        said, right = ask(calibration, references, at, strangers, np.full(len(strangers), np.inf))
        false_fixes += int((said >= MIN_PROBABILITY).sum())
        assert log_loss(said, right) < 0.35, condition
    assert false_fixes <= 0.03 * len(CONDITIONS) * len(rows)


def test_another_world_is_told_by_its_similarity_alone() -> None:
    """A picture that has nothing in common with the map has some best match, and by some margin."""
    views, at = street(0, 800), 4.0 * np.arange(200)
    references = describe(views[::2], seed=1, noise=0.3, light=0.0)
    calibration = fit_calibration(references, ORIGIN + np.column_stack([at, np.zeros(200)]), np.zeros(200))
    strangers = unit(np.random.default_rng(3).normal(size=(100, DIMENSION)))
    said, _ = ask(calibration, references, at, strangers, np.full(100, np.inf))
    assert said.max() < 0.05


def test_a_stop_in_the_drive_changes_nothing() -> None:
    """150 pictures of one red light are one witness, not three quarters of the town's."""
    views, at = street(0, 400), 4.0 * np.arange(100)
    references = describe(views[::2], seed=1, noise=0.3, light=0.0)
    utm = ORIGIN + np.column_stack([at, np.zeros(100)])
    random = np.random.default_rng(4)
    waiting = describe(np.repeat(views[100:101], 150, axis=0), seed=5, noise=0.05, light=0.0)
    moving = fit_calibration(references, utm, np.zeros(100))
    stopping = fit_calibration(
        np.vstack([references, waiting]), np.vstack([utm, utm[50] + random.normal(0, 0.05, (150, 2))]), np.zeros(250)
    )
    assert stopping.mapped_queries == pytest.approx(moving.mapped_queries, abs=2)
    assert stopping.impostor_mean == pytest.approx(moving.impostor_mean, abs=0.01)
    assert stopping.impostor_spread == pytest.approx(moving.impostor_spread, rel=0.1)
    assert stopping.margin_weight == pytest.approx(moving.margin_weight, rel=0.2)


def test_a_street_that_changes_within_ten_metres_is_known_by_its_nearest_references() -> None:
    """References every 4 m do show every query, though 15 m away nothing looks the same any more."""
    views, at = street(0, 800, kept=0.75), 4.0 * np.arange(200)
    references = describe(views[::2], seed=1, noise=0.3, light=0.0)
    calibration = fit_calibration(references, ORIGIN + np.column_stack([at, np.zeros(200)]), np.zeros(200))
    rows = np.arange(1, 400, 4)
    queries = describe(views[rows], seed=2, noise=1.3, light=1.0)
    said, right = ask(calibration, references, at, queries, 2.0 * rows)
    assert (said >= MIN_PROBABILITY).mean() > 0.9
    assert log_loss(said, right) < 0.2


def test_many_pictures_of_few_places_are_few_witnesses() -> None:
    """Sixty metres of street are two or three places, however many pictures were taken of them."""
    views = street(0, 130)[:65]
    utm = ORIGIN + np.column_stack([2.0 * np.arange(65), np.zeros(65)])
    references = describe(views, seed=1, noise=0.3, light=0.0)
    dense = fit_calibration(references, utm, np.zeros(65))
    sparse = fit_calibration(references[::4], utm[::4], np.zeros(17))
    assert dense.bias == pytest.approx(sparse.bias, abs=0.5)


def test_the_unit_of_a_small_map_is_its_own() -> None:
    """Twenty references have too few impostors to tell their spread, but 150 pairs."""
    views = street(0, 400)[::10]
    references = describe(views, seed=1, noise=0.3, light=0.0)
    utm = ORIGIN + np.column_stack([20.0 * np.arange(20), np.zeros(20)])
    first, second = np.triu_indices(20, k=3)
    spread = (references @ references.T)[first, second].std()
    assert fit_calibration(references, utm, np.zeros(20)).impostor_spread < 1.5 * spread


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
