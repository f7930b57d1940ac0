r"""What is believed of the robot's pose: a mixture of Gaussians, and "somewhere else" with a mass of its own.

A hypothesis is a Gaussian over x = (p, h): the position p and the heading vector h = (cos yaw, sin yaw). With a vector
in place of an angle nothing wraps, a motion (dx, dy, dyaw) of base_frame is linear and the same for all hypotheses,

    p' = p + [dx -dy; dy dx] h,    h' = [cos dyaw, -sin dyaw; sin dyaw, cos dyaw] h,

and an unknown yaw is no special case: E h = 0, Var h = I/2, from which two pictures of places one after the other tell
the yaw. Turning by an unknown angle of variance q, known to first and second moments exactly, is

    E h' = e^(-q/2) E h,    E h'h'^T = ½ I + e^(-2q) (E hh^T - ½ tr(E hh^T) I),    Cov(p', h') = e^(-q/2) Cov(p, h)

Half of it is applied before a movement and half after, so that it matters little whether a movement comes in one piece
or in several. Without odometry, hypotheses spread by diffusion, in t seconds of which nothing is known by v² T t / 3
along each axis, v the motion bound and T = `STEADY` the time for which a velocity lasts, and likewise in yaw.

"Somewhere else" has two parts: outside the map, and anywhere in it where no hypothesis stands, both alike at the
beginning. Between pictures each hypothesis loses to them, half to each, 1 - exp(-r) of its mass, r = a t + b d in t
seconds and d metres: the robot is carried away, or drives off the map. What is anywhere goes outside at the same rate,
and what is outside comes back at `RETURNS` times of it.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.odometry import Motion

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

KEPT_ROWS = 20
"""References that a hypothesis remembers of the last picture that supported it."""

USUAL_SPEED = 1 / 3
"""Of the motion bound, which is never exceeded: what is gone usually, where odometry does not tell."""

RETURNS = 10.0
"""How many times as often as a robot leaves the map, or is carried off it, one that is outside comes into it."""

WIDEST_REACH = 25.0
"""Metres within which a hypothesis joins one that is as vague: further away it is another place, however vague."""

LOST_STD = 300.0
"""Metres. A hypothesis of which no more is known says nothing that "somewhere else" does not."""

STEADY, STEADY_TURN = 3.0, 1.0
"""Seconds for which a velocity, and a rate of turning, last about: a street, a bend."""

NEGLIGIBLE = 1e-9
SAME_HEADING = 0.5
"""Squared distance of two heading vectors, 41 degrees, up to which hypotheses may be one."""


PER_HYPOTHESIS = (
    "weight", "mean", "covariance", "answered", "doubted", "rows", "similarity", "altitude"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Witness:
    """The last picture of a camera that was counted.

    Attributes:
        rows: references it retrieved, ascending.
        way: metres of odometry since.
        camera_yaw: of its mounting, radians, NaN where unknown.
        turn: radians turned since.
        unknown: seconds since of which odometry tells nothing.
        seconds: since.
    """

    rows: Rows
    camera_yaw: float
    way: float = 0.0
    turn: float = 0.0
    unknown: float = 0.0
    seconds: float = 0.0

    def moved(self, motion: Motion) -> "Witness":
        """The same after a movement."""
        return replace(
            self,
            way=self.way + motion.way,
            turn=self.turn + motion.turn,
            unknown=self.unknown + (0.0 if motion.known else motion.seconds),
            seconds=self.seconds + motion.seconds,
        )


@dataclass(frozen=True, eq=False)
class Belief:
    """M hypotheses at one moment. Not changed once made.

    Attributes:
        stamp: seconds.
        weight: (M,) probability of each.
        mean: (M, 4) position in metres about an origin, and heading vector.
        covariance: (M, 4, 4).
        outside: probability that the robot is nowhere in the map.
        anywhere: that it is in the map, at a place for which no hypothesis stands, any of them alike. With `outside`
            and the weights 1.
        answered: (M,) bool, whether it was the answer when the last verdict was LOCALIZED.
        doubted: (M, 4) since a picture last supported it: pictures that did not, metres, seconds; and metres since one
            last confirmed it, infinite where none did.
        rows: (M, KEPT_ROWS) references of that picture, best first, -1 where there are fewer.
        similarity: (M,) of the best of them.
        altitude: (M,) metres, NaN where unknown.
        witnesses: the last picture that counted, of each camera.
    """

    stamp: float
    weight: Numbers
    mean: Numbers
    covariance: Numbers
    outside: float
    anywhere: float
    answered: NDArray[np.bool_]
    doubted: Numbers
    rows: Rows
    similarity: Numbers
    altitude: Numbers
    witnesses: dict[int, Witness] = field(default_factory=dict)

    @classmethod
    def nothing(cls, stamp: float) -> "Belief":
        """Before the first picture."""
        return cls(
            stamp,
            weight=np.empty(0),
            mean=np.empty((0, 4)),
            covariance=np.empty((0, 4, 4)),
            outside=0.5,
            anywhere=0.5,
            answered=np.empty(0, bool),
            doubted=np.empty((0, 4)),
            rows=np.empty((0, KEPT_ROWS), np.int64),
            similarity=np.empty(0),
            altitude=np.empty(0),
        )

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def elsewhere(self) -> float:
        """Probability of none of the hypotheses."""
        return self.outside + self.anywhere

    def moved(self, motions: list[Motion], stamp: float, config: FusionConfig) -> "Belief":
        """The belief after some movements, at a later moment."""
        if not motions:
            return self if stamp == self.stamp else replace(self, stamp=stamp)
        weight, mean, covariance = self.weight, self.mean, self.covariance
        outside, anywhere, doubted, witnesses = self.outside, self.anywhere, self.doubted, self.witnesses
        for motion in motions:
            mean, covariance = _displaced(mean, covariance, motion, config)
            way = motion.way if motion.known else USUAL_SPEED * config.motion_bound * motion.seconds
            passed = config.lost_per_second * motion.seconds + config.lost_per_metre * way
            stay = math.exp(-passed)
            carried = (1 - stay) * max(1 - outside - anywhere, 0.0) / 2
            weight = weight * stay
            # Of two states that change into each other at the rates 1 and RETURNS.
            total = outside + anywhere
            mapped = total * RETURNS / (1 + RETURNS)
            anywhere = mapped + (anywhere - mapped) * math.exp(-(1 + RETURNS) * passed)
            outside = total - anywhere + carried
            anywhere += carried
            doubted = doubted + np.array([0.0, way, motion.seconds, way])
            witnesses = {camera: witness.moved(motion) for camera, witness in witnesses.items()}
        moved = replace(
            self,
            stamp=stamp,
            weight=weight,
            mean=mean,
            covariance=covariance,
            outside=outside,
            anywhere=anywhere,
            doubted=doubted,
            witnesses=witnesses,
        )
        lost = np.trace(covariance[:, :2, :2], axis1=1, axis2=2) > LOST_STD**2
        return moved.only(np.flatnonzero(~lost)) if lost.any() else moved

    def only(self, kept: Rows) -> "Belief":
        """Some of the hypotheses; the mass of the others may be anywhere."""
        if len(kept) == len(self) and (np.diff(kept) == 1).all():
            return self
        weight = self.weight[kept]
        return self._taken(kept, weight=weight, anywhere=max(1.0 - self.outside - float(weight.sum()), 0.0))

    def _taken(self, kept: Rows, **changes: object) -> "Belief":
        taken: dict[str, Any] = {name: getattr(self, name)[kept] for name in PER_HYPOTHESIS}
        return replace(self, **{**taken, **changes})

    def merged(self, radius: float, most: int, *, spread: bool, least: float = NEGLIGIBLE) -> "Belief":
        """At most `most` hypotheses, none of which could be one with a heavier one.

        A hypothesis joins a heavier one that looks the same way and whose position is within `radius`, or, with
        `spread`, within a standard deviation of the heavier one where that is more, but at most `WIDEST_REACH`. Both
        moments of the mixture stay.

        Args:
            radius: metres.
            most: hypotheses.
            spread: whether wide ones reach further.
            least: weight of a hypothesis below which it is left out.
        """
        order = np.argsort(-self.weight, kind="stable")[: most + most // 2]
        order = order[self.weight[order] > least]
        if not len(order):
            return self.only(order)
        weight, mean = self.weight[order], self.mean[order]
        x, y = mean[:, 0], mean[:, 1]
        distance = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
        reach = radius**2
        if spread:
            deviation = np.trace(self.covariance[order][:, :2, :2], axis1=1, axis2=2) / 2
            reach = np.clip(deviation, reach, max(reach, WIDEST_REACH**2))[None, :]
        length = np.maximum(np.hypot(mean[:, 2], mean[:, 3]), NEGLIGIBLE)
        unit = mean[:, 2:] / length[:, None]
        vague = length < 0.3
        turned = 2 - 2 * (unit @ unit.T)
        close = (distance <= reach) & ((turned <= SAME_HEADING) | vague[:, None] | vague[None, :])
        np.fill_diagonal(close, True)
        leads = close.argmax(axis=1) == np.arange(len(order))
        close &= leads[None, :]
        np.fill_diagonal(close, True)
        leader = close.argmax(axis=1)
        leads = leader == np.arange(len(order))
        if leads.all() and len(order) <= most:
            return self.only(order)

        chosen = np.flatnonzero(leads)
        gathered = np.bincount(leader, weight, minlength=len(order))[chosen]
        chosen = chosen[np.argsort(-gathered, kind="stable")[:most]]
        share = np.where(leader[None, :] == chosen[:, None], weight[None, :], 0.0)
        total = share.sum(axis=1)
        share /= total[:, None]
        middle = share @ mean
        # About the leaders, where numbers are small.
        place = np.full(len(order), -1)
        place[chosen] = np.arange(len(chosen))
        members = np.flatnonzero(place[leader] >= 0)
        group = place[leader[members]]
        away = mean[members] - middle[group]
        inner = self.covariance[order[members]] + away[:, :, None] * away[:, None, :]
        covariance = (share[:, members] @ inner.reshape(-1, 16)).reshape(-1, 4, 4)
        return self._taken(
            order[chosen],
            weight=total,
            mean=middle,
            covariance=covariance,
            anywhere=max(1.0 - self.outside - float(total.sum()), 0.0),
        )


def _displaced(mean: Numbers, covariance: Numbers, motion: Motion, config: FusionConfig) -> tuple[Numbers, Numbers]:
    if not motion.known:
        turned = config.turn_bound**2 * STEADY_TURN * motion.seconds / 3
        mean, covariance = _turned(mean, covariance, turned)
        covariance[:, (0, 1), (0, 1)] += config.motion_bound**2 * STEADY * motion.seconds / 3
        return mean, covariance
    mean, covariance = _turned(mean, covariance, motion.yaw_variance / 2)
    cosine, sine = math.cos(motion.yaw), math.sin(motion.yaw)
    x, y = motion.x, motion.y
    step = np.array([[1, 0, x, -y], [0, 1, y, x], [0, 0, cosine, -sine], [0, 0, sine, cosine]])
    mean, covariance = mean @ step.T, step @ covariance @ step.T
    mean, covariance = _turned(mean, covariance, motion.yaw_variance / 2)
    covariance[:, (0, 1), (0, 1)] += motion.variance
    return mean, covariance


def _turned(mean: Numbers, covariance: Numbers, variance: float) -> tuple[Numbers, Numbers]:
    """Turned by an angle of mean nought and some variance; copies."""
    once, twice = math.exp(-variance / 2), math.exp(-2 * variance)
    heading = mean[:, 2:]
    # tr(E hh^T) / 2
    half = (covariance[:, 2, 2] + covariance[:, 3, 3] + (heading**2).sum(axis=1)) / 2
    shrunk = np.array([[1, 1, once, once], [1, 1, once, once], [once, once, twice, twice], [once, once, twice, twice]])
    covariance = covariance * shrunk
    covariance[:, 2:, 2:] += (twice - once**2) * heading[:, :, None] * heading[:, None, :]
    covariance[:, (2, 3), (2, 3)] += (1 - twice) * half[:, None]
    return mean * np.array([1, 1, once, once]), covariance
