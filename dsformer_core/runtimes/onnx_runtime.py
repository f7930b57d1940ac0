"""ONNX Runtime: .onnx files on CPUs, on CUDA, and through its TensorRT provider."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.runtimes.exported import DESCRIPTORS, INPUT, SIGNS, Exported
from dsformer_core.runtimes.external_data import refuse_external_data
from dsformer_core.runtimes.tensorrt_provider import MOST_AT_ONCE, is_tensorrt, provider_options

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DEVICES = "auto, cpu, cuda, cuda:1, tensorrt, tensorrt:1"
MISSING = "onnxruntime is not installed: pip install onnxruntime (onnxruntime-gpu instead for CUDA)"

# Of its own messages, none: what it raises says the same once more.
_FATAL_ONLY = 4

log = logging.getLogger(__name__)


class OnnxNetwork:
    """An .onnx file that `dsformer export` wrote, in one session. See `ExportedNetwork`."""

    runtime = "onnx"

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 1) -> None:
        """Opens the file.

        Args:
            path: of the file.
            device: "auto" (CUDA where both PyTorch and ONNX Runtime have it), "cpu", "cuda", "cuda:1", or "tensorrt"
                for ONNX Runtime's TensorRT provider, which builds an engine first and keeps it in the user's
                cache (`tensorrt_provider`).
            threads: of CPU operators.

        Raises:
            UsageError: there is no such device.
            DsformerError: it cannot be had here, or the file is none of `dsformer export`.
        """
        self.path = path
        providers, self.device = _providers(device, path)
        self._most_at_once: int | None = None
        if is_tensorrt(device):
            self._most_at_once = MOST_AT_ONCE
            providers[0] = (TENSORRT, provider_options(read_description(path), path, self.device.index))
            log.warning("%s: ONNX Runtime's TensorRT provider builds an engine unless it has kept one: minutes", path)
        self._session = open_session(path, threads=threads, providers=providers)
        self.about = _description(self._session, path)
        used = self._session.get_providers()
        if (wanted := providers[0][0]) not in used:
            raise DsformerError(f"device {device}: ONNX Runtime could not start its {wanted}; choose cpu, or mend it")
        self._outputs = [DESCRIPTORS, SIGNS] if self.about.code_bytes else [DESCRIPTORS]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `ExportedNetwork`. Batches above what TensorRT's engine is for are computed in parts."""
        compute = self._on_cpu if self.device.type == "cpu" else self._on_cuda
        try:
            parts = [compute(part) for part in images.split(self._most_at_once or len(images))]
        except Exception as error:  # its exceptions have no class of their own in common
            raise DsformerError(
                f"{self.path}: ONNX Runtime failed at batch size {len(images)}: {_line(error)}"
            ) from error
        found = parts[0] if len(parts) == 1 else [torch.cat(outputs) for outputs in zip(*parts, strict=True)]
        return found[0], found[1] if len(found) > 1 else None

    def _on_cpu(self, images: Tensor) -> list[Tensor]:
        found = self._session.run(self._outputs, {INPUT: images.numpy()})
        return [torch.from_numpy(array) for array in found]

    def _on_cuda(self, images: Tensor) -> list[Tensor]:
        """Reads and writes PyTorch's own memory: nothing is copied."""
        widths = {DESCRIPTORS: self.about.descriptor_dim, SIGNS: 8 * self.about.code_bytes}
        results = [torch.empty(len(images), widths[name], device=images.device) for name in self._outputs]
        binding = self._session.io_binding()
        index = images.device.index or 0
        torch.cuda.current_stream(images.device).synchronize()
        binding.bind_input(INPUT, "cuda", index, np.float32, tuple(images.shape), images.data_ptr())
        for name, result in zip(self._outputs, results, strict=True):
            binding.bind_output(name, "cuda", index, np.float32, tuple(result.shape), result.data_ptr())
        self._session.run_with_iobinding(binding)
        return results


def read_description(path: Path) -> Exported:
    """What an .onnx file says of itself.

    Raises:
        DsformerError: it is none of `dsformer export`, or damaged; ONNX Runtime is missing.
    """
    return _description(open_session(path, threads=1), path)


def _description(session: Any, path: Path) -> Exported:
    return Exported.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))


def open_session(path: Path, *, threads: int, providers: Sequence[tuple[str, dict[str, Any]]] = ((CPU, {}),)) -> Any:
    """An `onnxruntime.InferenceSession` of any .onnx file.

    Raises:
        DsformerError: ONNX Runtime is missing, or cannot read the file, or that has tensors in other files.
    """
    ort = onnxruntime()
    refuse_external_data(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _FATAL_ONLY
    # Between two pictures its threads would otherwise wait by turning in circles, on cores that others need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # as above
        raise DsformerError(f"{path}: ONNX Runtime cannot open it ({_line(error)}): export it again") from error


def onnxruntime() -> Any:
    """The module.

    Raises:
        DsformerError: says how to install it.
    """
    try:
        import onnxruntime as module
    except ImportError as error:
        raise DsformerError(MISSING) from error
    return module


def _providers(device: str, path: Path) -> tuple[list[tuple[str, dict[str, Any]]], torch.device]:
    """Execution providers, best first, and where PyTorch has its batches.

    Raises:
        UsageError: there is no such device.
        DsformerError: it cannot be had here.
    """
    available = onnxruntime().get_available_providers()
    if device == "auto":
        device = "cuda" if CUDA in available and torch.cuda.is_available() else "cpu"
        if device == "cpu" and torch.cuda.is_available():
            log.warning(
                "%s: computed on the CPU, although there is a GPU: this ONNX Runtime has no %s (onnxruntime-gpu has)",
                path,
                CUDA,
            )
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return [(CPU, {})], torch.device("cpu")
    if kind not in ("cuda", "tensorrt") or not (number.isdecimal() or device == kind):
        raise UsageError(f"there is no device {device!r} for ONNX Runtime; choose one of: {DEVICES}")
    wanted, index = {"cuda": CUDA, "tensorrt": TENSORRT}[kind], int(number or 0)
    if wanted not in available:
        raise DsformerError(
            f"device {device}: this ONNX Runtime has no {wanted} (it has {', '.join(available)}): "
            "pip install onnxruntime-gpu instead of onnxruntime, or choose cpu"
        )
    if index >= torch.cuda.device_count():
        raise DsformerError(
            f"device {device}: PyTorch finds {torch.cuda.device_count()} CUDA GPUs here; choose cpu or auto"
        )
    # TF32 rounds to 10 bits, and a file in float32 promises more.
    cuda = (CUDA, {"device_id": index, "use_tf32": "0"})
    if wanted == CUDA:
        return [cuda, (CPU, {})], torch.device("cuda", index)
    return [(TENSORRT, {"device_id": index}), cuda, (CPU, {})], torch.device("cuda", index)


def _line(error: Exception) -> str:
    """The first line of what went wrong, without ONNX Runtime's number and word for it."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)[:200]
