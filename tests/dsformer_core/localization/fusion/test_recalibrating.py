"""A drive on another day makes promises honest, and a map keeps what it taught."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.errors import DsformerError
from dsformer_core.localization import localize
from dsformer_core.localization.fusion import Tracker
from dsformer_core.localization.fusion.recalibrating import Honesty, honesty, learn
from dsformer_core.localization.fusion.replay import Answers, Drive, ask_singly, made_odometry
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.changes.recalibration import keep_recalibration
from dsformer_core.place_map.changes.rewriting import keep_rows
from dsformer_core.place_map.format import MapError, read_description, write_description
from dsformer_core.place_map.recalibration import Correction, Recalibration
from tests.synthetic import write_map


def drive(town: Any, street: int, seed: int, noise: float) -> Drive:
    along = np.arange(20.0, 370.0, 4.0)
    matches = [
        town.place_map.search(town.view(street, float(at), seed * 1000 + number, noise=noise)[None], k=80)[0]
        for number, at in enumerate(along)
    ]
    utm = np.array([town.utm(street, at) for at in along])
    return Drive(0.6 * np.arange(len(along)), utm, np.full(len(along), town.yaw(street)), matches)


@pytest.fixture
def own_map(town: Any, tmp_path: Path) -> PlaceMap:
    place_map = town.place_map
    return write_map(tmp_path / "own.map", np.asarray(place_map.descriptors), place_map.utm, place_map.yaw)


def test_what_was_learnt_on_one_street_holds_on_the_other(town: Any, own_map: PlaceMap) -> None:
    taught, held_out = drive(town, 0, 1, 4.0), drive(town, 1, 2, 4.0)
    before = honesty(own_map, held_out)
    own_map.recalibration = learn(own_map, taught)
    after = honesty(own_map, held_out)
    for name in ("single", "fused"):
        assert after[name].calibration_error < 0.1
        assert 0.8 <= after[name].held <= 1.0
    assert before["single"].calibration_error > after["single"].calibration_error
    assert own_map.recalibration.pictures == len(taught)


def test_learning_leaves_the_map_as_it_was(town: Any, own_map: PlaceMap) -> None:
    learn(own_map, drive(town, 0, 1, 2.0))
    assert own_map.recalibration == Recalibration()


@given(
    parts=st.lists(st.floats(0.001, 1), min_size=1, max_size=6),
    slope=st.floats(0.05, 5),
    offset=st.floats(-10, 10),
)
def test_a_correction_keeps_order_and_sum(parts: list[float], slope: float, offset: float) -> None:
    before = np.sort(parts)[::-1] / (sum(parts) + 0.3)
    after = Correction(slope, offset).probabilities(before)
    assert np.isfinite(after).all() and (after >= 0).all() and after.sum() <= 1 + 1e-12
    assert (np.diff(after) <= 1e-12).all()


def test_no_correction_changes_nothing() -> None:
    before = np.array([0.6, 0.2])
    assert np.array_equal(Correction().probabilities(before), before)


def test_it_is_kept_in_the_map_and_used(town: Any, own_map: PlaceMap) -> None:
    matches = town.look(0, 100, 1)
    before = localize(matches, own_map)
    learnt = Recalibration(Correction(0.5, 1.0, 0.25), Correction(1.0, -1.0, 4.0), pictures=7)
    again = keep_recalibration(own_map, learnt)
    assert again.recalibration == learnt == PlaceMap.open(own_map.directory, verify="full").recalibration
    after = localize(matches, again)
    assert after[0].probability != before[0].probability
    assert np.allclose(after[0].covariance[:2, :2], 0.25 * before[0].covariance[:2, :2])
    tracked = Tracker(again).add_picture(0.0, matches)
    assert tracked.hypotheses[0].covariance[0, 0] >= 4.0 * 9
    assert tracked.elsewhere + sum(one.probability for one in tracked.hypotheses) == pytest.approx(1)
    assert own_map.recalibration == Recalibration(), "who has the map open goes on with what it knew"
    assert keep_recalibration(again, None).recalibration == Recalibration()
    assert sorted(path.name for path in own_map.directory.parent.iterdir()) == [own_map.directory.name]


def test_a_map_made_of_it_begins_anew(own_map: PlaceMap, tmp_path: Path) -> None:
    again = keep_recalibration(own_map, Recalibration(Correction(0.5), Correction(), 7))
    assert keep_rows(again, np.arange(100), tmp_path / "some.map").recalibration == Recalibration()


def test_a_map_that_was_replaced_meanwhile_is_left_alone(own_map: PlaceMap) -> None:
    keep_recalibration(own_map, Recalibration(pictures=1))
    with pytest.raises(DsformerError, match="replaced"):
        keep_recalibration(own_map, Recalibration(pictures=2))
    assert PlaceMap.open(own_map.directory).recalibration.pictures == 1


@pytest.mark.parametrize(
    "values",
    [
        "nonsense",
        {"single": {}, "fused": {}, "pictures": 1},
        {"single": {"slope": 0.0, "offset": 0.0, "spread": 1.0}},
        {
            "single": {"slope": float("nan"), "offset": 0.0, "spread": 1.0},
            "fused": {"slope": 1.0, "offset": 0.0, "spread": 1.0},
            "pictures": 3,
        },
    ],
)
def test_an_altered_one_is_refused_on_opening(own_map: PlaceMap, values: Any) -> None:
    description = read_description(own_map.directory)
    description["recalibration"] = values
    write_description(own_map.directory / "map.yaml", description)
    with pytest.raises(MapError, match="recalibration"):
        PlaceMap.open(own_map.directory)


def test_a_map_that_was_never_taught_says_nothing_of_it(own_map: PlaceMap) -> None:
    assert "recalibration" not in yaml.safe_load((own_map.directory / "map.yaml").read_text())


def test_honesty_of_known_answers() -> None:
    said = Answers(
        localized=np.array([True, True, False, True]),
        probability=np.array([0.95, 0.95, 0.25, 0.95]),
        error=np.array([1.0, 2.0, 300.0, 90.0]),
        distance=np.array([0.5, 9.0, 900.0, 50.0]),
        std=np.full(4, 5.0),
        probabilities=[],
        right=[],
    )
    found = Honesty.of([said])
    assert found.steps == [(0.25, 0.0, 1), (pytest.approx(0.95), pytest.approx(2 / 3), 3)]
    assert found.calibration_error == pytest.approx((0.25 + 3 * (0.95 - 2 / 3)) / 4)
    assert found.held == 0.5
    assert said.false.tolist() == [False, False, False, True]


def test_without_its_surroundings_nothing_near_is_found(town: Any) -> None:
    some = drive(town, 0, 1, 0.5)
    unmapped = some.unmapped(town.place_map, 20)
    for matches, truth in zip(unmapped.matches, some.utm, strict=True):
        assert (np.hypot(*(town.place_map.utm[matches.indices[0]] - truth).T) > 50).all()
        assert matches.indices.shape[1] <= 20
    assert not ask_singly(town.place_map, unmapped).right[0].any()


def test_made_odometry_is_the_truth_with_small_errors_and_stands_where_the_robot_was_carried(town: Any) -> None:
    one, other = drive(town, 0, 1, 0.5), drive(town, 1, 1, 0.5)
    both = Drive(
        np.append(one.stamps, other.stamps + 100),
        np.vstack([one.utm, other.utm]),
        np.append(one.yaw, other.yaw),
        one.matches + other.matches,
    )
    rows = made_odometry(both)
    rows = rows[np.isin(rows[:, 0], both.stamps)]
    way = np.hypot(*np.diff(rows[:, 1:3], axis=0).T)
    assert way[len(one) - 1] == 0
    assert np.delete(way, len(one) - 1) == pytest.approx(np.full(len(way) - 1, 4.0), rel=0.1)
    assert both.kilometres == pytest.approx(4e-3 * (len(both) - 2))
