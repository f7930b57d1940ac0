"""Hypotheses about the robot's pose, each a Gaussian with a weight: moved, chosen and merged.

A hypothesis is a Gaussian over x = (p, h): the position p and the heading vector h = (cos yaw, sin yaw). With a vector
in place of an angle nothing wraps, a motion (dx, dy, dyaw) of base_frame is linear and the same for all hypotheses,

    p' = p + [dx -dy; dy dx] h,    h' = [cos dyaw, -sin dyaw; sin dyaw, cos dyaw] h,

and an unknown yaw is no special case: E h = 0, Var h = I/2, from which two pictures of places one after the other tell
the yaw. Turning by an unknown angle of variance q, known to first and second moments exactly, is

    E h' = e^(-q/2) E h,    E h'h'^T = ½ I + e^(-2q) (E hh^T - ½ tr(E hh^T) I),    Cov(p', h') = e^(-q/2) Cov(p, h)

Half of it is applied before a movement and half after, so that it matters little whether a movement comes in one piece
or in several.

All this is linear in the four numbers of E x, the 16 of Cov(x) and the four of E h E h^T, whatever the hypothesis: a
movement is one 24 x 24 matrix, and moving any number of hypotheses one product.
"""

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

KEPT_ROWS = 20
"""References that a hypothesis remembers of the last picture that supported it."""

WIDEST_REACH = 25.0
"""Metres within which a hypothesis joins one that is as vague: further away it is another place, however vague."""

NEGLIGIBLE = 1e-9
"""Weight of a hypothesis of which nothing is lost when it is left out."""

SAME_HEADING = 0.75
"""Cosine of the angle between two headings, 41 degrees, up to which hypotheses may be one."""

VAGUE_HEADING = 0.3
"""Length of a mean heading vector below which the yaw is as good as unknown."""


_WIDTH = 28 + KEPT_ROWS


class _Columns:
    """Some columns of a mixture's table as its attribute: a view when read; what it is set to is written there.

    So `mixture.weight *= 2` works, in place.
    """

    def __init__(self, first: int, *shape: int) -> None:
        self._columns = slice(first, first + math.prod(shape)) if shape else first
        self._shape = (-1, *shape) if len(shape) > 1 else None

    @overload
    def __get__(self, mixture: None, owner: type) -> "_Columns": ...
    @overload
    def __get__(self, mixture: "Mixture", owner: type | None = None) -> Numbers: ...
    def __get__(self, mixture: "Mixture | None", owner: type | None = None) -> "_Columns | Numbers":
        if mixture is None:
            return self
        view = mixture.table[:, self._columns]
        # To split one axis never copies.
        return view if self._shape is None else view.reshape(self._shape)

    def __set__(self, mixture: "Mixture", value: ArrayLike) -> None:
        self.__get__(mixture)[...] = value


class Mixture:
    """M hypotheses, in one table with a row for each: to choose some or to join several is one step.

    Attributes:
        table: (M, 48) all of the following, side by side.
        weight: (M,) of each.
        moments: (M, 20) mean and covariance, side by side.
        mean: (M, 4) position in metres about an origin, and heading vector.
        covariance: (M, 4, 4), symmetric but for rounding.
        doubted: (M, 4) since a picture last supported it: pictures that did not, metres, seconds; and metres since one
            last confirmed it, infinite where none did.
        answered: (M,) 1 where it was the answer when the last verdict was LOCALIZED, otherwise 0.
        similarity: (M,) of the best of `rows`, NaN where no picture supported it.
        altitude: (M,) metres, NaN where unknown.
        rows: (M, KEPT_ROWS) references of the last picture that supported it, best first, -1 where there are fewer;
            whole numbers, which a table of floats holds exactly.
    """

    weight = _Columns(0)
    moments = _Columns(1, 20)
    mean = _Columns(1, 4)
    covariance = _Columns(5, 4, 4)
    doubted = _Columns(21, 4)
    answered = _Columns(25)
    similarity = _Columns(26)
    altitude = _Columns(27)
    rows = _Columns(28, KEPT_ROWS)

    def __init__(self, table: Numbers) -> None:
        self.table = table

    @classmethod
    def blank(cls, count: int) -> "Mixture":
        """Hypotheses of no weight that no picture supports, to be filled in."""
        blank = cls(np.zeros((count, _WIDTH)))
        blank.rows = -1
        return blank

    @classmethod
    def joined(cls, *parts: "Mixture") -> "Mixture":
        """All hypotheses of some."""
        return cls(np.concatenate([part.table for part in parts]))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, which: slice | Rows | NDArray[np.bool_]) -> "Mixture":
        """Some hypotheses: with a slice a view of them, otherwise a copy."""
        return Mixture(self.table[which])

    @property
    def position_variance(self) -> Numbers:
        """(M,) m^2, of both axes together."""
        covariance = self.covariance
        return covariance[:, 0, 0] + covariance[:, 1, 1]

    def references(self) -> list[Rows]:
        """Of each hypothesis its `rows`, as far as it has them."""
        kept = (self.rows >= 0).sum(axis=1).tolist()
        return [rows[:count] for rows, count in zip(self.rows.astype(np.int64), kept, strict=True)]

    def copy(self) -> "Mixture":
        """The same, to be changed."""
        return Mixture(self.table.copy())

    def moved(self, x: float, y: float, yaw: float, *, variance: float, yaw_variance: float) -> "Mixture":
        """After a movement; a copy.

        Args:
            x: metres ahead, in base_frame as it was before.
            y: metres to the left.
            yaw: radians turned, counter-clockwise.
            variance: m^2 of the movement along each axis.
            yaw_variance: rad^2.
        """
        turning = _turned_by(yaw_variance / 2)
        # The squares of the new mean are not asked for.
        movement = (turning @ _displaced_by(x, y, yaw) @ turning)[: _SQUARES.start]
        heading = self.mean[:, 2:]
        squares = heading[:, :, None] * heading[:, None, :]
        moved = self.copy()
        moved.moments = np.concatenate([self.moments, squares.reshape(-1, 4)], axis=1) @ movement.T
        moved.moments += variance * _ALONG_EACH_AXIS
        return moved

    def merged(self, radius: float, most: int, *, spread: bool, least: float = NEGLIGIBLE) -> "Mixture":
        """At most `most` hypotheses, heaviest first, none of which could be one with a heavier one.

        A hypothesis joins a heavier one that looks the same way and whose position is within `radius`, or, with
        `spread`, within a standard deviation of the heavier one where that is more, but at most `WIDEST_REACH`. Both
        moments of what is kept stay.

        Args:
            radius: metres.
            most: hypotheses.
            spread: whether wide ones reach further.
            least: weight of a hypothesis below which it is left out.
        """
        weight = self.weight
        (heavy,) = (weight > least).nonzero()
        if len(heavy) < 2:
            return self[heavy]
        ordered = self[heavy[(-weight[heavy]).argsort(kind="stable")[: most + most // 2]]]
        close = ordered._close(radius, spread=spread)
        if np.count_nonzero(close) == len(ordered):
            return ordered[:most]

        number = np.arange(len(ordered))
        leader = close.argmax(axis=1)
        leads = leader == number
        if not leads[leader].all():
            # Who would join one that joins another itself: the next that does not, or nobody.
            close &= leads
            np.fill_diagonal(close, True)
            leader = close.argmax(axis=1)
            leads = leader == number
        (leaders,) = leads.nonzero()
        weight, mean = ordered.weight, ordered.mean
        total = np.bincount(leader, weight)[leaders]
        heaviest = (-total).argsort(kind="stable")[:most]
        leaders, total = leaders[heaviest], total[heaviest]
        # Rows of leaders, columns of members; those of leaders that are left out have none, and count nowhere.
        belongs = leader == leaders[:, None]
        share = belongs * (weight / total[:, None])
        merged, middle = ordered[leaders], share @ mean
        away = mean - middle[belongs.argmax(axis=0)]
        inner = ordered.covariance + away[:, :, None] * away[:, None, :]
        merged.weight, merged.mean = total, middle
        merged.covariance = (share @ inner.reshape(-1, 16)).reshape(-1, 4, 4)
        return merged

    def _close(self, radius: float, *, spread: bool) -> NDArray[np.bool_]:
        """(M, M) whether the hypothesis of a row could join that of a column."""
        mean = self.mean
        x, y, heading = mean[:, 0], mean[:, 1], mean[:, 2:]
        east, north = x[:, None] - x, y[:, None] - y
        reach = radius**2
        near = east * east + north * north <= (
            np.minimum(np.maximum(self.position_variance / 2, reach), max(reach, WIDEST_REACH**2)) if spread else reach
        )
        length = np.hypot(heading[:, 0], heading[:, 1])
        vague = length < VAGUE_HEADING
        same_way = heading @ heading.T >= (SAME_HEADING * length)[:, None] * length
        close: NDArray[np.bool_] = near & (same_way | vague | vague[:, None])
        return close


# Rows and columns of the matrices that move a mixture.
_MEAN, _COVARIANCE, _SQUARES, _SIZE = slice(0, 4), slice(4, 20), slice(20, 24), 24


def _displacements() -> Numbers:
    """(25, 24 * 24) what the products of 1, x, y, cos yaw and sin yaw multiply in the matrix of a displacement."""
    steps = np.zeros((5, 4, 4))
    steps[0, (0, 1), (0, 1)] = 1
    steps[1, (0, 1), (2, 3)] = 1
    steps[2, (0, 1), (3, 2)] = -1, 1
    steps[3, (2, 3), (2, 3)] = 1
    steps[4, (2, 3), (3, 2)] = -1, 1
    parts = np.zeros((5, 5, _SIZE, _SIZE))
    parts[0, :, _MEAN, _MEAN] = steps
    for one, first in enumerate(steps):
        for other, second in enumerate(steps):
            # The numbers of S C S^T of those of C.
            parts[one, other, _COVARIANCE, _COVARIANCE] = np.kron(first, second)
            parts[one, other, _SQUARES, _SQUARES] = np.kron(first[2:, 2:], second[2:, 2:])
    return parts.reshape(25, -1)


def _turnings() -> Numbers:
    """(4, 24 * 24) what 1, e^(-q/2), e^(-q) and e^(-2q) multiply in the matrix of a turning of variance q."""
    numbers = np.arange(_SIZE)
    entries = numbers[_COVARIANCE].reshape(4, 4)
    position, heading, squares = entries[:2, :2].ravel(), entries[2:, 2:].ravel(), numbers[_SQUARES]
    mixed = np.concatenate([entries[:2, 2:].ravel(), entries[2:, :2].ravel()])
    trace = np.outer([1, 0, 0, 1], [1, 0, 0, 1]) / 2
    parts = np.zeros((4, _SIZE, _SIZE))
    for part, stays in ((0, numbers[:2]), (1, numbers[2:4]), (0, position), (1, mixed), (2, squares)):
        parts[part, stays, stays] = 1
    # E hh^T is the covariance and E h E h^T together, of which e^(-q) times the latter stays its own.
    for summand in (heading, squares):
        parts[0][np.ix_(heading, summand)] = trace
        parts[3][np.ix_(heading, summand)] = np.eye(4) - trace
    parts[2, heading, squares] = -1
    return parts.reshape(4, -1)


_DISPLACEMENTS, _TURNINGS = _displacements(), _turnings()

_ALONG_EACH_AXIS = np.isin(np.arange(20), (4, 9)).astype(np.float64)
"""(20,) 1 where the moments have the variances of the position."""


def _displaced_by(x: float, y: float, yaw: float) -> Numbers:
    """(24, 24) of a movement that is known."""
    step = np.array([1.0, x, y, math.cos(yaw), math.sin(yaw)])
    return ((step[:, None] * step).ravel() @ _DISPLACEMENTS).reshape(_SIZE, _SIZE)


def _turned_by(variance: float) -> Numbers:
    """(24, 24) of a turning by an angle of mean nought and some variance."""
    once = math.exp(-variance / 2)
    return (np.array([1.0, once, once**2, once**4]) @ _TURNINGS).reshape(_SIZE, _SIZE)
