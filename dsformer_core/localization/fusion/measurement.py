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

import numpy as np
from numpy.typing import NDArray

from dsformer_core.localization.fusion.belief import USUAL_SPEED, Belief, Witness
from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.mixture import KEPT_ROWS, Mixture, Numbers, Rows
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE, Hypothesis
from dsformer_core.place_map import Matches

GATE = 25.0
"""Squared Mahalanobis distance, over position and heading vector, beyond which a place says nothing of a hypothesis."""

LEAST_SHARE = 0.1
SAME_VIEW = 0.7
"""Share of references in common from which on two pictures, between which nothing tells the way, are of one view."""

MOST_PAIRS = 96
"""Hypotheses moved by a place that are looked at further."""

SUPPORT = 3.0
"""How many times as likely as from somewhere else a picture must be to support a hypothesis."""

CONFIRMING = 0.1
"""P_g / P_none of a place from which on a picture confirms the hypothesis that it supports: nearly alone. A street that
is not in the map is like some street of it for as long as it lasts, and picture after picture supports that one a
little; hardly one confirms it."""

_UNINFORMATIVE = 1e4


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
        places: G hypotheses, each place as if nothing else were known, of weight e^(u_g); of an unknown heading with a
            variance that outweighs everything.
        retrieved: all rows, ascending.
        circle: where was searched; None for everywhere.
    """

    stamp: float
    camera: int
    camera_yaw: float
    matches: Matches
    singles: list[Hypothesis]
    places: Mixture
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
        places = Mixture.blank(len(singles))
        if singles:
            probability, yaw, places.similarity, places.altitude = np.array(
                [(single.probability, single.yaw, single.similarity, single.altitude) for single in singles]
            ).T
            places.weight = probability / max(1.0 - float(probability.sum()), 1e-9)
            places.doubted[:, 3] = np.where(places.weight >= CONFIRMING, 0.0, np.inf)
            known = np.isfinite(yaw)
            yaw[~known] = 0.0
            mean, covariance = places.mean, places.covariance
            mean[:, :2] = np.array([single.utm for single in singles]) - origin
            mean[:, 2], mean[:, 3] = np.cos(yaw) * known, np.sin(yaw) * known
            spread = np.array([single.covariance for single in singles])
            covariance[:, :2, :2] = spread[:, :2, :2]
            # Of a heading vector turned by an angle of that variance, across it.
            across = np.where(known, (1 - np.exp(-2 * spread[:, 2, 2])) / 2, _UNINFORMATIVE)
            covariance[:, 2, 2] = covariance[:, 3, 3] = across
            for remembered, single in zip(places.rows, singles, strict=True):
                references = single.references[:KEPT_ROWS]
                remembered[: len(references)] = references
        retrieved = np.sort(matches.indices[0][:top_k])
        return cls(stamp, camera, float(camera_yaw), matches, singles, places, retrieved, circle)

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
        likely = (places * self.places.weight) ** share
        noise = self.places.covariance / share
        seen, looked_at = np.ones(len(belief), bool), 1.0
        if self.circle is not None:
            away = belief.mixture.mean[:, :2] - self.circle.middle
            seen &= np.hypot(away[:, 0], away[:, 1]) <= self.circle.radius
            looked_at = self.circle.share
        of, moved = self._moving(belief.mixture, likely, noise)
        support = np.bincount(of, moved.weight, minlength=len(belief))
        supported = support > (SUPPORT**share) * belief.mixture.weight

        stays = belief.mixture.copy()
        stays.weight *= np.where(seen, miss, 1.0)
        stays.doubted[:, 0] += seen
        stays.doubted[supported, :3] = 0.0
        after = Mixture.joined(stays, moved, self._born(belief.anywhere * likely / places, noise))
        anywhere = belief.anywhere * (1 - looked_at + looked_at * miss)
        weight = after.weight
        total = belief.outside + anywhere + float(weight.sum())
        weight /= total
        witnesses = {**belief.witnesses, self.camera: Witness(self.retrieved, self.camera_yaw)}
        return Belief(belief.stamp, after, belief.outside / total, anywhere / total, witnesses)

    def _born(self, weight: Numbers, noise: Numbers) -> Mixture:
        """Each place as a hypothesis of its own."""
        born = self.places.copy()
        born.weight, born.covariance = weight, noise
        # A heading vector has length 1: no more than 1/2 of variance along each axis.
        for axis in (2, 3):
            born.covariance[:, axis, axis] = np.minimum(noise[:, axis, axis], 0.5)
        return born

    def _moving(self, mixture: Mixture, likely: Numbers, noise: Numbers) -> tuple[Rows, Mixture]:
        """Hypotheses moved by places within the gate: (n,) which of the mixture it was, and what came of it."""
        of, place = _near(mixture, self.places, likely, noise)
        if not len(of):
            return of, Mixture.blank(0)
        before, moved, noise = mixture[of], self.places[place], noise[place]
        covariance = before.covariance
        # An unknown heading of the place is 0 with a variance that outweighs everything.
        away = (moved.mean - before.mean)[:, :, None]
        solved = np.linalg.solve(covariance + noise, np.concatenate([noise, away], axis=2))
        # (V + R)^-1 R, whose determinant is |R| / |V + R|, and (V + R)^-1 (z - m).
        shrinking, weighed = solved[:, :, :4], solved[:, :, 4:]
        squared = (away * weighed).sum(axis=(1, 2))
        narrowing = np.sqrt(np.maximum(np.linalg.det(shrinking), 0.0))
        moved.weight = before.weight * likely[place] * narrowing * np.exp(-0.5 * squared)
        mean = before.mean + (covariance @ weighed)[:, :, 0]
        # Longer than 1 no heading vector is.
        mean[:, 2:] /= np.maximum(np.hypot(mean[:, 2], mean[:, 3]), 1.0)[:, None]
        moved.mean = mean
        # (V^-1 + R^-1)^-1 = V (V + R)^-1 R, positive definite as V + R is well-conditioned; symmetric but for rounding.
        covariance = covariance @ shrinking
        moved.covariance = (covariance + covariance.transpose(0, 2, 1)) / 2
        moved.answered = before.answered
        moved.doubted[:, 3] = np.minimum(moved.doubted[:, 3], before.doubted[:, 3])
        near = squared <= GATE
        return of[near], moved[near]


def _near(mixture: Mixture, places: Mixture, likely: Numbers, noise: Numbers) -> tuple[Rows, Rows]:
    """(n,), (n,) hypotheses and places within the gate by position alone, less than which their distance cannot be."""
    if not len(mixture):
        nothing = np.empty(0, np.int64)
        return nothing, nothing
    together = mixture.covariance[:, None, :2, :2] + noise[:, :2, :2]
    a, b, d = together[..., 0, 0], together[..., 0, 1], together[..., 1, 1]
    away = places.mean[:, :2] - mixture.mean[:, None, :2]
    x, y = away[..., 0], away[..., 1]
    squared = (d * x * x - 2 * b * x * y + a * y * y) / (a * d - b * b)
    of, place = np.nonzero(squared <= GATE)
    if len(of) > MOST_PAIRS:
        promise = mixture.weight[of] * likely[place] * np.exp(-0.5 * squared[of, place])
        best = np.sort(np.argpartition(-promise, MOST_PAIRS)[:MOST_PAIRS])
        of, place = of[best], place[best]
    return of, place


def _without_yaw(single: Hypothesis) -> Hypothesis:
    covariance = single.covariance.copy()
    covariance[2, 2] = UNKNOWN_YAW_VARIANCE
    return replace(single, yaw=float("nan"), covariance=covariance)
