"""What computed descriptors, as far as it tells whether they may be compared with others of the same weights."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

TORCH = "torch"
TOLERANCE = 1e-4
"""Largest difference of any number of a float32 descriptor to PyTorch's."""

_FLOAT32, _INT8 = "float32", "int8"


@dataclass(frozen=True)
class Arithmetic:
    """One runtime in one precision.

    Attributes:
        runtime: "torch", "onnx" or "tensorrt"; several, separated by ", ", of a map that was merged.
        precision: "float32", "bfloat16", "float16" or "int8"; likewise. "unknown" of old maps.
        agreement: largest difference of any number of a descriptor to PyTorch's in float32, as measured: of a float
            file when it was opened, of an INT8 file when it was made; None for PyTorch itself.
        graph_sha256: of the file or the engine, in INT8; empty otherwise.
        measured_on: name of the map on which an INT8 file's recall was measured; empty otherwise.
        measured_sha256: digest of that map's descriptors, which tells it from others of its name, and from itself
            after it changed.
    """

    runtime: str = TORCH
    precision: str = _FLOAT32
    # What was measured is not the same on every machine.
    agreement: float | None = field(default=None, compare=False)
    graph_sha256: str = ""
    measured_on: str = ""
    measured_sha256: str = ""

    def __str__(self) -> str:
        return self.precision if self.runtime == TORCH else f"{self.precision} by {self.runtime}"

    @property
    def agrees(self) -> bool:
        """Whether its descriptors are those of the released weights, to the precision's own rounding."""
        if _INT8 in self.precision:
            return False
        return self.agreement is None or self.agreement <= TOLERANCE or _FLOAT32 not in self.precision

    @property
    def identity(self) -> str:
        """Tells apart what gives other descriptors: of two INT8 files, neither stands for the other."""
        return f"{self} {self.graph_sha256}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """As `map.yaml` has it, beside `precision`."""
        found: dict[str, Any] = {"runtime": self.runtime}
        if self.agreement is not None:
            found["agreement"] = float(f"{self.agreement:.3g}")
        if self.graph_sha256:
            found["graph_sha256"] = self.graph_sha256
        return found

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Arithmetic":
        """Of the mapping `model` in `map.yaml`; maps from before there were runtimes were made by PyTorch.

        Raises:
            TypeError: a value is of another kind.
        """
        runtime, precision = found.get("runtime", TORCH), found.get("precision", "unknown")
        agreement, graph = found.get("agreement"), found.get("graph_sha256", "")
        if not all(isinstance(value, str) for value in (runtime, precision, graph)):
            raise TypeError("model.runtime, model.precision and model.graph_sha256 are words")
        if agreement is not None and (not isinstance(agreement, float) or not agreement >= 0):
            raise TypeError(f"model.agreement is {agreement!r}")
        return cls(runtime, precision, agreement, graph)

    @classmethod
    def together(cls, several: Iterable["Arithmetic"]) -> "Arithmetic":
        """Of descriptors that were computed in several ways, put into one map."""
        several = list(several)
        # Half precision is further from PyTorch by its own rounding: beside float32 its distance is no fault.
        exact = [one for one in several if _FLOAT32 in one.precision]
        agreements = [one.agreement for one in exact or several if one.agreement is not None]
        graphs = {one.graph_sha256 for one in several}
        return cls(
            _joined(one.runtime for one in several),
            _joined(one.precision for one in several),
            max(agreements) if agreements else None,
            graphs.pop() if len(graphs) == 1 else "",
        )

    def fault(self, own: "Arithmetic", descriptors_sha256: str) -> str | None:
        """Why descriptors of this cannot be asked of a map, and what to do; None where they can.

        Args:
            own: what made the map's descriptors.
            descriptors_sha256: digest of the map's descriptors.
        """
        if self.graph_sha256 and self.identity == own.identity:
            return None
        if not own.agrees:
            return (
                f"its descriptors were computed in {own}, which does not agree with {self}: search it with the very "
                "file that made it, or build it again"
            )
        if self.agrees or (self.measured_sha256 and self.measured_sha256 == descriptors_sha256):
            return None
        if self.precision == _INT8:
            measured = f"on a map {self.measured_on!r} with other descriptors" if self.measured_on else "nowhere"
            return (
                f"what {self} loses was measured {measured}, not on this map as it is: make it again with "
                "`dsformer export --int8 --map`, or use float32"
            )
        return f"{self} differs from PyTorch by {self.agreement:.1e}, and a map allows {TOLERANCE:.0e}: export it again"


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(word for one in words for word in one.split(", ")))
