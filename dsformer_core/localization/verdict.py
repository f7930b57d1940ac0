"""Whether the hypotheses of one query are an answer, and if not, why."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.hypotheses import Hypothesis

RIVAL = 0.5
"""Share of the best hypothesis's probability from which on the second contends with it: a place half as probable is not
ruled out by chance, and moving on a little may turn the order round."""


class State(Enum):
    """What a query came to.

    LOCALIZED: the best hypothesis is probable enough.
    AMBIGUOUS: the picture is of the map, probably enough, but several of its places look like it: the second is a rival
        (`RIVAL`).
    NO_MATCH: no place is probable enough, and no two contend; the picture may well be of none of the map's places.
    """

    LOCALIZED = "LOCALIZED"
    AMBIGUOUS = "AMBIGUOUS"
    NO_MATCH = "NO_MATCH"


@dataclass(frozen=True)
class Verdict:
    """A state and its reason in words."""

    state: State
    reason: str


def judge(hypotheses: Sequence[Hypothesis], config: LocalizationConfig | None = None) -> Verdict:
    """Decides on an answer or an abstention.

    Args:
        hypotheses: of one query, most probable first.
        config: the threshold; the defaults when None.
    """
    needed = (config or LocalizationConfig()).min_probability
    if not hypotheses:
        return Verdict(State.NO_MATCH, "the map gave no matches")
    best = hypotheses[0]
    if best.probability >= needed:
        return Verdict(State.LOCALIZED, f"probability {best.probability:.2f} ({needed:.2f} is enough)")
    reason = f"best hypothesis has probability {best.probability:.2f}, {needed:.2f} is needed"
    together = sum(hypothesis.probability for hypothesis in hypotheses)
    second = hypotheses[1] if len(hypotheses) > 1 else None
    if second is not None and second.probability >= RIVAL * best.probability and together >= needed:
        distance = float(np.hypot(*(second.utm - best.utm)))
        return Verdict(
            State.AMBIGUOUS, f"{reason}; second place is {distance:.0f} m away with {second.probability:.2f}"
        )
    return Verdict(
        State.NO_MATCH,
        f"{reason}; {1 - together:.2f} is left for none of the map's places (best similarity {best.similarity:.2f})",
    )
