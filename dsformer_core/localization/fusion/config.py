"""What a user may decide about temporal fusion."""

import math
from dataclasses import dataclass, fields

from dsformer_core.errors import UsageError

_RANGES = {
    "motion_bound": (0.01, 200.0),
    "turn_bound": (0.01, 20.0),
    "odometry_noise": (0.0, 1.0),
    "odometry_yaw_noise": (0.0, 1.0),
    "odometry_gap": (0.01, 60.0),
    "correlation_length": (0.1, 1000.0),
    "correlation_angle": (0.01, 10.0),
    "miss": (0.001, 0.999),
    "lost_per_metre": (0.0, 1.0),
    "lost_per_second": (0.0, 1.0),
    "min_probability": (0.0, 1.0),
    "keep_probability": (0.0, 1.0),
    "doubt_distance": (0.0, 10_000.0),
    "doubt_time": (0.0, 10_000.0),
    "max_std": (1.0, 1000.0),
    "max_unconfirmed": (0.1, 10_000.0),
    "hypotheses": (4, 512),
    "history": (0.1, 60.0),
}
_WHOLE = ("hypotheses",)


@dataclass(frozen=True)
class FusionConfig:
    """Settings of `Tracker`.

    Attributes:
        motion_bound: metres per second that the robot never exceeds, 0.01 to 200. Where there is no odometry,
            hypotheses spread by it. Odometry that jumps by more than five times of it was reset meanwhile and tells
            nothing.
        turn_bound: radians per second, likewise, 0.01 to 20.
        odometry_noise: share of the distance by which odometry errs, 0 to 1, at least; more where its covariance grows
            faster.
        odometry_yaw_noise: radians by which its yaw errs on a metre, 0 to 1; on n metres the root of n times that.
        odometry_gap: seconds without odometry, 0.01 to 60, from which on it counts as missing in between.
        correlation_length: metres, 0.1 to 1000. Pictures that far apart are nearly independent witnesses, those
            closer together less and less (see `fusion.measurement`).
        correlation_angle: radians of turning that count like `correlation_length`, 0.01 to 10.
        miss: probability that the right place is not among what is retrieved of a picture taken in the map, 0.001 to
            0.999. The lower, the sooner a hypothesis falls that pictures do not support.
        lost_per_metre: probability with which the robot is carried elsewhere or leaves the map, for each metre.
        lost_per_second: the same for each second.
        min_probability: 0 to 1. Fused probability from which on the best hypothesis becomes an answer.
        keep_probability: 0 to 1. Below it, and not before, the answer is withdrawn; at most `min_probability`.
        doubt_distance: metres, 0 to 10 000. An answer is withdrawn when two pictures in a row, and all on so many
            metres or in `doubt_time`, did not support it.
        doubt_time: seconds, 0 to 10 000.
        max_std: metres, 1 to 1000. Position standard deviation beyond which nothing is an answer; twice the map's
            spacing where that is more.
        max_unconfirmed: metres, 0.1 to 10 000. A hypothesis that no picture confirmed on so long a way is no answer:
            however probable it is, and though no picture came to contradict it.
        hypotheses: how many are kept, 4 to 512: what a picture costs at most.
        history: seconds, 0.1 to 60, for which beliefs are remembered, so that late pictures find their place.

    Raises:
        UsageError: a value is out of its range or no number.
    """

    motion_bound: float = 10.0
    turn_bound: float = 1.0
    odometry_noise: float = 0.02
    odometry_yaw_noise: float = math.radians(0.5)
    odometry_gap: float = 1.0
    correlation_length: float = 7.0
    correlation_angle: float = 0.8
    miss: float = 0.1
    lost_per_metre: float = 3e-4
    lost_per_second: float = 1e-4
    min_probability: float = 0.97
    keep_probability: float = 0.7
    doubt_distance: float = 7.0
    doubt_time: float = 4.0
    max_std: float = 20.0
    max_unconfirmed: float = 40.0
    hypotheses: int = 32
    history: float = 3.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (lowest, highest) = getattr(self, field.name), _RANGES[field.name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UsageError(f"{field.name} = {value!r} is not a number")
            if not lowest <= value <= highest:
                raise UsageError(f"{field.name} = {value} is out of range: it must lie between {lowest} and {highest}")
            if field.name in _WHOLE and value != int(value):
                raise UsageError(f"{field.name} = {value} is not a whole number")
        if self.keep_probability > self.min_probability:
            raise UsageError(
                f"keep_probability = {self.keep_probability} is above min_probability = {self.min_probability}"
            )
