"""What may be said about a parameter: its default, range, choices, meaning, and when a change of it acts."""

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from dsformer_core.errors import UsageError

LIVE = "at once"
RELOADED = "with ~/reload_map and the next configure"
CONFIGURED = "with the next configure"
STARTED = "at start"

_LARGEST_INTEGER = 2**31 - 1
_LARGEST_NUMBER = 1e9


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    change: str = LIVE,
) -> Any:
    """A field of the dataclass that is the table; `minimum` and `maximum` are of a number, or of each in a list."""
    metadata = {
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "description": description,
        "change": change,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Specification:
    """What may be said about one parameter.

    Attributes:
        default: the value without any override; a list where ROS has an array.
        description: for people, one or two sentences.
        minimum: smallest allowed number, None without limit.
        maximum: largest allowed number, None without limit.
        choices: the allowed strings, empty where any is.
        change: LIVE, RELOADED, CONFIGURED or STARTED.
    """

    default: Any
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    change: str

    def descriptor(self) -> ParameterDescriptor:
        """The description that `ros2 param describe` shows and that rclpy enforces."""
        descriptor = ParameterDescriptor(
            description=f"{self.description} Changes act {self.change}.",
            additional_constraints=f"one of {', '.join(self.choices)}" if self.choices else "",
            read_only=self.change == STARTED,
        )
        if self.minimum is not None and isinstance(self.default, float):
            top = _LARGEST_NUMBER if self.maximum is None else self.maximum
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.minimum, to_value=top)]
        elif self.minimum is not None and isinstance(self.default, int):
            top = _LARGEST_INTEGER if self.maximum is None else int(self.maximum)
            descriptor.integer_range = [IntegerRange(from_value=int(self.minimum), to_value=int(top))]
        return descriptor


def specifications_of(settings: type) -> dict[str, Specification]:
    """The table that the fields of a dataclass make: parameter name -> what may be said about it, in their order."""
    table = {}
    for item in fields(settings):
        assert item.default is not MISSING
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        table[item.name] = Specification(default=default, **item.metadata)
    return table


def check_value(name: str, value: Any, spec: Specification) -> None:
    """Raises `UsageError` where a parameter cannot have a value."""
    if spec.choices and value not in spec.choices:
        raise UsageError(f"{name} is '{value}': it must be one of {', '.join(spec.choices)}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str | bool):
            continue
        low, high = spec.minimum, spec.maximum
        if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
            raise UsageError(f"{name} is {number}: it must lie between {low} and {high}")
