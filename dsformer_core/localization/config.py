"""What a user may decide about localization."""

import math
from dataclasses import dataclass

from dsformer_core.errors import UsageError

_RANGES = {"top_k": (1, 1000), "radius": (1.0, 1000.0), "min_probability": (0.0, 1.0)}


@dataclass(frozen=True)
class LocalizationConfig:
    """Settings of `localize` and `judge`.

    Attributes:
        top_k: references that are retrieved for a query, 1 to 1000. Places beyond them cannot become hypotheses; below
            the default, a lone place is trusted less, because its rivals may be out of sight.
        radius: metres, 1 to 1000. References this close to the best one of a place, and looking the same way, are of
            that place, one hypothesis. The default is the distance within which the field counts a match as right, and
            what the calibration of every map was fitted with: with another one, probabilities are less exact.
        min_probability: 0 to 1. Probability from which on the best hypothesis is an answer. At the default it is half
            as probable again as all alternatives together, being lost included: a false fix costs a robot more than an
            abstention. Higher: fewer false fixes, more abstentions.

    Raises:
        UsageError: a value is out of its range or no number.
    """

    top_k: int = 20
    radius: float = 25.0
    min_probability: float = 0.6

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UsageError(f"{name} = {value!r} is not a number")
            if not lowest <= value <= highest:
                raise UsageError(f"{name} = {value} is out of range: it must lie between {lowest} and {highest}")
        if self.top_k != int(self.top_k):
            raise UsageError(f"top_k = {self.top_k} is not a whole number")
