"""Verdicts do not flicker, and say why."""

import numpy as np
import pytest

from dsformer_core.localization import Hypothesis, State
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.judgement import judge_belief

CONFIG = FusionConfig(min_probability=0.9, keep_probability=0.6, doubt_distance=7, doubt_time=4, max_unconfirmed=50)


def place(probability: float, *, east: float = 0.0, std: float = 5.0) -> Hypothesis:
    covariance = np.diag([std**2, std**2, 0.1])
    return Hypothesis(np.array([east, 0.0]), 0.0, 0.0, covariance, probability, 0.8, np.arange(3))


def state(
    *probabilities: float, answered: bool = False, doubted: tuple[float, ...] = (0, 0, 0, 0), std: float = 5.0
) -> tuple[State, str]:
    places = [place(value, east=120.0 * number, std=std) for number, value in enumerate(probabilities)]
    verdict = judge_belief(places, doubted, 1 - sum(probabilities), CONFIG, answered=answered, pictures=9)
    return verdict.state, verdict.reason


def test_an_answer_begins_high_and_ends_low() -> None:
    assert state(0.8)[0] is State.NO_MATCH
    assert state(0.8, answered=True)[0] is State.LOCALIZED
    assert state(0.59, answered=True)[0] is State.NO_MATCH
    assert state(0.91)[0] is State.LOCALIZED


def test_rivals_are_named() -> None:
    found, reason = state(0.45, 0.4, 0.1)
    assert found is State.AMBIGUOUS
    assert "2 places look alike, 120 m apart" in reason
    assert state(0.2, 0.15)[0] is State.NO_MATCH


@pytest.mark.parametrize(
    ("doubted", "expected", "words"),
    [
        ((1, 20, 9, 20), State.LOCALIZED, "probability"),
        ((2, 5, 3, 5), State.LOCALIZED, "probability"),
        ((2, 8, 1, 8), State.NO_MATCH, "was here 1 s and 8 m ago, but pictures disagree since"),
        ((3, 0, 5, 0), State.NO_MATCH, "pictures disagree"),
        ((0, 51, 5, 51), State.NO_MATCH, "no picture confirmed it for 51 m"),
        ((0, 0, 0, float("inf")), State.NO_MATCH, "no picture confirmed it yet"),
    ],
)
def test_what_pictures_do_not_confirm_is_no_answer(doubted: tuple[float, ...], expected: State, words: str) -> None:
    found, reason = state(0.99, answered=True, doubted=doubted)
    assert found is expected
    assert words in reason


def test_what_is_too_wide_is_no_answer() -> None:
    found, reason = state(0.99, answered=True, std=30.0)
    assert found is State.NO_MATCH
    assert "give or take 30 m" in reason


def test_before_the_first_picture() -> None:
    verdict = judge_belief([], [0, 0, 0, 0], 1.0, CONFIG, answered=False, pictures=0)
    assert verdict.state is State.NO_MATCH and verdict.reason == "no picture came yet"
