"""What is measured: one network on one device, in one way."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dsformer_core.arithmetic import TORCH

MOST_THREADS = 1024
"""As many as the node takes; of tens of thousands, starting them alone takes minutes."""


@dataclass(frozen=True)
class Configuration:
    """One row of a benchmark.

    Attributes:
        model: one of `list_models()`.
        weights: as for `Extractor`; random ones take as long as any.
        runtime: as for `Extractor`.
        device: as for `Extractor`.
        precision: as for `Extractor`.
        optimize: as for `Extractor`.
        batch: pictures that enter the network at a time.
        threads: CPU threads of the network, at most `MOST_THREADS`.
    """

    model: str
    weights: str = "untrained"
    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    optimize: str = "safe"
    batch: int = 1
    threads: int = 1

    def eager(self, instead: str) -> "Configuration":
        """The straightforward formulation: the network as it was trained, in float32, operator by operator.

        Args:
            instead: weights in place of an exported file, which PyTorch cannot read.
        """
        # Not above: a worker measures how long importing PyTorch takes.
        from dsformer_core.runtimes import choose_runtime

        weights = instead if choose_runtime(self.weights) != TORCH else self.weights
        return replace(self, weights=weights, runtime=TORCH, precision="float32", optimize="off")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; of weights the file's name."""
        return asdict(self) | {"weights": Path(self.weights).name}
