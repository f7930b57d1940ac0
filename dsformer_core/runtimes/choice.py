"""Which runtime computes: by the weights' file, or by name."""

from pathlib import Path

import torch

from dsformer_core.errors import UsageError
from dsformer_core.runtimes.network import ExportedNetwork

AUTO, TORCH, ONNX, TENSORRT = "auto", "torch", "onnx", "tensorrt"
RUNTIMES = (AUTO, TORCH, ONNX, TENSORRT)

SUFFIXES = {".onnx": ONNX, ".engine": TENSORRT, ".plan": TENSORRT}


def choose_runtime(weights: str | Path | None, runtime: str = AUTO) -> str:
    """The runtime for some weights.

    Args:
        weights: a file, a name, or None.
        runtime: one of `RUNTIMES`; "auto" goes by the file's suffix.

    Returns:
        "torch", "onnx" or "tensorrt".

    Raises:
        UsageError: there is no such runtime, or it does not read such weights.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"there is no runtime {runtime!r}; choose one of: {', '.join(RUNTIMES)}")
    fitting = TORCH if weights is None else SUFFIXES.get(Path(weights).suffix.lower(), TORCH)
    if runtime in (AUTO, fitting):
        return fitting
    if fitting != TORCH:
        raise UsageError(f"{weights} is for the runtime {fitting}, not {runtime}")
    suffix = ".onnx" if runtime == ONNX else ".engine"
    raise UsageError(f"the runtime {runtime} reads {suffix} files that `dsformer export` writes, not {str(weights)!r}")


def open_exported(runtime: str, path: Path, *, device: str = "auto", threads: int | None = None) -> ExportedNetwork:
    """Opens an exported file.

    Args:
        runtime: "onnx" or "tensorrt".
        path: of the file.
        device: as for `Extractor`.
        threads: CPU threads of the network; None for as many as PyTorch would take.

    Raises:
        UsageError: there is no such file, or the runtime does not know such a device.
        DsformerError: the file is damaged, not of `dsformer export` or not for this machine; the runtime is missing.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if runtime == ONNX:
        from dsformer_core.runtimes.onnx_runtime import OnnxNetwork

        return OnnxNetwork(path, device=device, threads=threads or torch.get_num_threads())
    from dsformer_core.runtimes.tensorrt_runtime import TensorRTNetwork

    return TensorRTNetwork(path, device=device)
