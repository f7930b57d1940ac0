"""ONNX Runtime's TensorRT provider: what it is told, so that one engine does for all batches, in the file's precision.

It builds its engine by itself when a session is opened, for minutes, unless it finds one that it kept. So it is for the
command line, where somebody waits and reads; a robot's node takes an engine of `dsformer export --tensorrt`.
"""

import os
import stat
from pathlib import Path

from dsformer_core.errors import DsformerError
from dsformer_core.models.fetch import file_sha256
from dsformer_core.runtimes.exported import INPUT, Exported

MOST_AT_ONCE = 8
"""Pictures in its largest batch, as large as the program's are by default."""

DEVICE = "tensorrt"

FOLDER_VARIABLE = "DSFORMER_ENGINES"


def provider_options(about: Exported, path: Path, index: int) -> dict[str, str]:
    """Options of the provider for a file; from now on the process computes no float32 in TF32 where the file is such.

    Args:
        about: what the file says of itself.
        path: of the file, for which the folder `engine_folder` is made.
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
        # It rounds to 10 bits, and the provider has no option for it. A library of NVIDIA's that PyTorch has begun to
        # use may have read this before: the known picture, to 1e-4, is what holds the promise (`check_probe`).
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
    """Where the engines of an .onnx file are kept: in the user's own cache, in a folder that is made here.

    Not beside the file: an engine is code, which ONNX Runtime runs unseen, and whoever gives away a file with a folder
    of engines would give away code. The folder is named after what is in the file, as another of its name has others.

    Raises:
        DsformerError: it cannot be written to, so that every start would build an engine, or others can write to it.
    """
    try:
        folder = engines_folder() / file_sha256(path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        raise _cannot_be_kept(path, str(error)) from error
    if not writable:
        raise _cannot_be_kept(path, f"{folder} cannot be written to")
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DsformerError(
            f"{folder}: others can write to it, and engines are code: remove it, and it is made anew; or name another "
            f"folder in {FOLDER_VARIABLE}"
        )
    return folder


def engines_folder() -> Path:
    """$DSFORMER_ENGINES, or ~/.cache/dsformer/engines."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "dsformer" / "engines").absolute()


def _cannot_be_kept(path: Path, why: str) -> DsformerError:
    return DsformerError(
        f"{path}: the engine built of it cannot be kept, and every start would build it anew ({why}): name a folder in "
        f"{FOLDER_VARIABLE}, or build an engine with `dsformer export --tensorrt`"
    )


def is_tensorrt(device: str) -> bool:
    """Whether a device of ONNX Runtime is this provider: "tensorrt", "tensorrt:1", ..."""
    return device.partition(":")[0] == DEVICE
