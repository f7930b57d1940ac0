"""ONNX -> TensorRT engine for this machine's GPU: an explicit step of minutes, compared with PyTorch at its end."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.export.onnx_file import OnProgress, check_output
from dsformer_core.runtimes.engine_file import EngineFile
from dsformer_core.runtimes.exported import INPUT, Exported
from dsformer_core.runtimes.network import check_probe
from dsformer_core.runtimes.onnx_runtime import read_description
from dsformer_core.runtimes.tensorrt_runtime import TensorRTNetwork, cuda_device, key_here, tensorrt
from dsformer_core.staging import durable_file, full_disk_in_words

ENGINE_SUFFIX = ".engine"
DEFAULT_MAX_BATCH = 8


def build_engine(
    source: Path,
    output: Path,
    *,
    max_batch: int = DEFAULT_MAX_BATCH,
    device: str = "auto",
    overwrite: bool = False,
    on_progress: OnProgress = lambda step, done, total: None,
) -> float:
    """Builds an engine, for batches from one picture to `max_batch`, in the precision of the ONNX file.

    Args:
        source: an .onnx file of `dsformer export`: float32, float16 or INT8.
        output: the file, ending in ``.engine``.
        max_batch: most pictures at once; the engine is tuned for one.
        device: "auto", "cuda" or "cuda:1".
        overwrite: whether a file that is there is replaced.
        on_progress: called with TensorRT's phase, how much of it is done, and of how much.

    Returns:
        Largest difference of any number of a known picture's descriptor to PyTorch's; of an INT8 file see
        `check_probe`.

    Raises:
        UsageError: `output` exists or has another suffix, or `max_batch` is below 1.
        DsformerError: there is no GPU or no TensorRT here, it does not take the file, or what it built computes
            something else: nothing is left then.
    """
    check_output(output, ENGINE_SUFFIX, overwrite=overwrite)
    if max_batch < 1:
        raise UsageError(f"--max-batch {max_batch}: it must be 1 or more")
    about = read_onnx_description(source)
    if about.int8 is not None and about.int8.target != "tensorrt":
        raise UsageError(f"{source} is INT8 for a CPU: make another with `dsformer export --int8 tensorrt`")
    where = cuda_device(device)
    trt = tensorrt()
    with torch.cuda.device(where):
        engine = _build(trt, source, about, max_batch, on_progress)
    file_here = EngineFile(key_here(about.weights_sha256, about.precision, where), about, max_batch, engine)
    with full_disk_in_words(output), durable_file(output) as file:
        file_here.write(file)
        file.flush()
        network = TensorRTNetwork(Path(file.name), device=str(where))
        network.path = output
        return check_probe(network)


def read_onnx_description(source: Path) -> Exported:
    """What an .onnx file says of itself.

    Raises:
        UsageError: there is no such file.
        DsformerError: it is none of `dsformer export`, or damaged.
    """
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    return read_description(source)


def _build(trt: Any, source: Path, about: Exported, max_batch: int, on_progress: OnProgress) -> bytes:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # Every number in the type that the ONNX file gives it: half precision and INT8 stand where they were measured.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source.absolute())):
        errors = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
        raise DsformerError(f"{source}: TensorRT {trt.__version__} does not take it ({' '.join(errors.split())[:200]})")
    config = builder.create_builder_config()
    if about.precision == "float32":
        # It rounds to 10 bits.
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    height, width = about.preprocessing.size
    profile.set_shape(INPUT, *((batch, 3, height, width) for batch in (1, 1, max_batch)))
    config.add_optimization_profile(profile)
    config.progress_monitor = progress_monitor(trt, on_progress)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DsformerError(
            f"{source}: TensorRT {trt.__version__} could not build an engine: is its GPU's memory taken?"
        )
    return bytes(engine)


def progress_monitor(trt: Any, on_progress: Callable[[str, int, int | None], None]) -> Any:
    """An `IProgressMonitor` that tells of phases and of their parts, but not of parts of parts.

    TensorRT calls it from several threads.
    """

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._outermost: set[str] = set()
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                if parent_phase is None:
                    self._outermost.add(phase_name)
                if parent_phase is None or parent_phase in self._outermost:
                    self._steps[phase_name] = num_steps
                    on_progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                if phase_name in self._steps:
                    on_progress(phase_name, step + 1, self._steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                if (steps := self._steps.get(phase_name)) is not None:
                    on_progress(phase_name, steps, steps)

    return Monitor()
