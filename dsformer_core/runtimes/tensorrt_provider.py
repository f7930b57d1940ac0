"""ONNX Runtime's TensorRT provider: what it is told, so that one engine does for all batches, in the file's precision.

It builds its engine by itself when a session is opened, for minutes, unless it finds one that it kept. So it is for the
command line, where somebody waits and reads; a robot's node takes an engine of `dsformer export --tensorrt`.
"""

import os
from pathlib import Path

from dsformer_core.errors import DsformerError
from dsformer_core.runtimes.exported import INPUT, Exported

MOST_AT_ONCE = 8
"""Pictures in its largest batch, as large as the program's are by default."""

DEVICE = "tensorrt"


def provider_options(about: Exported, path: Path, index: int) -> dict[str, str]:
    """Options of the provider for a file; from now on the process computes no float32 in TF32 where the file is such.

    Args:
        about: what the file says of itself.
        path: of the file; beside it, the folder `engine_folder` is made.
        index: of the GPU.

    Raises:
        DsformerError: the file is INT8, or no engine could be kept.
    """
    if about.precision == "int8":
        raise DsformerError(
            f"{path} is INT8, which only an engine is measured in: make one with `dsformer export --int8 tensorrt` and "
            "`dsformer export --tensorrt --map`"
        )
    if about.precision == "float32":
        # It rounds to 10 bits. The provider has no option for it; NVIDIA's libraries read this when they are loaded.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    height, width = about.preprocessing.size
    batches = {"min": 1, "opt": 1, "max": MOST_AT_ONCE}
    return {
        "device_id": str(index),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engine_folder(path)),
        "trt_fp16_enable": "1" if about.precision == "float16" else "0",
        # Without these it would build another engine at the first batch that is larger than any before.
        **{f"trt_profile_{name}_shapes": f"{INPUT}:{batch}x3x{height}x{width}" for name, batch in batches.items()},
    }


def engine_folder(path: Path) -> Path:
    """Where the engines of an .onnx file are kept: beside it, in a folder that is made here.

    Raises:
        DsformerError: it cannot be written to: every start would build an engine.
    """
    folder = path.absolute().parent / f"{path.name}.trt"
    try:
        folder.mkdir(exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise DsformerError(
            f"{folder}: cannot be written to, and without the engine kept there every start would build it anew: put "
            f"{path.name} where it can, or build an engine with `dsformer export --tensorrt`"
        )
    return folder


def is_tensorrt(device: str) -> bool:
    """Whether a device of ONNX Runtime is this provider: "tensorrt", "tensorrt:1", ..."""
    return device.partition(":")[0] == DEVICE
