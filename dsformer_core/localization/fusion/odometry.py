"""How the robot moved between two moments, as its odometry tells, in the order of stamps whatever came when."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.planar import PlanarPose

CAPACITY = 4096
"""Messages that are kept: 40 s at 100 Hz, more than pictures are late by."""

DRIFT_LENGTH = 50.0
"""Metres after which the modelled error of position reaches `odometry_noise` of the way. Errors of scale grow with the
way and those of slip with its root; variances that grow with the way are never too small before that length, and a
hypothesis that no picture confirms for longer is no answer anyway."""

HELD = 0.25
"""Seconds for which the last known velocity is believed to go on: pictures are often a little newer than odometry."""

WAITED = 0.1
"""Seconds after the last message in which its pose still counts: a robot at 10 m/s moves a metre meanwhile, less than a
coarse pose is exact to."""

LARGEST_INCREMENT = 1e4
"""m^2 or rad^2: what a message's covariance may grow by at most."""

_JUMP = 5.0


@dataclass(frozen=True)
class Motion:
    """A movement.

    Attributes:
        seconds: that it took, >= 0.
        known: whether odometry tells it; otherwise it is nought, and anything within the bounds may have happened.
        x: metres ahead, in base_frame as it was before.
        y: metres to the left.
        yaw: radians turned, counter-clockwise.
        way: metres of the path, at least hypot(x, y); 0 where unknown.
        turn: radians turned to either side together; 0 where unknown.
        variance: m^2 along each axis, of the position after it.
        yaw_variance: rad^2.
    """

    seconds: float
    known: bool
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    way: float = 0.0
    turn: float = 0.0
    variance: float = 0.0
    yaw_variance: float = 0.0


class Odometry:
    """Poses of base_frame in a continuous, drifting frame, by their stamps.

    Of movements only differences between poses are used, and these in base_frame: where the odometry frame lies and how
    it is turned changes nothing.
    """

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._count = 0
        # stamp, x, y, yaw, variance, yaw variance, and sums since the first: way, turn, variance, yaw variance, breaks;
        # and whether another frame begins
        self._table = np.zeros((CAPACITY, 12))
        self._begins = False

    def __len__(self) -> int:
        return self._count

    @property
    def newest(self) -> float:
        """Stamp of the last message, seconds; -inf without any."""
        return float(self._table[self._count - 1, 0]) if self._count else -math.inf

    def begin_anew(self) -> None:
        """The next message is of another frame: nothing is known of the movement up to it."""
        self._begins = True

    def add(self, stamp: float, x: float, y: float, yaw: float, covariance: NDArray[np.float64] | None) -> float:
        """Takes a message in.

        Args:
            stamp: seconds.
            x: metres.
            y: metres.
            yaw: radians.
            covariance: (3, 3) over (x, y, yaw) of the pose, None where unknown.

        Returns:
            The moment after which it tells anything new, infinite where it does not: a message with numbers that are
            not finite, or of a stamp that is there already, or older than all that are kept.
        """
        if not all(map(math.isfinite, (stamp, x, y, yaw))) or max(abs(x), abs(y)) > 1e9:
            return math.inf
        stamps = self._table[: self._count, 0]
        at = int(np.searchsorted(stamps, stamp))
        if at < self._count and stamps[at] == stamp:
            return math.inf
        if self._count == CAPACITY:
            if at == 0:
                return math.inf
            # Half at once, so that a message costs little on average.
            kept = CAPACITY // 2
            self._table[:kept] = self._table[CAPACITY - kept :]
            self._count, at = kept, max(at - (CAPACITY - kept), 0)
        late = at < self._count
        if late:
            self._table[at + 1 : self._count + 1] = self._table[at : self._count].copy()
        variance, yaw_variance = _variances(covariance)
        self._table[at, :6] = stamp, x, y, math.remainder(yaw, 2 * math.pi), variance, yaw_variance
        self._table[at, 11], self._begins = self._begins, False
        self._count += 1
        self._add_up(at)
        return float(self._table[at - 1, 0]) if at > 1 else -math.inf

    def _add_up(self, first: int) -> None:
        """Makes the sums anew from a row on."""
        config = self._config
        if first == 0:
            self._table[0, 6:11] = 0.0
            first = 1
        if first >= self._count:
            return
        rows, before = self._table[first : self._count], self._table[first - 1 : self._count - 1]
        step = rows[:, :6] - before[:, :6]
        seconds, way = step[:, 0], np.hypot(step[:, 1], step[:, 2])
        turn = np.abs(_wrapped(step[:, 3]))
        variance = np.maximum(config.odometry_noise**2 * DRIFT_LENGTH * way, np.clip(step[:, 4], 0, LARGEST_INCREMENT))
        yaw_variance = np.maximum(config.odometry_yaw_noise**2 * way, np.clip(step[:, 5], 0, LARGEST_INCREMENT))
        fast = (way > np.maximum(_JUMP * config.motion_bound * seconds, 2.0)) | (
            turn > np.maximum(_JUMP * config.turn_bound * seconds, 0.5)
        )
        broken = (seconds > config.odometry_gap) | fast | (rows[:, 11] > 0)
        known = ~broken
        increments = np.stack([way * known, turn * known, variance * known, yaw_variance * known, broken], axis=1)
        rows[:, 6:11] = before[:1, 6:11] + np.cumsum(increments, axis=0)

    def between(self, start: float, end: float) -> list[Motion]:
        """The movements from one moment to a later one, in their order; with gaps in between, more than one."""
        if end <= start:
            return []
        count = self._count
        if count < 2:
            return [Motion(end - start, known=False)]
        table = self._table[:count]
        first, last = float(table[0, 0]), float(table[-1, 0])
        known_from, known_to = max(start, first - HELD), min(end, last + HELD)
        if known_from >= known_to:
            return [Motion(end - start, known=False)]
        cuts = [known_from]
        low, high = table[:, 0].searchsorted((known_from, known_to)).tolist()
        lowest, highest = max(low, 1), min(high, count - 1)
        if table[highest, 10] > table[lowest - 1, 10]:
            for row in lowest + np.flatnonzero(np.diff(table[lowest - 1 : highest + 1, 10])):
                cuts += [max(table[row - 1, 0], known_from), min(table[row, 0], known_to)]
        cuts.append(known_to)
        moves = [Motion(known_from - start, known=False)] if known_from > start else []
        for number, (before, after) in enumerate(pairwise(cuts)):
            if after > before:
                inside_gap = number % 2 == 1
                moves.append(Motion(after - before, known=False) if inside_gap else self._along(before, after))
        if end > known_to:
            moves.append(Motion(end - known_to, known=False))
        return moves

    def stood(self, start: float, end: float, metres: float) -> bool:
        """Whether it tells all of the time between two moments, in which the robot came less than so far.

        Not the way that it went: odometry that trembles goes far without moving.

        Args:
            start: seconds; the last message before it counts.
            end: seconds, later; the first message after it counts.
            metres: that a robot which stands may have moved by.
        """
        stamps = self._table[: self._count, 0]
        first, last = int(stamps.searchsorted(start, side="right")) - 1, int(stamps.searchsorted(end))
        if first < 0 or last == self._count:
            first, last = max(first, 0), min(last, self._count - 1)
            if first >= last or stamps[first] > start + HELD or stamps[last] < end - HELD:
                return False
        before, after = self._table[first].tolist(), self._table[last].tolist()
        return bool(before[10] == after[10] and math.hypot(after[1] - before[1], after[2] - before[2]) < metres)

    def at(self, moment: float) -> PlanarPose | None:
        """The pose in odometry's own frame at a moment, interpolated; None where no message is near enough to tell.

        A moment shortly after the last message has its pose: odometry may come a little later than a picture.
        """
        stamps = self._table[: self._count, 0]
        row = int(np.searchsorted(stamps, moment))
        if row < self._count and stamps[row] == moment:
            x, y, yaw = self._table[row, 1:4]
        elif row == 0 or moment > stamps[-1] + WAITED:
            return None
        elif row == self._count:
            x, y, yaw = self._table[row - 1, 1:4]
        elif self._breaks(row):
            return None
        else:
            x, y, yaw = self._at(moment, ends=False)[:3]
        return PlanarPose(float(x), float(y), math.remainder(yaw, 2 * math.pi))

    def _breaks(self, row: int) -> bool:
        """Whether nothing is known of what lies between a message and the one before it."""
        return bool(self._table[row, 10] > self._table[row - 1, 10])

    def _along(self, start: float, end: float) -> Motion:
        """The movement from one moment to a later one, between which nothing is missing."""
        one, other = self._at(start, ends=False), self._at(end, ends=True)
        east, north = other[0] - one[0], other[1] - one[1]
        cosine, sine = math.cos(one[2]), math.sin(one[2])
        x, y = cosine * east + sine * north, cosine * north - sine * east
        way, turn, variance, yaw_variance = (
            max(after - before, 0.0) for before, after in zip(one[3:], other[3:], strict=True)
        )
        turned = math.remainder(other[2] - one[2], 2 * math.pi)
        return Motion(end - start, True, x, y, turned, max(way, math.hypot(x, y)), turn, variance, yaw_variance)

    def _at(self, moment: float, *, ends: bool) -> list[float]:
        """x, y, yaw, and the sums way, turn, variance, yaw variance at a moment, on the side of a gap it belongs to."""
        stamps = self._table[: self._count, 0]
        row = int(stamps.searchsorted(moment, side="left" if ends else "right"))
        row = min(max(row, 1), self._count - 1)
        before, after = self._table[row - 1 : row + 1].tolist()
        if after[10] > before[10]:
            nearest = before if ends else after
            return [*nearest[1:4], *nearest[6:10]]
        share = (moment - before[0]) / (after[0] - before[0])
        east, north = after[1] - before[1], after[2] - before[2]
        turned = math.remainder(after[3] - before[3], 2 * math.pi)
        if not 0 <= share <= 1:
            seconds = moment - (after[0] if share > 1 else before[0])
            share = self._within_bounds(share, seconds, math.hypot(east, north), abs(turned))
        sums = [early + share * (late - early) for early, late in zip(before[6:10], after[6:10], strict=True)]
        return [before[1] + share * east, before[2] + share * north, before[3] + share * turned, *sums]

    def _within_bounds(self, share: float, seconds: float, metres: float, turned: float) -> float:
        """How far a step may be drawn out beyond its ends: two messages a microsecond apart tell no velocity."""
        nearest, beyond = (1.0, share - 1.0) if share > 1 else (0.0, -share)
        for amount, bound in ((metres, self._config.motion_bound), (turned, self._config.turn_bound)):
            if amount * beyond > bound * abs(seconds):
                beyond = bound * abs(seconds) / amount
        return nearest + math.copysign(beyond, share - nearest)


def _variances(covariance: NDArray[np.float64] | None) -> tuple[float, float]:
    """Of position along the worse axis and of yaw; 0 where they make no sense."""
    if covariance is None:
        return 0.0, 0.0
    diagonal = np.diagonal(np.asarray(covariance, np.float64)).tolist()
    if len(diagonal) != 3 or not all(math.isfinite(value) and value >= 0 for value in diagonal):
        return 0.0, 0.0
    return max(diagonal[0], diagonal[1]), diagonal[2]


def _wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.remainder(angle + np.pi, 2 * np.pi) - np.pi
