r"""What one picture says, and what is believed after it.

`localize` gives the places of a picture's matches, probabilities P_g under a flat prior, half of it on unmapped ground
and the other half spread over the n places of the map. So u_g = ln(P_g / P_none) and the likelihood of the picture at
place g against "none of these" is n e^(u_g). Around it, the likelihood at a pose x is

    L(x) = miss + Σ_g n e^(u_g) exp(-½ (x - z_g)^T R_g^-1 (x - z_g)),      L(somewhere else) = 1

with z_g and R_g the place's pose and covariance, and `miss` the probability that the right place is not retrieved at
all, in which case the picture looks as from anywhere. P_g is the map's own calibration.

Pictures from nearly one spot are no independent witnesses: the same wrong facade is retrieved again and again. A
picture counts as the share

    t = 1 - exp(-(d / correlation_length + a / correlation_angle))

of one, d metres and a radians after the last one of its camera that counted: L(x)^t, that is, n e^(u_g) and `miss` to
the power of t, and R_g / t. A camera that is turned on the robot turns likewise. Where odometry does not tell d,
it is what the robot would have gone at a third of its motion bound, and t is no more than the share of references that
the picture does not have in common with that last one; above `SAME_VIEW` in common it is nought. With t below
`LEAST_SHARE` the picture changes nothing and the next one is compared with the same last one, so that slow motion adds
up and a robot that stands still learns nothing, however long it looks.

For a hypothesis k, N(m_k, V_k) of weight w_k, L(x)^t gives one hypothesis of weight w_k miss^t that stays, and for each
place g within the gate one that moves by the Kalman filter, of weight

    w_k (n e^(u_g))^t sqrt(|R_g/t| / |V_k + R_g/t|) exp(-½ (m_k - z_g)^T (V_k + R_g/t)^-1 (m_k - z_g)).

"Outside" keeps its weight. "Anywhere", of weight v spread over the n places of the map, becomes v miss^t, and each
place g a new hypothesis of weight v (n e^(u_g))^t / n. For the first picture (t = 1, v = ½) that is what `localize`
says of it, but for the misses. What stays unsupported, anywhere or not, loses to what is outside: there, a picture that
is like no place of the map is nothing strange. Where only a circle of the map was searched, with a share s of its
references, a picture says nothing of hypotheses outside of it, and what is anywhere becomes v ((1 - s) + s miss^t).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_core.localization.fusion.belief import (
    KEPT_ROWS,
    PER_HYPOTHESIS,
    USUAL_SPEED,
    Belief,
    Numbers,
    Rows,
    Witness,
)
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE, Hypothesis
from dsformer_core.place_map import Matches

GATE = 25.0
"""Squared Mahalanobis distance, over position and heading vector, beyond which a place says nothing of a hypothesis."""

LEAST_SHARE = 0.1
SAME_VIEW = 0.7
"""Share of references in common from which on two pictures, between which nothing tells the way, are of one view."""

MOST_PAIRS = 192
"""Hypotheses moved by a place that are looked at further."""

SUPPORT = 3.0
"""How many times as likely as from somewhere else a picture must be to support a hypothesis."""

CONFIRMING = 0.1
"""P_g / P_none of a place from which on a picture confirms the hypothesis that it supports: nearly alone. A street that
is not in the map is like some street of it for as long as it lasts, and picture after picture supports that one a
little; hardly one confirms it."""

_UNINFORMATIVE = 1e4
_REJECTED = np.array([1.0, 0.0, 0.0, 0.0])

_Part = dict[str, NDArray[Any]]
"""Some hypotheses of a belief: what `PER_HYPOTHESIS` names of them."""


@dataclass(frozen=True, eq=False)
class Circle:
    """Where a map was searched for a picture.

    Attributes:
        middle: (2,) about the origin.
        radius: metres.
        share: of the map's references that lie in it, 0 to 1.
    """

    middle: Numbers
    radius: float
    share: float


@dataclass(frozen=True, eq=False)
class Observation:
    """A picture, as G places it may show.

    Attributes:
        stamp: seconds.
        camera: which one.
        camera_yaw: its mounting, radians, NaN where unknown.
        matches: of it.
        singles: what `localize` says of it.
        odds: (G,) e^(u_g) of each place.
        pose: (G, 4) position about the origin, and heading vector, 0 where unknown.
        covariance: (G, 4, 4).
        rows: (G, KEPT_ROWS) references of each place, best first, -1 where there are fewer.
        similarity: (G,) of the best of them.
        altitude: (G,) metres, NaN where unknown.
        retrieved: all rows, ascending.
        circle: where was searched; None for everywhere.
    """

    stamp: float
    camera: int
    camera_yaw: float
    matches: Matches
    singles: list[Hypothesis]
    odds: Numbers
    pose: Numbers
    covariance: Numbers
    rows: Rows
    similarity: Numbers
    altitude: Numbers
    retrieved: Rows
    circle: Circle | None

    @classmethod
    def of(
        cls,
        stamp: float,
        matches: Matches,
        singles: list[Hypothesis],
        origin: NDArray[np.float64],
        camera_yaw: float,
        camera: int,
        circle: Circle | None,
        *,
        top_k: int,
    ) -> "Observation":
        """From the matches of one picture, and what `localize` says of them."""
        if not np.isfinite(camera_yaw):
            singles = [_without_yaw(single) for single in singles]
        count = len(singles)
        probability = np.array([single.probability for single in singles])
        none = max(1.0 - float(probability.sum()), 1e-9)
        pose, covariance = np.zeros((count, 4)), np.zeros((count, 4, 4))
        rows = np.full((count, KEPT_ROWS), -1, np.int64)
        for place, single in enumerate(singles):
            references = single.references[:KEPT_ROWS]
            rows[place, : len(references)] = references
        if count:
            yaw = np.array([single.yaw for single in singles])
            spread = np.stack([single.covariance for single in singles])
            known = np.isfinite(yaw)
            pose[:, :2] = np.stack([single.utm for single in singles]) - origin
            pose[known, 2:] = np.column_stack([np.cos(yaw[known]), np.sin(yaw[known])])
            covariance[:, :2, :2] = spread[:, :2, :2]
            # Of a heading vector turned by an angle of that variance, across it.
            across = np.where(known, (1 - np.exp(-2 * spread[:, 2, 2])) / 2, _UNINFORMATIVE)
            covariance[:, (2, 3), (2, 3)] = across[:, None]
        retrieved = np.sort(matches.indices[0][:top_k])
        similarity = np.array([single.similarity for single in singles])
        altitude = np.array([single.altitude for single in singles])
        odds = probability / none
        return cls(
            stamp, camera, float(camera_yaw), matches, singles, odds, pose, covariance, rows, similarity, altitude,
            retrieved, circle,
        )  # fmt: skip

    def same_as(self, other: "Observation") -> bool:
        """Whether it is the same picture again."""
        one, two = self.matches, other.matches
        return (
            self.stamp == other.stamp
            and self.camera == other.camera
            and np.array_equal(one.indices, two.indices)
            and np.array_equal(one.similarities, two.similarities)
        )

    def share(self, belief: Belief, config: FusionConfig) -> float:
        """t, how much of an independent witness it is."""
        last = belief.witnesses.get(self.camera)
        if last is None:
            return 1.0
        way = last.way + last.unknown * USUAL_SPEED * config.motion_bound
        mounting = self.camera_yaw - last.camera_yaw
        turn = last.turn + (abs(math.remainder(mounting, 2 * math.pi)) if math.isfinite(mounting) else 0.0)
        share = 1 - math.exp(-(way / config.correlation_length + turn / config.correlation_angle))
        if last.unknown > 0:
            common = len(np.intersect1d(last.rows, self.retrieved, assume_unique=True))
            new = 1 - common / max(len(self.retrieved), 1)
            share = min(share, new if new > 1 - SAME_VIEW else 0.0)
        return float(share)

    def update(self, belief: Belief, places: float, config: FusionConfig) -> Belief:
        """What is believed after it.

        Args:
            belief: before, moved to its stamp.
            places: n of the map.
            config: of the filter.
        """
        share = self.share(belief, config)
        if share < LEAST_SHARE or not len(self.singles):
            return belief
        miss = config.miss**share
        likely = (places * self.odds) ** share
        spread = self.covariance / share

        unseen, looked_at = np.zeros(len(belief), bool), 1.0
        if self.circle is not None:
            unseen = np.hypot(*(belief.mean[:, :2] - self.circle.middle).T) > self.circle.radius
            looked_at = self.circle.share
        kept = belief.weight * np.where(unseen, 1.0, miss)
        pairs = _pairs(belief, self.pose, spread, likely)
        support = np.bincount(pairs.of, pairs.weight, minlength=len(belief))
        supported = support > (SUPPORT**share) * belief.weight
        unsupported = {name: getattr(belief, name) for name in PER_HYPOTHESIS}
        unsupported["weight"] = kept
        unsupported["doubted"] = belief.doubted + np.where(unseen[:, None], 0.0, _REJECTED)
        unsupported["doubted"][supported, :3] = 0.0
        together = _joined(
            [unsupported, pairs.moved(belief, self), self._born(belief.anywhere * likely / places, spread)]
        )
        anywhere = belief.anywhere * (1 - looked_at + looked_at * miss)
        total = belief.outside + anywhere + float(together["weight"].sum())
        together["weight"] /= total
        witnesses = {**belief.witnesses, self.camera: Witness(self.retrieved, self.camera_yaw)}
        after: dict[str, Any] = {"outside": belief.outside / total, "anywhere": anywhere / total, **together}
        return replace(belief, witnesses=witnesses, **after)

    def _born(self, weight: Numbers, spread: Numbers) -> _Part:
        """Each place as a hypothesis of its own."""
        covariance = spread.copy()
        unknown = ~self.pose[:, 2:].any(axis=1)
        covariance[unknown, 2, 2] = covariance[unknown, 3, 3] = 0.5
        known = ~unknown
        # A heading vector has length 1: no more than 1/2 of variance along each axis.
        covariance[known, 2, 2] = covariance[known, 3, 3] = np.minimum(covariance[known, 2, 2], 0.5)
        count = len(weight)
        return {
            "weight": weight,
            "mean": self.pose,
            "covariance": covariance,
            "answered": np.zeros(count, bool),
            "doubted": _supported(np.full(count, np.inf), self.odds),
            "rows": self.rows,
            "similarity": self.similarity,
            "altitude": self.altitude,
        }


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Hypotheses moved by places: (n,) of which hypothesis, which place, and what came of it."""

    of: Rows
    place: Rows
    weight: Numbers
    mean: Numbers
    covariance: Numbers

    def moved(self, belief: Belief, observation: Observation) -> _Part:
        return {
            "weight": self.weight,
            "mean": self.mean,
            "covariance": self.covariance,
            "answered": belief.answered[self.of],
            "doubted": _supported(belief.doubted[self.of, 3], observation.odds[self.place]),
            "rows": observation.rows[self.place],
            "similarity": observation.similarity[self.place],
            "altitude": observation.altitude[self.place],
        }


def _pairs(belief: Belief, pose: Numbers, spread: Numbers, likely: Numbers) -> _Pairs:
    none = _Pairs(*(np.empty(0, np.int64),) * 2, np.empty(0), np.empty((0, 4)), np.empty((0, 4, 4)))
    if not len(belief) or not len(pose):
        return none
    # By position alone first: nothing is nearer than that.
    a = belief.covariance[:, None, 0, 0] + spread[None, :, 0, 0]
    b = belief.covariance[:, None, 0, 1] + spread[None, :, 0, 1]
    d = belief.covariance[:, None, 1, 1] + spread[None, :, 1, 1]
    x = pose[None, :, 0] - belief.mean[:, None, 0]
    y = pose[None, :, 1] - belief.mean[:, None, 1]
    squared = (d * x * x - 2 * b * x * y + a * y * y) / (a * d - b * b)
    of, place = np.nonzero(squared <= GATE)
    if len(of) > MOST_PAIRS:
        promise = belief.weight[of] * likely[place] * np.exp(-0.5 * squared[of, place])
        best = np.sort(np.argpartition(-promise, MOST_PAIRS)[:MOST_PAIRS])
        of, place = of[best], place[best]
    if not len(of):
        return none
    before, noise = belief.covariance[of], spread[place]
    together = before + noise
    inverse = np.linalg.inv(together)
    away = pose[place] - belief.mean[of]
    # An unknown heading of the place is 0 with a variance that outweighs everything.
    gain = before @ inverse
    mahalanobis = (away[:, None, :] @ inverse @ away[:, :, None])[:, 0, 0]
    narrowing = np.sqrt(np.linalg.det(spread)[place] * np.linalg.det(inverse))
    weight = belief.weight[of] * likely[place] * narrowing * np.exp(-0.5 * mahalanobis)
    mean = belief.mean[of] + (gain @ away[:, :, None])[:, :, 0]
    rest = np.eye(4) - gain
    # Joseph's form: positive definite whatever is rounded.
    covariance = rest @ before @ rest.transpose(0, 2, 1) + gain @ noise @ gain.transpose(0, 2, 1)
    near = mahalanobis <= GATE
    return _Pairs(of[near], place[near], weight[near], mean[near], covariance[near])


def _supported(confirmed: Numbers, odds: Numbers) -> Numbers:
    """(n, 4) `Belief.doubted` of hypotheses that a picture has just supported, with what it was confirmed by before."""
    doubted = np.zeros((len(odds), 4))
    doubted[:, 3] = np.where(odds >= CONFIRMING, 0.0, confirmed)
    return doubted


def _joined(parts: list[_Part]) -> _Part:
    """All hypotheses of some parts of a belief."""
    together = {name: np.concatenate([part[name] for part in parts]) for name in PER_HYPOTHESIS}
    together["covariance"] = (together["covariance"] + together["covariance"].transpose(0, 2, 1)) / 2
    # Longer than 1 no heading vector is.
    length = np.hypot(together["mean"][:, 2], together["mean"][:, 3])
    together["mean"][:, 2:] /= np.maximum(length, 1.0)[:, None]
    return together


def _without_yaw(single: Hypothesis) -> Hypothesis:
    covariance = single.covariance.copy()
    covariance[2, 2] = UNKNOWN_YAW_VARIANCE
    return replace(single, yaw=float("nan"), covariance=covariance)
