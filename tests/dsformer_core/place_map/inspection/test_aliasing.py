"""What a map looks like elsewhere is what comparing everything with everything gives."""

from pathlib import Path

import numpy as np
import pytest

from dsformer_core.errors import UsageError
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.inspection.aliasing import find_aliases
from tests.synthetic import ORIGIN, unit, write_map


def street(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A drive up a street and back, five metres a step: neighbours look alike, and nothing else does."""
    steps = np.arange(count)
    along = np.minimum(steps, count - 1 - steps) * 5.0
    utm = ORIGIN + np.stack([along, np.zeros(count)], axis=1)
    yaw = np.where(steps < count / 2, 0.0, np.pi)
    looks = np.cumsum(random.standard_normal((count, 64)), axis=0)
    return unit(looks - looks.mean(axis=0)), utm, yaw


@pytest.fixture(scope="module", params=["flat", "flat_fp16", "binary"])
def place_map(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    descriptors, utm, yaw = street(160, np.random.default_rng(0))
    # Two places that look all but the same, 250 m from each other.
    descriptors[70] = unit(descriptors[20] + 0.01 * descriptors[90])
    return write_map(tmp_path_factory.mktemp("map") / "a.map", descriptors, utm, yaw, index=request.param)


def expected_partner(place_map: PlaceMap, row: int) -> tuple[float, np.ndarray]:
    vectors = np.asarray(place_map.descriptors, np.float32)
    far = np.hypot(*(place_map.utm - place_map.utm[row]).T) > 50
    turned = np.abs(np.angle(np.exp(1j * (place_map.yaw - place_map.yaw[row])))) > np.radians(120)
    elsewhere = far | turned
    similarity = np.where(elsewhere, vectors @ vectors[row], -np.inf)
    return float(similarity.max()), elsewhere


def test_partners_are_the_most_similar_elsewhere(place_map: PlaceMap) -> None:
    aliases = find_aliases(place_map)
    assert aliases.rows.tolist() == list(range(160))
    for row, partner, similarity in zip(aliases.rows, aliases.partners, aliases.similarities, strict=True):
        best, elsewhere = expected_partner(place_map, row)
        assert elsewhere[partner]
        assert similarity == pytest.approx(best, abs=2e-3)
    calibration = place_map.calibration
    scores = (aliases.similarities - calibration.impostor_mean) / calibration.impostor_spread
    assert aliases.scores == pytest.approx(scores)


def test_the_copy_of_a_place_comes_first_and_once(place_map: PlaceMap) -> None:
    aliases = find_aliases(place_map)
    worst = aliases.worst(place_map.utm, 5)
    assert {aliases.rows[worst[0]], aliases.partners[worst[0]]} == {20, 70}
    assert aliases.beaten[aliases.rows == 20]
    assert not aliases.beaten[aliases.rows == 45]
    assert (np.diff(aliases.scores[worst]) <= 0).all()
    here, there = place_map.utm[aliases.rows[worst]], place_map.utm[aliases.partners[worst]]
    for first, second in ((here[0], there[0]), (there[0], here[0])):
        away = np.maximum(np.hypot(*(here[1:] - first).T), np.hypot(*(there[1:] - second).T))
        assert (away > 50).all()


def test_a_sample_is_seeded_and_says_how_far_it_is(place_map: PlaceMap) -> None:
    heard: list[tuple[int, int]] = []
    first = find_aliases(place_map, sample=100, on_progress=lambda done, total: heard.append((done, total)))
    assert heard[0] == (0, 100)
    assert heard[-1] == (100, 100)
    assert len(np.unique(first.rows)) == 100
    assert np.array_equal(first.rows, find_aliases(place_map, sample=100).rows)
    assert not np.array_equal(first.rows, find_aliases(place_map, sample=100, seed=1).rows)
    everything = find_aliases(place_map)
    assert np.array_equal(first.partners, everything.partners[first.rows])
    with pytest.raises(UsageError, match="-1 references cannot be asked"):
        find_aliases(place_map, sample=-1)


@pytest.mark.parametrize("index", ["ivf_pq", "hnsw"])
def test_copies_are_found_by_an_index_that_may_miss_some(tmp_path: Path, index: str) -> None:
    descriptors, utm, yaw = street(1100, np.random.default_rng(0))
    descriptors[300] = descriptors[20]
    place_map = write_map(tmp_path / "a.map", descriptors, utm, yaw, index=index)
    assert place_map.index_kind == index
    aliases = find_aliases(place_map, sample=1100)
    assert (aliases.partners >= 0).all()
    assert aliases.partners[20] == 300
    assert aliases.partners[300] == 20
    assert {aliases.rows[aliases.worst(utm, 1)[0]], aliases.partners[aliases.worst(utm, 1)[0]]} == {20, 300}


def test_one_place_is_like_no_other(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    utm = ORIGIN + random.uniform(0, 10, (30, 2))
    place_map = write_map(tmp_path / "a.map", unit(random.standard_normal((30, 16))), utm, index="flat_fp16")
    aliases = find_aliases(place_map)
    assert (aliases.partners == -1).all()
    assert np.isnan(aliases.scores).all()
    assert not aliases.beaten.any()
    assert not len(aliases.worst(place_map.utm, 3))


def test_far_matches_are_found_behind_a_crowd(tmp_path: Path) -> None:
    """A robot that stood still for long has hundreds of likes at its own place."""
    random = np.random.default_rng(0)
    utm = np.concatenate([ORIGIN + random.normal(0, 1, (600, 2)), ORIGIN + np.array([[300.0, 0]])])
    descriptors = unit(np.ones((601, 16)) + 0.01 * random.standard_normal((601, 16)))
    descriptors[600] = unit(random.standard_normal(16))
    place_map = write_map(tmp_path / "a.map", descriptors, utm, index="flat_fp16")
    assert (find_aliases(place_map, sample=40).partners == 600).all()
