"""What is believed of the robot's pose: a mixture of Gaussians, and "somewhere else" with a mass of its own.

"Somewhere else" has two parts: outside the map, and anywhere in it where no hypothesis stands, both alike at the
beginning. Between pictures each hypothesis loses to them, half to each, 1 - exp(-r) of its mass, r = a t + b d in t
seconds and d metres: the robot is carried away, or drives off the map. What is anywhere goes outside at the same rate,
and what is outside comes back at `RETURNS` times of it.

Where odometry tells, hypotheses move by it. Without, they spread by diffusion, in t seconds of which nothing is known
by v² T t / 3 along each axis, v the motion bound and T = `STEADY` the time for which a velocity lasts, and likewise in
yaw.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.mixture import Mixture, Rows
from dsformer_core.localization.fusion.odometry import Motion

USUAL_SPEED = 1 / 3
"""Of the motion bound, which is never exceeded: what is gone usually, where odometry does not tell."""

RETURNS = 10.0
"""How many times as often as a robot leaves the map, or is carried off it, one that is outside comes into it."""

LOST_STD = 300.0
"""Metres. A hypothesis of which no more is known says nothing that "somewhere else" does not."""

STEADY, STEADY_TURN = 3.0, 1.0
"""Seconds for which a velocity, and a rate of turning, last about: a street, a bend."""


@dataclass(frozen=True, eq=False)
class Witness:
    """The last picture of a camera that was counted.

    Attributes:
        rows: references it retrieved, ascending.
        camera_yaw: of its mounting, radians, NaN where unknown.
        way: metres of odometry since.
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
        return Witness(
            self.rows,
            self.camera_yaw,
            way=self.way + motion.way,
            turn=self.turn + motion.turn,
            unknown=self.unknown + (0.0 if motion.known else motion.seconds),
            seconds=self.seconds + motion.seconds,
        )


@dataclass(frozen=True, eq=False)
class Belief:
    """Hypotheses, and what is left for somewhere else, at one moment. Not to be changed, nor can its mixture be.

    Attributes:
        stamp: seconds.
        mixture: the hypotheses; their weights are probabilities.
        outside: probability that the robot is nowhere in the map.
        anywhere: that it is in the map, at a place for which no hypothesis stands, any of them alike. With `outside`
            and the weights 1.
        witnesses: the last picture that counted, of each camera.
    """

    stamp: float
    mixture: Mixture
    outside: float
    anywhere: float
    witnesses: dict[int, Witness] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mixture.table.flags.writeable = False

    @classmethod
    def nothing(cls, stamp: float) -> "Belief":
        """Before the first picture."""
        return cls(stamp, Mixture.blank(0), outside=0.5, anywhere=0.5)

    def __len__(self) -> int:
        return len(self.mixture)

    def holding(self, mixture: Mixture) -> "Belief":
        """The same with some of its hypotheses, or with some merged; the mass of the others may be anywhere."""
        anywhere = max(1.0 - self.outside - float(mixture.weight.sum()), 0.0)
        return Belief(self.stamp, mixture, self.outside, anywhere, self.witnesses)

    def answering(self, answered: NDArray[np.bool_]) -> "Belief":
        """The same with these (M,) of its hypotheses as the answer."""
        mixture = self.mixture.copy()
        mixture.answered = answered
        return Belief(self.stamp, mixture, self.outside, self.anywhere, self.witnesses)

    def moved(self, motions: list[Motion], stamp: float, config: FusionConfig) -> "Belief":
        """The belief after some movements, at a later moment."""
        mixture, outside, anywhere, witnesses = self.mixture, self.outside, self.anywhere, self.witnesses
        for motion in motions:
            variance, yaw_variance, way = motion.variance, motion.yaw_variance, motion.way
            if not motion.known:
                variance = config.motion_bound**2 * STEADY * motion.seconds / 3
                yaw_variance = config.turn_bound**2 * STEADY_TURN * motion.seconds / 3
                way = USUAL_SPEED * config.motion_bound * motion.seconds
            passed = config.lost_per_second * motion.seconds + config.lost_per_metre * way
            stay = math.exp(-passed)
            mixture = mixture.moved(motion.x, motion.y, motion.yaw, variance=variance, yaw_variance=yaw_variance)
            mixture.weight *= stay
            mixture.doubted += (0.0, way, motion.seconds, way)
            carried = (1 - stay) * max(1 - outside - anywhere, 0.0) / 2
            # Of two states that change into each other at the rates 1 and RETURNS.
            total = outside + anywhere
            mapped = total * RETURNS / (1 + RETURNS)
            anywhere = mapped + (anywhere - mapped) * math.exp(-(1 + RETURNS) * passed)
            outside = total - anywhere + carried
            anywhere += carried
            witnesses = {camera: witness.moved(motion) for camera, witness in witnesses.items()}
        moved = Belief(stamp, mixture, outside, anywhere, witnesses)
        known = mixture.position_variance <= LOST_STD**2
        return moved if known.all() else moved.holding(mixture[known])
