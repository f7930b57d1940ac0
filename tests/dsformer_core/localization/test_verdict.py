"""What a robot is told about a query: an answer, a choice of places, or nothing."""

import numpy as np
import pytest

from dsformer_core.localization import Hypothesis, LocalizationConfig, State, judge

CONFIG = LocalizationConfig(min_probability=0.5)


def hypotheses(*probabilities: float) -> list[Hypothesis]:
    """100 m apart, eastwards."""
    return [
        Hypothesis(
            utm=np.array([380_000.0 + 100 * number, 6_170_000.0]),
            altitude=0.0,
            yaw=0.0,
            covariance=np.eye(3),
            probability=probability,
            similarity=0.8,
            references=np.array([number]),
        )
        for number, probability in enumerate(probabilities)
    ]


@pytest.mark.parametrize(
    ("probabilities", "state", "words"),
    [
        ((0.58, 0.30), State.LOCALIZED, "probability 0.58 (0.50 is enough)"),
        ((0.45, 0.40), State.AMBIGUOUS, "0.45, 0.50 is needed; second place is 100 m away with 0.40"),
        ((0.40, 0.20), State.AMBIGUOUS, "second place is 100 m away with 0.20"),
        # Together they would do, but nobody contends with the first: this is doubt, not a choice.
        ((0.47, 0.10), State.NO_MATCH, "0.47, 0.50 is needed; 0.43 is left for none of the map's places"),
        ((0.20, 0.19), State.NO_MATCH, "0.61 is left for none of the map's places"),
        ((0.30,), State.NO_MATCH, "0.70 is left for none of the map's places"),
        ((), State.NO_MATCH, "no matches"),
    ],
)
def test_doubt_is_not_ambiguity(probabilities: tuple[float, ...], state: State, words: str) -> None:
    verdict = judge(hypotheses(*probabilities), CONFIG)
    assert verdict.state is state
    assert words in verdict.reason
