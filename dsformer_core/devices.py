"""Where networks of PyTorch compute, and in which precision."""

import warnings

import torch
from torch import nn

from dsformer_core.errors import DsformerError, UsageError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEVICES = "auto, cpu, cuda, cuda:0, cuda:1, ..."


def chosen_device(name: str) -> torch.device:
    """PyTorch's device of that name.

    Raises:
        UsageError: there is no such device.
        DsformerError: it is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"there is no device {name!r}; choose one of: {DEVICES}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DsformerError(f"device {name}: PyTorch finds no CUDA GPU here; choose cpu or auto")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise DsformerError(f"device {name}: there are only {torch.cuda.device_count()} CUDA GPUs")
    return device


def chosen_precision(name: str, device: torch.device) -> str:
    """One of `PRECISIONS`, of that name or, of "auto", the fastest that a device has.

    Raises:
        UsageError: there is no such precision.
        DsformerError: the device does not have it.
    """
    if name == "auto":
        if device.type == "cpu":
            return "float32"
        # From Ampere on; older GPUs only emulate it.
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
    if name not in PRECISIONS:
        raise UsageError(f"there is no precision {name!r}; choose one of: auto, {', '.join(PRECISIONS)}")
    if name == "float16" and device.type == "cpu" and not _autocasts_on_cpu(torch.float16):
        raise DsformerError(
            f"precision float16: PyTorch {torch.__version__} has it on GPUs alone; choose bfloat16 or float32"
        )
    return name


def _autocasts_on_cpu(half: torch.dtype) -> bool:
    """Older versions of PyTorch switch it off, and weights stored in half precision would meet pictures in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.inference_mode(), torch.autocast("cpu", half):
            return nn.functional.linear(torch.zeros(1, 1), torch.zeros(1, 1)).dtype == half
