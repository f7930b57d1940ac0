"""What a picture does to a belief: what the module's equations say, whatever is believed and found."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.localization.fusion.belief import Belief
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.measurement import CONFIRMING, GATE, MOST_PAIRS, SUPPORT, Observation
from dsformer_core.localization.fusion.mixture import Mixture
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE, Hypothesis
from dsformer_core.place_map import Matches

PLACES = 500.0
CONFIG = FusionConfig()


def believed(count: int, random: np.random.Generator, across: float) -> Belief:
    mixture = Mixture.blank(count)
    mixture.weight = random.dirichlet(np.ones(count)) * 0.8
    mixture.mean[:, :2] = random.uniform(-across, across, (count, 2))
    yaw, length = random.uniform(-np.pi, np.pi, count), random.uniform(0, 1, count)
    mixture.mean[:, 2], mixture.mean[:, 3] = length * np.cos(yaw), length * np.sin(yaw)
    root = random.normal(size=(count, 4, 4)) * [6.0, 6.0, 0.3, 0.3]
    mixture.covariance = root.transpose(0, 2, 1) @ root + 0.01 * np.eye(4)
    mixture.doubted = random.uniform(1, 50, (count, 4))
    return Belief(1.0, mixture, outside=0.15, anywhere=0.05)


def picture(count: int, random: np.random.Generator, across: float) -> Observation:
    chances = random.dirichlet(np.ones(count + 1))[:count]
    singles = [
        Hypothesis(
            utm=random.uniform(-across, across, 2),
            altitude=1.0,
            yaw=math.nan if number % 4 == 3 else float(random.uniform(-np.pi, np.pi)),
            covariance=np.diag([20.0, 30.0, UNKNOWN_YAW_VARIANCE if number % 4 == 3 else 0.07]),
            probability=float(chance),
            similarity=0.8,
            references=np.arange(number, number + 3),
        )
        for number, chance in enumerate(chances)
    ]
    matches = Matches(np.arange(20)[None], np.linspace(0.9, 0.5, 20, dtype=np.float32)[None])
    return Observation.of(1.0, matches, singles, np.zeros(2), 0.0, 0, None, top_k=20)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(1, 6), st.sampled_from([5.0, 40.0, 500.0]))
def test_a_first_picture_weighs_moves_and_bears_as_the_equations_say(
    seed: int, hypotheses: int, places: int, across: float
) -> None:
    random = np.random.default_rng(seed)
    belief, seen = believed(hypotheses, random, across), picture(places, random, across)
    before = belief.mixture.table.copy()
    after = seen.update(belief, PLACES, CONFIG)
    assert np.array_equal(belief.mixture.table, before)

    likely = PLACES * seen.places.weight
    moved, support = [], np.zeros(hypotheses)
    for k in range(hypotheses):
        for g in range(places):
            m, v = belief.mixture.mean[k], belief.mixture.covariance[k]
            z, r = seen.places.mean[g], seen.places.covariance[g]
            inverse = np.linalg.inv(v + r)
            squared = float((z - m) @ inverse @ (z - m))
            if squared <= GATE:
                narrowing = math.sqrt(np.linalg.det(r) * np.linalg.det(inverse))
                weight = belief.mixture.weight[k] * likely[g] * narrowing * math.exp(-squared / 2)
                mean, gain = m + v @ inverse @ (z - m), v @ inverse
                mean[2:] /= max(math.hypot(*mean[2:]), 1.0)
                moved.append((weight, mean, v - gain @ v, k, g))
                support[k] += weight
    anywhere = belief.anywhere * CONFIG.miss
    total = belief.outside + anywhere + CONFIG.miss * belief.mixture.weight.sum()
    total += sum(one[0] for one in moved) + (belief.anywhere * likely / PLACES).sum()
    assert after.outside == pytest.approx(belief.outside / total)
    assert after.anywhere == pytest.approx(anywhere / total)
    stay, follow, born = (
        after.mixture[:hypotheses],
        after.mixture[hypotheses : hypotheses + len(moved)],
        after.mixture[hypotheses + len(moved) :],
    )
    assert np.allclose(stay.weight * total, CONFIG.miss * belief.mixture.weight)
    supported = support > SUPPORT * belief.mixture.weight
    assert np.array_equal(stay.doubted[:, 0], np.where(supported, 0, belief.mixture.doubted[:, 0] + 1))
    for row, (weight, mean, covariance, k, g) in enumerate(moved):
        assert follow.weight[row] * total == pytest.approx(weight, rel=1e-6)
        assert np.allclose(follow.mean[row], mean, atol=1e-6)
        assert np.allclose(follow.covariance[row], covariance, atol=1e-5)
        confirmed = 0.0 if seen.places.weight[g] >= CONFIRMING else belief.mixture.doubted[k, 3]
        assert follow.doubted[row].tolist() == [0, 0, 0, confirmed]
        assert follow.references()[row].tolist() == [g, g + 1, g + 2]
    assert np.allclose(born.weight * total, belief.anywhere * likely / PLACES)
    assert np.array_equal(born.mean, seen.places.mean)
    assert (born.covariance[:, (2, 3), (2, 3)] <= 0.5).all()


@given(st.integers(0, 2**32 - 1))
def test_of_too_many_pairs_the_likeliest_by_position_are_followed(seed: int) -> None:
    random = np.random.default_rng(seed)
    belief, seen = believed(40, random, 20.0), picture(12, random, 20.0)
    after = seen.update(belief, PLACES, CONFIG)
    followed = len(after) - 40 - 12
    promises = []
    for k in range(40):
        for g in range(12):
            together = (belief.mixture.covariance[k] + seen.places.covariance[g])[:2, :2]
            away = (seen.places.mean[g] - belief.mixture.mean[k])[:2]
            squared = float(away @ np.linalg.inv(together) @ away)
            if squared <= GATE:
                promises.append((belief.mixture.weight[k] * seen.places.weight[g] * math.exp(-squared / 2), k, g))
    assert len(promises) > MOST_PAIRS, "as many as this is about"
    assert 0 < followed <= MOST_PAIRS
    kept = {(k, g) for _, k, g in sorted(promises, reverse=True)[:MOST_PAIRS]}
    # A hypothesis and a place meet at a mean between both, which tells the pair.
    places = [rows[0] for rows in after.mixture[40 : 40 + followed].references()]
    counts = {g: sum(place == g for _, place in kept) for g in range(12)}
    assert all(places.count(g) <= counts[g] for g in range(12))
