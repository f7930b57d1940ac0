"""What a user may decide about localization."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dsformer_core.errors import UsageError

_RANGES = {"top_k": (1, 1000), "radius": (1.0, 1000.0), "min_probability": (0.0, 1.0)}


@dataclass(frozen=True)
class LocalizationConfig:
    """Settings of `localize` and `judge`.

    Attributes:
        top_k: references that are retrieved for a query, 1 to 1000. Places beyond them cannot become hypotheses; below
            the default, a lone place is trusted less, because its rivals may be out of sight.
        radius: metres, 1 to 1000. References this close to a mode of the matches, and looking the same way, are one
            place and one hypothesis. The default is the distance within which the field counts a match as right.
        min_probability: 0 to 1. Probability from which on the best hypothesis is an answer. At the default it is more
            probable than all alternatives together, being lost included. Higher: fewer false fixes, more abstentions.

    Raises:
        UsageError: a value is out of its range or no number.
    """

    top_k: int = 20
    radius: float = 25.0
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UsageError(f"{name} = {value!r} is not a number")
            if not lowest <= value <= highest:
                raise UsageError(f"{name} = {value} is out of range: it must lie between {lowest} and {highest}")
        if self.top_k != int(self.top_k):
            raise UsageError(f"top_k = {self.top_k} is not a whole number")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LocalizationConfig":
        """The configuration with some values changed.

        Raises:
            UsageError: a name is unknown, or a value is out of its range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise UsageError(f"localization has no setting {name!r}: it has {', '.join(known)}")
        return cls(**values)
