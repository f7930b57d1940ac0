"""Whether a belief is an answer, and if not, why."""

import math
from collections.abc import Sequence

import numpy as np

from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.hypotheses import Hypothesis
from dsformer_core.localization.verdict import RIVAL, State, Verdict

DOUBTING = 2
"""Pictures in a row that do not support a hypothesis, from which on it is doubted: a single one may show a lorry."""


def judge_belief(
    hypotheses: Sequence[Hypothesis],
    doubted: Sequence[float],
    elsewhere: float,
    config: FusionConfig,
    *,
    answered: bool,
    pictures: int,
) -> Verdict:
    """Decides on an answer or an abstention.

    Args:
        hypotheses: fused, most probable first.
        doubted: of the first one: pictures, metres and seconds since a picture supported it, and metres since one
            confirmed it.
        elsewhere: probability of none of them.
        config: the thresholds.
        answered: whether the first one was the answer when the last verdict was LOCALIZED.
        pictures: that came so far.
    """
    if not hypotheses:
        return Verdict(State.NO_MATCH, "no picture came yet" if not pictures else "the map gave no matches")
    best = hypotheses[0]
    rejected, metres, seconds, unconfirmed = doubted
    needed = config.keep_probability if answered else config.min_probability
    if best.probability >= needed:
        reason = f"probability {best.probability:.2f} ({needed:.2f} is enough)"
        since = f"was here {seconds:.0f} s and {metres:.0f} m ago"
        if rejected >= DOUBTING and (metres >= config.doubt_distance or seconds >= config.doubt_time):
            return Verdict(State.NO_MATCH, f"{since}, but pictures disagree since")
        if unconfirmed > config.max_unconfirmed:
            how_long = f"for {unconfirmed:.0f} m" if np.isfinite(unconfirmed) else "yet"
            return Verdict(State.NO_MATCH, f"{reason}, but no picture confirmed it {how_long}")
        if best.position_std > config.max_std:
            return Verdict(
                State.NO_MATCH,
                f"{since}, by now give or take {best.position_std:.0f} m ({config.max_std:.0f} m is enough)",
            )
        return Verdict(State.LOCALIZED, reason)
    second = hypotheses[1] if len(hypotheses) > 1 else None
    # Rounded down, lest 0.968 read as if it were enough.
    reason = f"best hypothesis has probability {math.floor(100 * best.probability) / 100:.2f}, {needed:.2f} is needed"
    if second is not None and second.probability >= RIVAL * best.probability and 1 - elsewhere >= 0.5:
        rivals = sum(hypothesis.probability >= RIVAL * best.probability for hypothesis in hypotheses)
        distance = float(np.hypot(*(second.utm - best.utm)))
        return Verdict(State.AMBIGUOUS, f"{rivals} places look alike, {distance:.0f} m apart; {reason}")
    others = max(1 - elsewhere - best.probability, 0.0)
    return Verdict(
        State.NO_MATCH, f"{reason}; {others:.2f} is left for other places, {elsewhere:.2f} for somewhere else"
    )
