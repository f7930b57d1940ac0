"""From matches to poses: what holds whatever the map, and what a robot relies on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import wrap_angle
from dsformer_core.localization import Hypothesis, LocalizationConfig, State, judge, localize
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.places import REFERENCE_STD
from tests.synthetic import ORIGIN, unit, write_map

SPACING = 4.0


def street(folder: Path, *, length: int = 120, look_back: bool = False, known_yaw: bool = True) -> PlaceMap:
    """A street going east with pictures every 4 m, whose descriptors change slowly along it."""
    random = np.random.default_rng(0)
    steps = random.normal(size=(length, 512))
    # Neighbours share most of what they see, pictures 25 m apart little.
    views = np.array([sum(0.8**lag * steps[max(0, row - lag)] for lag in range(12)) for row in range(length)])
    utm = ORIGIN + np.column_stack([SPACING * np.arange(length), np.zeros(length)])
    yaw = np.zeros(length)
    if look_back:
        views, utm = np.vstack([views, random.normal(size=views.shape)]), np.vstack([utm, utm])
        yaw = np.concatenate([yaw, np.full(length, np.pi)])
    return write_map(
        folder / "street.map", unit(views), utm, yaw if known_yaw else np.full(len(yaw), np.nan), overwrite=True
    )


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return street(tmp_path_factory.mktemp("street"), look_back=True)


def matches_of(rows: list[int], similarities: list[float]) -> Matches:
    return Matches(np.array([rows], np.int64), np.array([similarities], np.float32))


def test_a_picture_of_the_map_is_found(place_map: PlaceMap) -> None:
    noise = np.random.default_rng(1).normal(size=512) * 0.01
    query = unit(np.asarray(place_map.descriptors[50], np.float32) + noise)
    hypotheses = localize(place_map.search(query)[0], place_map)
    best = hypotheses[0]
    assert np.linalg.norm(best.utm - place_map.utm[50]) < 2 * SPACING
    assert abs(wrap_angle(best.yaw - place_map.yaw[50])) < np.radians(1)
    assert best.references[0] == 50
    assert judge(hypotheses).state is State.LOCALIZED


def test_a_picture_of_nowhere_is_not(place_map: PlaceMap) -> None:
    query = unit(np.random.default_rng(2).normal(size=512))
    verdict = judge(localize(place_map.search(query)[0], place_map))
    assert verdict.state is State.NO_MATCH
    assert "0.60 is needed" in verdict.reason


def test_two_places_that_look_alike_are_ambiguous(place_map: PlaceMap) -> None:
    verdict = judge(localize(matches_of([10, 11, 90, 91], [0.999, 0.99, 0.999, 0.99]), place_map))
    assert verdict.state is State.AMBIGUOUS
    assert "second place is 320 m away" in verdict.reason


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_always_holds(place_map: PlaceMap, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, place_map.count - 1), min_size=1, max_size=20, unique=True))
    similarities = data.draw(st.lists(st.floats(-1, 1, width=32), min_size=len(rows), max_size=len(rows)))
    camera_yaw = data.draw(st.floats(-10, 10))
    order = np.argsort(-np.array(similarities), kind="stable")
    matches = matches_of([rows[i] for i in order], [similarities[i] for i in order])

    hypotheses = localize(matches, place_map, camera_yaw=camera_yaw)

    probabilities = [hypothesis.probability for hypothesis in hypotheses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(probability >= 0 for probability in probabilities)
    assert sum(probabilities) < 1
    assert sorted(row for hypothesis in hypotheses for row in hypothesis.references) == sorted(rows)
    for hypothesis in hypotheses:
        assert np.isfinite(hypothesis.utm).all()
        assert -np.pi < hypothesis.yaw <= np.pi
        np.testing.assert_array_equal(hypothesis.covariance, hypothesis.covariance.T)
        assert np.linalg.eigvalsh(hypothesis.covariance)[0] > 0
        assert np.linalg.eigvalsh(hypothesis.covariance[:2, :2])[0] >= place_map.spacing**2 * (1 - 1e-9)
        assert hypothesis.covariance[2, 2] <= np.pi**2
        best = place_map.utm[hypothesis.references[0]]
        assert np.linalg.norm(place_map.utm[hypothesis.references] - best, axis=1).max() <= LocalizationConfig().radius
        assert np.linalg.norm(hypothesis.utm - best) <= LocalizationConfig().radius

    backwards = Matches(matches.indices[:, ::-1], matches.similarities[:, ::-1])
    for one, other in zip(hypotheses, localize(backwards, place_map, camera_yaw=camera_yaw), strict=True):
        np.testing.assert_allclose(one.utm, other.utm)
        assert one.probability == pytest.approx(other.probability)


def test_two_directions_at_one_spot_are_two_hypotheses(place_map: PlaceMap) -> None:
    half = place_map.count // 2
    hypotheses = localize(matches_of([30, half + 30, 31], [0.95, 0.94, 0.93]), place_map)
    assert [list(hypothesis.references) for hypothesis in hypotheses] == [[30, 31], [half + 30]]
    assert abs(wrap_angle(hypotheses[0].yaw - hypotheses[1].yaw)) == pytest.approx(np.pi, abs=0.05)


def test_the_camera_s_mounting_turns_the_robot(place_map: PlaceMap) -> None:
    matches = matches_of([30], [0.95])
    ahead = localize(matches, place_map)[0]
    to_the_left = localize(matches, place_map, camera_yaw=np.pi / 2)[0]
    assert wrap_angle(ahead.yaw - to_the_left.yaw) == pytest.approx(np.pi / 2)


def test_directions_are_averaged_on_the_circle(tmp_path: Path) -> None:
    utm = ORIGIN + np.array([[0.0, 0.0], [1.0, 0.0]])
    yaw = np.array([np.pi - 0.1, -np.pi + 0.1])
    place_map = write_map(tmp_path / "a.map", unit(np.eye(2, 512)), utm, yaw)
    best = localize(matches_of([0, 1], [0.9, 0.9]), place_map)[0]
    assert abs(best.yaw) == pytest.approx(np.pi, abs=0.02)
    assert best.covariance[2, 2] < 0.2


def test_an_unknown_direction_says_so(tmp_path: Path) -> None:
    place_map = street(tmp_path, known_yaw=False)
    best = localize(place_map.search(np.asarray(place_map.descriptors[5], np.float32))[0], place_map)[0]
    assert np.isnan(best.yaw)
    assert best.covariance[2, 2] == pytest.approx(np.pi**2)


def test_one_reference_is_enough_and_never_certain(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / "a.map", unit(np.ones((1, 512))), ORIGIN[None] + 0)
    (best,) = localize(place_map.search(np.ones(512) / np.sqrt(512))[0], place_map)
    assert 0 < best.probability < 1
    assert best.position_std >= place_map.spacing > 0


def test_pictures_at_one_spot_keep_the_floor(tmp_path: Path) -> None:
    utm = np.repeat(ORIGIN[None], 5, axis=0)
    place_map = write_map(tmp_path / "a.map", unit(np.ones((5, 512))), utm)
    (best,) = localize(matches_of([0, 1, 2, 3, 4], [0.9] * 5), place_map)
    assert best.position_std == pytest.approx(place_map.spacing)


def test_standing_still_does_not_make_a_robot_surer(tmp_path: Path) -> None:
    """A stop at a red light, and two passes 1.9 m apart: neither makes a reference's GPS better than it is."""
    random = np.random.default_rng(0)
    drive = ORIGIN + np.column_stack([SPACING * np.arange(100), np.zeros(100)])
    stop = np.vstack([drive, drive[50] + random.normal(0, 0.05, (150, 2))])
    twice = np.vstack([drive, drive + np.array([0.0, 1.9])])
    for name, utm, least in (("stop", stop, SPACING - 0.3), ("twice", twice, REFERENCE_STD)):
        place_map = write_map(tmp_path / f"{name}.map", unit(random.normal(size=(len(utm), 512))), utm)
        (best,) = localize(matches_of([50], [0.9]), place_map)
        assert np.sqrt(np.linalg.eigvalsh(best.covariance[:2, :2])[0]) >= least


def test_a_chain_of_matches_does_not_draw_the_position_away(place_map: PlaceMap) -> None:
    """References 20 m apart, nearly as good as the best one at their end."""
    rows = [10, 15, 20, 25, 30]
    best = localize(matches_of(rows, [0.9, 0.899, 0.899, 0.899, 0.899]), place_map)[0]
    assert np.linalg.norm(best.utm - place_map.utm[10]) <= LocalizationConfig().radius
    assert list(best.references) == [10, 15]


def test_several_queries_are_refused(place_map: PlaceMap) -> None:
    two = Matches(np.zeros((2, 1), np.int64), np.ones((2, 1), np.float32))
    with pytest.raises(UsageError, match="one query"):
        localize(two, place_map)
    with pytest.raises(UsageError, match="camera_yaw"):
        localize(matches_of([0], [0.9]), place_map, camera_yaw=float("nan"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_k": 0}, "top_k = 0 is out of range"),
        ({"top_k": 2.5}, "not a whole number"),
        ({"radius": -1.0}, "radius"),
        ({"min_probability": 1.5}, "min_probability"),
        ({"min_probability": float("nan")}, "not a number"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LocalizationConfig(**values)


def hypothesis(probability: float, east: float = 0.0) -> Hypothesis:
    return Hypothesis(ORIGIN + np.array([east, 0.0]), np.nan, 0.0, np.eye(3), probability, 0.9, np.array([0]))


def test_the_threshold_decides() -> None:
    lax, strict = LocalizationConfig(min_probability=0.5), LocalizationConfig(min_probability=0.9)
    assert judge([hypothesis(0.8)], lax).state is State.LOCALIZED
    assert judge([hypothesis(0.8)], strict).state is State.NO_MATCH
    assert judge([hypothesis(0.48), hypothesis(0.45, 100)], strict).state is State.AMBIGUOUS
    assert judge([], lax).state is State.NO_MATCH
