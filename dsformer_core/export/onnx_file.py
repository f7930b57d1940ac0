"""PyTorch -> ONNX, compared with PyTorch before the file takes its name."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.described import CODE_BYTES
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import load_network
from dsformer_core.models import DescriptorModel, weights_digest
from dsformer_core.models.hashing import signs
from dsformer_core.models.inference import optimize_for_inference
from dsformer_core.runtimes.exported import DESCRIPTORS, INPUT, SIGNS, TOLERANCE, Exported, probe_input
from dsformer_core.runtimes.onnx_runtime import onnxruntime, open_session
from dsformer_core.staging import durable_file, full_disk_in_words, require_folder_of

PRECISIONS = ("float32", "float16")
DEFAULT_OPSET = 20
OPSETS = range(18, 24)
"""18 is the first that PyTorch's exporter writes; 20 has GELU as one operator, and is what TensorRT 10.3 reads."""

_BATCHES = (1, 3, 2)
_MOST_BYTES = 2**31 - 1
_STEPS = 3

OnProgress = Callable[[str, int, int | None], None]


def export_onnx(
    model: str,
    weights: str | Path | None,
    output: Path,
    *,
    opset: int = DEFAULT_OPSET,
    precision: str = "float32",
    overwrite: bool = False,
    on_progress: OnProgress = lambda step, done, total: None,
) -> Exported:
    """Writes a network as ONNX, for batches of any size, once ONNX Runtime has computed the same as PyTorch with it.

    Args:
        model: one of `list_models()`.
        weights: as for `Extractor`.
        output: the file, ending in ``.onnx``.
        opset: of ONNX, one of `OPSETS`.
        precision: "float32", or "float16" for the arithmetic that autocast would do on a GPU; in and out go float32.
        overwrite: whether a file that is there is replaced.
        on_progress: called with what is being done, how much of it is, and of how much.

    Returns:
        What the file says of itself, the measured difference in it.

    Raises:
        UsageError: there is no such model, weights, opset or precision; `output` exists or has another suffix.
        DsformerError: the weights or the exporter's libraries are not on this machine, the disk is full, or ONNX
            Runtime computes something else than PyTorch: nothing is left then.
    """
    check_output(output, ".onnx", overwrite=overwrite)
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision {precision!r} of ONNX files; choose one of: {', '.join(PRECISIONS)}")
    if opset not in OPSETS:
        raise UsageError(f"opset {opset}: choose {OPSETS.start} to {OPSETS.stop - 1}")
    require_exporter()
    network, label = load_network(model, weights)
    digest = weights_digest(network)
    return write_onnx(
        network.requires_grad_(False),
        output,
        opset=opset,
        precision=precision,
        about={"model": model, "weights": label, "weights_sha256": digest},
        on_progress=on_progress,
    )


def write_onnx(
    network: DescriptorModel,
    output: Path,
    *,
    opset: int,
    precision: str,
    about: dict[str, Any],
    on_progress: OnProgress = lambda step, done, total: None,
) -> Exported:
    """The same for a network in memory, which is rewritten on the way (`optimize_for_inference`).

    Args:
        network: in evaluation mode, on the CPU, without gradients.
        output: as above; replaced.
        opset: as above.
        precision: as above.
        about: `model`, `weights` and `weights_sha256` of `Exported`.
        on_progress: as above.
    """
    preprocessing = network.preprocessing
    on_progress("tracing", 0, _STEPS)
    # Before it is rewritten: what is compared with is the network as it was released.
    probe = network_output(network, torch.from_numpy(probe_input(preprocessing)))[0][0]
    batches = [_pictures(count, preprocessing.size, seed) for seed, count in enumerate(_BATCHES)]
    expected = [network_output(network, batch) for batch in batches]
    program = _trace(network, opset, precision)
    on_progress("writing", 1, _STEPS)
    content: bytes = program.model_proto.SerializeToString()
    del program
    if len(content) > _MOST_BYTES:
        raise DsformerError(f"{output}: {len(content) / 1e9:.1f} GB are more than an ONNX file holds: choose float16")
    with full_disk_in_words(output), durable_file(output) as file:
        file.write(content)
        file.flush()
        on_progress("comparing with PyTorch", 2, _STEPS)
        difference = _compare(Path(file.name), batches, expected, precision, str(output))
        exported = Exported(
            **about,
            preprocessing=preprocessing,
            descriptor_dim=network.descriptor_dim,
            code_bytes=CODE_BYTES if network.has_codes else 0,
            precision=precision,
            opset=opset,
            difference=difference,
            probe=probe.numpy(),
            dsformer_version=version("dsformer_ros"),
            graph_sha256=hashlib.sha256(content).hexdigest(),
        )
        add_description(file, exported)
    on_progress("comparing with PyTorch", _STEPS, _STEPS)
    return exported


def add_description(file: BinaryIO, exported: Exported) -> None:
    """Appends the metadata to a model that has none: serialised messages of protobuf, one after another, are one."""
    import onnx

    described = onnx.ModelProto()
    onnx.helper.set_model_props(described, exported.to_metadata())
    file.write(described.SerializeToString())


def check_output(output: Path, suffix: str, *, overwrite: bool) -> None:
    """Refuses a name before the work whose result is to have it.

    Raises:
        UsageError: it ends otherwise, is taken, or its folder is not there.
    """
    if output.suffix != suffix:
        raise UsageError(f"{output}: the name of the file to write must end in {suffix}")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists: choose another name, or say --overwrite")
    if output.is_dir():
        raise UsageError(f"{output} is a folder: choose another name")
    require_folder_of(output)


def require_exporter() -> None:
    """Refuses to begin without the libraries that write and run ONNX.

    Raises:
        DsformerError: says how to install them.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DsformerError(f"{error.name} is not installed: pip install 'dsformer_ros[export]'") from error
    onnxruntime()


class _Exportable(nn.Module):
    """A network as it goes into the file: float32 in and out, and half precision between where that is asked for."""

    def __init__(self, network: DescriptorModel, half: bool) -> None:
        super().__init__()
        self.network, self.half_inside = network, half

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised -> descriptors (B, D), and signs (B, 512) where there is a hash branch."""
        found: tuple[Tensor, ...]
        inside = torch.autocast("cpu", torch.float16, cache_enabled=False) if self.half_inside else nullcontext()
        with inside:
            if self.network.has_codes:
                descriptors, hash_floats = self.network.branches(images)
                found = descriptors.float(), torch.where(hash_floats.float() >= 0, 1.0, -1.0)
            else:
                found = (self.network(images).float(),)
        # Half precision leaves the norm off by 1e-3; Extractor does the same.
        return (F.normalize(found[0], dim=-1), *found[1:]) if self.half_inside else found


def _trace(network: DescriptorModel, opset: int, precision: str) -> Any:
    """The network as an `torch.onnx.ONNXProgram`."""
    optimize_for_inference(network, float32=False)
    module = _Exportable(network, half=precision == "float16").eval()
    outputs = [DESCRIPTORS, SIGNS] if network.has_codes else [DESCRIPTORS]
    # Two pictures: the exporter takes a batch of one for a batch that is always one.
    example = _pictures(2, network.preprocessing.size, seed=0)
    batch = {0: torch.export.Dim.DYNAMIC}
    with _quietly(), torch.no_grad():
        try:
            program = torch.export.export(module, (example,), dynamic_shapes=(batch,), strict=False)
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes=None,
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:  # of many kinds, and hundreds of lines long
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise DsformerError(
                f"{network.name} cannot be exported: PyTorch's exporter failed ({first[:200]})"
            ) from error
    assert onnx_program is not None
    for value in (*onnx_program.model.graph.inputs, *onnx_program.model.graph.outputs):
        value.shape[0] = "batch"  # type: ignore[index]
    return onnx_program


def network_output(network: DescriptorModel, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Descriptors (B, D) and hash floats (B, 512) or None, by PyTorch."""
    with torch.inference_mode():
        if network.has_codes:
            return network.branches(images)
        return network(images), None


def _compare(
    path: Path,
    batches: list[Tensor],
    expected: list[tuple[Tensor, Tensor | None]],
    precision: str,
    called: str,
) -> float:
    """Largest difference of any number of a descriptor.

    Raises:
        DsformerError: it is too large, codes differ, or ONNX Runtime cannot compute a batch of some size.
    """
    session = open_session(path, threads=torch.get_num_threads())
    allowed, worst = TOLERANCE[precision], 0.0
    for batch, (descriptors, hash_floats) in zip(batches, expected, strict=True):
        try:
            found = session.run(None, {INPUT: batch.numpy()})
        except Exception as error:
            raise DsformerError(
                f"{called} was not written: ONNX Runtime fails at batch size {len(batch)}: {str(error).splitlines()[0]}"
            ) from error
        # Not `max`: it would let NaN pass.
        worst = float(np.maximum(worst, np.abs(found[0] - descriptors.numpy()).max()))
        if not worst <= allowed:
            raise DsformerError(
                f"{called} was not written: at batch size {len(batch)} its descriptors differ from PyTorch's by "
                f"{worst:.1e}, and {precision} allows {allowed:.0e}"
            )
        if hash_floats is not None:
            # A number at zero may fall on either side.
            wrong = (found[1] != signs(hash_floats).numpy()) & (hash_floats.abs().numpy() > allowed)
            if wrong.any():
                raise DsformerError(f"{called} was not written: {int(wrong.sum())} bits of its codes are not PyTorch's")
    return worst


def _pictures(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """(count, 3, H, W): noise, as normalised pictures are large."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator)


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter speaks of operators that no network here has."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
