"""TensorRT: .engine files, on the GPU and by the version of TensorRT that they were built for."""

import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.runtimes.engine_file import EngineFile, EngineKey
from dsformer_core.runtimes.exported import DESCRIPTORS, INPUT, SIGNS

OLDEST = 10
"""Major version: from it on, numbers are computed in the types that the ONNX file gives them."""

_MISSING = (
    "TensorRT for Python is not installed: it comes with JetPack (apt install python3-libnvinfer), elsewhere "
    "pip install tensorrt"
)


class TensorRTNetwork:
    """An .engine file that `dsformer export --tensorrt` wrote. See `ExportedNetwork`."""

    runtime = "tensorrt"

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        """Loads the engine onto the GPU.

        Args:
            path: of the file.
            device: "auto", "cuda" or "cuda:1".

        Raises:
            UsageError: the device is no GPU.
            DsformerError: the file is damaged or was built for another machine, or there is no GPU or TensorRT here.
        """
        self.path = path
        # Addresses are the context's, set before each run of it.
        self._lock = threading.Lock()
        if not (device in ("auto", "cuda") or (device.startswith("cuda:") and device[5:].isdecimal())):
            raise UsageError(f"device {device}: TensorRT needs a GPU; choose one of: auto, cuda, cuda:1, ...")
        file = EngineFile.read(path)
        self.about, self._max_batch = file.about, file.max_batch
        self.device = cuda_device(device)
        trt = tensorrt()
        file.key.require(key_here(self.about.weights_sha256, self.about.precision, self.device), path)
        with torch.cuda.device(self.device):
            self._logger = trt.Logger(trt.Logger.ERROR)
            self._runtime = trt.Runtime(self._logger)
            self._engine = self._runtime.deserialize_cuda_engine(file.engine)
            if self._engine is None:
                raise DsformerError(
                    f"{path}: TensorRT {trt.__version__} cannot load it: build it again on this machine"
                )
            self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DsformerError(f"{path}: the memory of {self.device} is too small for it")

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `ExportedNetwork`. Batches above the engine's largest are computed in parts."""
        widths = {DESCRIPTORS: self.about.descriptor_dim}
        if self.about.code_bytes:
            widths[SIGNS] = 8 * self.about.code_bytes
        results = {name: torch.empty(len(images), width, device=self.device) for name, width in widths.items()}
        with self._lock, torch.cuda.device(self.device):
            for start in range(0, len(images), self._max_batch):
                rows = slice(start, start + self._max_batch)
                self._compute(images[rows], {name: result[rows] for name, result in results.items()})
        return results[DESCRIPTORS], results.get(SIGNS)

    def _compute(self, images: Tensor, results: dict[str, Tensor]) -> None:
        """One batch from PyTorch's memory into PyTorch's memory, in the order of PyTorch's stream."""
        images = images.contiguous()
        context = self._context
        ready = context.set_input_shape(INPUT, tuple(images.shape)) and context.set_tensor_address(
            INPUT, images.data_ptr()
        )
        for name, result in results.items():
            ready = ready and context.set_tensor_address(name, result.data_ptr())
        stream = torch.cuda.current_stream(self.device)
        if not ready or not context.execute_async_v3(stream.cuda_stream):
            raise DsformerError(f"{self.path}: TensorRT failed at batch size {len(images)}: choose a smaller")
        images.record_stream(stream)


def tensorrt() -> Any:
    """The module.

    Raises:
        DsformerError: it is not installed, or too old.
    """
    try:
        import tensorrt as module
    except (ImportError, OSError) as error:  # OSError: without its libraries
        raise DsformerError(_MISSING) from error
    if int(module.__version__.partition(".")[0]) < OLDEST:
        raise DsformerError(
            f"TensorRT {module.__version__} is too old: version {OLDEST} (JetPack 6.1) or newer is needed"
        )
    return module


def cuda_device(name: str) -> torch.device:
    """The GPU of that name, with its number.

    Raises:
        DsformerError: there is none.
    """
    if not torch.cuda.is_available():
        raise DsformerError("TensorRT needs a CUDA GPU, and PyTorch finds none here")
    index = int(name.partition(":")[2] or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise DsformerError(f"device {name}: there are only {torch.cuda.device_count()} CUDA GPUs")
    return torch.device("cuda", index)


def key_here(weights_sha256: str, precision: str, device: torch.device) -> EngineKey:
    """The key of an engine that is built or run here."""
    major, minor = torch.cuda.get_device_capability(device)
    gpu = torch.cuda.get_device_properties(device)
    capability, version = f"{major}.{minor}", str(tensorrt().__version__)
    return EngineKey(gpu.name, gpu.multi_processor_count, capability, version, weights_sha256, precision)
