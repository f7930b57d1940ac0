"""An exported network, opened: what its file says of it, and the batch in, descriptors out."""

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsformer_core.errors import DsformerError
from dsformer_core.runtimes.exported import TOLERANCE, Exported, probe_input

log = logging.getLogger(__name__)


class ExportedNetwork(Protocol):
    """What every runtime of exported files offers. Threads may share one.

    Attributes:
        runtime: "onnx" or "tensorrt".
        path: of the file.
        about: what the file says of itself.
        device: where batches are expected and results are.
    """

    runtime: str
    path: Path
    about: Exported
    device: torch.device

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Computes one batch.

        Args:
            images: (B, 3, H, W) normalised float32 on `device`, contiguous.

        Returns:
            descriptors (B, D) float32, and signs (B, 512) where there is a hash branch, on `device`.

        Raises:
            DsformerError: the runtime failed, in one line.
        """
        ...


def check_probe(network: ExportedNetwork) -> float:
    """Has a network describe the picture whose descriptor its file names; so it is also run once before it is needed.

    A damaged weight, another runtime's mistake and arithmetic that rounds more than the file's all show here.

    Returns:
        The largest difference of any number; of an INT8 file, the one to float32 that was measured when it was made.

    Raises:
        DsformerError: it is beyond `TOLERANCE`.
    """
    about = network.about
    difference = float(np.abs(describe_probe(network) - about.probe).max())
    # NaN compares as false.
    if not difference <= TOLERANCE[about.precision]:
        raise DsformerError(
            f"{network.path}: describes a known picture otherwise than when it was exported (difference "
            f"{difference:.1e}, {about.precision} allows {TOLERANCE[about.precision]:.0e}): it is damaged, or "
            f"{network.runtime} computes it wrongly here; export it again, or use the weights themselves"
        )
    log.info("%s: %s agrees to %.1e", network.path, network.runtime, difference)
    return about.difference if about.precision == "int8" else difference


def describe_probe(network: ExportedNetwork) -> npt.NDArray[np.float32]:
    """(D,) float32: what a network makes of the known picture.

    Raises:
        DsformerError: it gives something else than its file says.
    """
    about = network.about
    descriptors, signs = network(torch.from_numpy(probe_input(about.preprocessing)).to(network.device))
    found: npt.NDArray[np.float32] = descriptors.float().cpu().numpy()
    if found.shape != (1, about.descriptor_dim) or (signs is not None) != bool(about.code_bytes):
        raise DsformerError(f"{network.path}: gives {found.shape}, not what its description says: export it again")
    return found[0]
