"""What computes descriptors of a normalised batch: PyTorch, ONNX Runtime or TensorRT.

Each is a `Forward`: (B, 3, H, W) normalised float32 -> descriptors (B, D), and signs (B, 512) or None. `Extractor`
prepares pictures for whichever it was given; nothing above it needs to know. PyTorch's is the network (`models`);
the other two read files that `dsformer export` wrote, which say in `Exported` what is in them.
"""

from dsformer_core.runtimes.choice import RUNTIMES, TORCH, choose_runtime, open_exported
from dsformer_core.runtimes.exported import Exported
from dsformer_core.runtimes.network import ExportedNetwork, check_probe

__all__ = ["RUNTIMES", "TORCH", "Exported", "ExportedNetwork", "check_probe", "choose_runtime", "open_exported"]
