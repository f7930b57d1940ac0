r"""What a later drive taught about a map's probabilities and covariances, kept in its `map.yaml`.

A map calibrates itself when it is built (`calibration.py`), by pictures of its own light and traffic. A drive on
another day, with known positions, shows how honest that is there. Of what was promised, places with probabilities P_i
and the rest P_0 for "none of these", the correction makes

    P_i' = P_i^slope e^offset / (P_0^slope + Σ_j P_j^slope e^offset)

which keeps the order of places and the sum at 1: slope below 1 takes back what was too sure, offset shifts between
places and none. Covariances of position are multiplied by one number.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_core.errors import DsformerError

_RANGES = {"slope": (0.05, 5.0), "offset": (-10.0, 10.0), "spread": (0.01, 100.0)}


@dataclass(frozen=True)
class Correction:
    """How promises of one kind are corrected.

    Attributes:
        slope: of log-odds, 0.05 to 5.
        offset: of the log-odds of places against none, -10 to 10.
        spread: by which covariances of position are multiplied, 0.01 to 100.
    """

    slope: float = 1.0
    offset: float = 0.0
    spread: float = 1.0

    def probabilities(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """(H,) probabilities, corrected; sum < 1 stays so."""
        if not len(probabilities) or (self.slope == 1.0 and self.offset == 0.0):
            return probabilities
        tiny = 1e-12
        logs = self.slope * np.log(np.maximum(probabilities, tiny)) + self.offset
        none = self.slope * np.log(max(1.0 - float(probabilities.sum()), tiny))
        top = max(float(logs.max()), float(none))
        raised = np.exp(logs - top)
        return np.asarray(raised / (raised.sum() + np.exp(none - top)))


@dataclass(frozen=True)
class Recalibration:
    """Corrections of a map.

    Attributes:
        single: of what one picture says (`localize`).
        fused: of what a `Tracker` says, given corrected single pictures.
        pictures: from how many both were learnt; 0 where from none.
    """

    single: Correction = Correction()
    fused: Correction = Correction()
    pictures: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for `map.yaml`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Recalibration":
        """The reverse of `to_dict`.

        Raises:
            DsformerError: a value is missing, unknown, not a number or out of range.
        """
        if not isinstance(values, Mapping) or set(values) != {"single", "fused", "pictures"}:
            raise DsformerError("recalibration: expected single, fused and pictures")
        pictures = values["pictures"]
        if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 0:
            raise DsformerError(f"recalibration: pictures = {pictures!r} is no count")
        return cls(_correction(values["single"], "single"), _correction(values["fused"], "fused"), pictures)


def _correction(values: Any, name: str) -> Correction:
    if not isinstance(values, Mapping) or set(values) != set(_RANGES):
        raise DsformerError(f"recalibration.{name}: expected {', '.join(_RANGES)}")
    numbers = {}
    for key, (lowest, highest) in _RANGES.items():
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise DsformerError(f"recalibration.{name}: {key} = {value!r} is out of range")
        numbers[key] = float(value)
    return Correction(**numbers)
