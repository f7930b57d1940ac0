"""ONNX -> TensorRT engine for this machine's GPU: an explicit step of minutes, compared with PyTorch at its end."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.export.int8_judge import MOST_LOST, Judge
from dsformer_core.export.onnx_file import OnProgress, check_output
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap
from dsformer_core.runtimes.engine_file import EngineFile
from dsformer_core.runtimes.exported import INPUT, Exported
from dsformer_core.runtimes.network import ExportedNetwork, check_probe, describe_probe
from dsformer_core.runtimes.onnx_runtime import read_description
from dsformer_core.runtimes.tensorrt_runtime import TensorRTNetwork, cuda_device, key_here, tensorrt
from dsformer_core.staging import durable_file, full_disk_in_words

ENGINE_SUFFIX = ".engine"
DEFAULT_MAX_BATCH = 8


@dataclass(frozen=True)
class Built:
    """An engine that was written.

    Attributes:
        about: what it says of itself; of INT8, with the recall that the engine itself reached.
        difference: largest difference of any number of a known picture's descriptor to PyTorch's; of INT8, of any
            reference's that was asked to the map's.
    """

    about: Exported
    difference: float


def build_engine(
    source: Path,
    output: Path,
    *,
    max_batch: int = DEFAULT_MAX_BATCH,
    device: str = "auto",
    place_map: PlaceMap | None = None,
    images: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = lambda step, done, total: None,
) -> Built:
    """Builds an engine, for batches from one picture to `max_batch`, in the precision of the ONNX file.

    Of INT8, other kernels round otherwise than ONNX Runtime on the machine that quantised it: the finished engine is
    asked the map's held-out references once more, and the known picture of its file is described by itself.

    Args:
        source: an .onnx file of `dsformer export`: float32, float16 or INT8.
        output: the file, ending in ``.engine``.
        max_batch: most pictures at once; the engine is tuned for one.
        device: "auto", "cuda" or "cuda:1".
        place_map: of an INT8 file, the map that it was made for; None otherwise.
        images: where that map's pictures are; None for where they were when it was built.
        overwrite: whether a file that is there is replaced.
        on_progress: called with TensorRT's phase, how much of it is done, and of how much.

    Raises:
        UsageError: `output` exists or has another suffix, `max_batch` is below 1, or INT8 and `place_map` do not come
            together.
        DsformerError: there is no GPU or no TensorRT here, it does not take the file, or what it built computes
            something else, or loses more than `MOST_LOST` of the references; the map is not that of the file, or its
            pictures are not at hand. Nothing is left then.
    """
    check_output(output, ENGINE_SUFFIX, overwrite=overwrite)
    if max_batch < 1:
        raise UsageError(f"--max-batch {max_batch}: it must be 1 or more")
    about = read_onnx_description(source)
    if about.int8 is not None and about.int8.target != "tensorrt":
        raise UsageError(f"{source} is INT8 for a CPU: make another with `dsformer export --int8 tensorrt`")
    if about.int8 is not None and place_map is None:
        raise UsageError(f"{source} is INT8: its engine is judged by the map that it is to search: --map MAP")
    if about.int8 is None and (place_map is not None or images is not None):
        raise UsageError(f"{source} is {about.precision}: --map and --images are for INT8")
    where = cuda_device(device)
    trt = tensorrt()
    judge = None if place_map is None else Judge.of_map(place_map, about, images)
    with torch.cuda.device(where):
        engine = _build(trt, source, about, max_batch, on_progress)
    file_here = EngineFile(key_here(about.weights_sha256, about.precision, where), about, max_batch, engine)
    with full_disk_in_words(output), durable_file(output) as file:
        file_here.write(file)
        file.flush()
        network = TensorRTNetwork(Path(file.name), device=str(where))
        network.path = output
        if judge is None:
            return Built(about, check_probe(network))
        # Neither the ONNX file's numbers nor its identity are this engine's.
        own = {"probe": describe_probe(network), "graph_sha256": hashlib.sha256(engine).hexdigest()}
        network.about = about.replaced(**own)
        measured = _measured(judge, network, on_progress)
        file.seek(0)
        file.truncate()
        replace(file_here, about=measured).write(file)
        return Built(measured, measured.difference)


def _measured(judge: Judge, network: ExportedNetwork, on_progress: OnProgress) -> Exported:
    """What an INT8 engine may say of itself.

    Raises:
        DsformerError: it loses too much.
    """
    verdict = judge.ask(Extractor.of_exported(network), "asking the engine", on_progress)
    if not verdict.accepted:
        raise DsformerError(
            f"{network.path} was not written: of {judge.references} held-out references float finds "
            f"{judge.recall:.1%}, the engine {verdict.recall:.1%}, and it may lose {MOST_LOST:.0%}: stay with float16"
        )
    assert network.about.int8 is not None
    int8 = replace(
        network.about.int8, references=judge.references, recall_float32=judge.recall, recall_int8=verdict.recall
    )
    return network.about.replaced(int8=int8, difference=verdict.difference)


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
