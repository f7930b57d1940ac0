"""A consumer's checks, as named rules that a message breaks or keeps."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time


@dataclass(frozen=True)
class Rule:
    """One check of one consumer; `name` says what is wanted."""

    name: str
    holds: Callable[[Any], bool]


def broken(rules: Sequence[Rule], message: Any) -> list[str]:
    """Names of the rules that a message breaks; none where the consumer takes it and trusts it as it should."""
    return [rule.name for rule in rules if not rule.holds(message)]


def seconds(stamp: Time) -> float:
    return stamp.sec + 1e-9 * stamp.nanosec


def finite(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) for value in values)
