"""What exported files say of themselves, read without computing with them, and so on machines without a GPU too."""

from pathlib import Path

from dsformer_core.errors import UsageError
from dsformer_core.runtimes.choice import ONNX, TORCH, choose_runtime
from dsformer_core.runtimes.engine_file import EngineFile
from dsformer_core.runtimes.exported import Exported
from dsformer_core.runtimes.onnx_runtime import read_description


def exported_description(weights: str | Path | None) -> Exported | None:
    """What an .onnx or .engine file says of itself; None of weights that PyTorch reads.

    Raises:
        UsageError: there is no such file.
        DsformerError: it is none of `dsformer export`, or damaged; ONNX Runtime is missing.
    """
    runtime = choose_runtime(weights)
    if weights is None or runtime == TORCH:
        return None
    path = Path(weights)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return read_description(path) if runtime == ONNX else EngineFile.read(path).about
