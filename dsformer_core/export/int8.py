"""ONNX in float32 -> ONNX in INT8, accepted only where a map shows that it finds as many places.

Static quantisation, as pairs of QuantizeLinear and DequantizeLinear around what is to be computed in INT8: weights per
output channel, activations per tensor, with ranges that are means over pictures (the widest of a hundred pictures would
leave too few steps for the others). What comes after pooling (the projection to the descriptor, the last of a hash
branch, L2 norms), attention and its softmax, and relative positions stay float32: they cost little time, and the
descriptor's numbers come straight out of them. Of the rest, as much computes in INT8 as the map allows (`PARTS`).
"""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.export.calibration_pictures import (
    CALIBRATION,
    HELD_OUT,
    Loader,
    describe_all,
    draw_sample,
    picture_loaders,
    require_images,
)
from dsformer_core.export.int8_judge import CLEAR_LOSS, MOST_LOST, Judge, slips_through
from dsformer_core.export.onnx_file import (
    DEFAULT_OPSET,
    OnProgress,
    add_description,
    check_output,
    export_onnx,
    require_exporter,
)
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.network import label_of
from dsformer_core.runtimes.exported import DESCRIPTORS, INPUT, Exported, Int8Recall, probe_input
from dsformer_core.runtimes.onnx_runtime import open_session, read_description
from dsformer_core.staging import durable_file, full_disk_in_words

# Weight of a further picture in the ranges' means.
_MOVING_AVERAGE = 0.05

# Chance of accepting such a loss from which on it is said.
_WEAK = 0.05

PARTS = ("linear layers and the later half of the convolutions", "linear layers")
"""What is tried, one after the other, until one is accepted. Early convolutions in INT8 cost a MobileNetV2 most of its
descriptors' agreement (mean cosine 0.972 instead of 0.994 with float32) and made it no faster."""

_SHORT = dict(zip(PARTS, ("linear + convolutions", "linear layers"), strict=True))

TARGETS = ("cpu", "tensorrt")
"""For whom: unsigned activations with a zero of their own, which CPUs multiply fastest; or signed ones around zero, as
TensorRT needs them."""


def export_int8(
    place_map: PlaceMap,
    output: Path,
    *,
    source: Path | None = None,
    weights: str | Path | None = None,
    images: Path | None = None,
    opset: int | None = None,
    target: str = "cpu",
    overwrite: bool = False,
    on_progress: OnProgress = lambda step, done, total: None,
    on_remark: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Writes an INT8 network for one map, once it has found as many of that map's places as float32.

    Args:
        place_map: what it is to search. Its references were described by the same weights, in floating point; some of
            their pictures give the ranges, others are asked.
        output: the file, ending in ``.onnx``.
        source: a float32 .onnx file of `dsformer export`; None to export one on the way.
        weights: as for `Extractor`, where there is no `source`; None for those that the map names.
        images: where the map's pictures are; None for where they were when it was built.
        opset: of ONNX, where there is no `source`.
        target: one of `TARGETS`.
        overwrite: whether a file that is there is replaced.
        on_progress: called with what is being done, how much of it is, and of how much.
        on_remark: called with a sentence for each thing that makes the file less than it could be, or that weakens what
            was found of it.

    Returns:
        What the file says of itself, with both recalls.

    Raises:
        UsageError: `output` exists, or arguments do not go together.
        DsformerError: INT8 loses more than `MOST_LOST`, with the numbers; the map is too small to tell, its pictures
            are not at hand, or `source` is of other weights. Nothing is left then.
    """
    if target not in TARGETS:
        raise UsageError(f"there is no INT8 for {target!r}; choose one of: {', '.join(TARGETS)}")
    check_output(output, ".onnx", overwrite=overwrite)
    require_images(images)
    require_exporter()
    sample = draw_sample(place_map)
    with (
        full_disk_in_words(output),
        tempfile.TemporaryDirectory(prefix=f".{output.name}.building-", dir=output.absolute().parent) as folder,
    ):
        if source is None:
            source = Path(folder) / "float32.onnx"
            given = weights or label_of(place_map)
            export_onnx(place_map.model_name, given, source, opset=opset or DEFAULT_OPSET, on_progress=on_progress)
        elif weights is not None or opset is not None:
            raise UsageError("--from brings weights and opset of its own: leave --weights and --opset out")
        exact = Extractor(place_map.model_name, source, device="cpu", precision="float32")
        place_map.check_model(exact.model_name, exact.weights_sha256, exact.arithmetic)
        loaders = picture_loaders(place_map, sample.asked, exact.preprocessing, images)
        calibration = picture_loaders(place_map, sample.calibration, exact.preprocessing, images)

        expected = describe_all(exact, loaders, partial(on_progress, "asking in float32"))
        judge = Judge(place_map, sample, loaders, expected)
        lost: list[str] = []
        # Beside what it quantises, ONNX Runtime writes a file of its own.
        floating = Path(shutil.copyfile(source, Path(folder) / "source.onnx"))
        for part in PARTS:
            if not (nodes := _chosen(source, part)):
                continue
            plain, described = Path(folder) / "int8.onnx", Path(folder) / "described.onnx"
            short = _SHORT[part]
            _quantise(floating, plain, _inputs(exact, calibration, f"weighing {short}", on_progress), nodes, target)
            unmeasured = Int8Recall(place_map.name, place_map.descriptors_sha256, 0, 0.0, 0.0, 0, part, target)
            quantised = _describe_itself(plain, exact, source, unmeasured)
            _write(described, plain, quantised)
            fast = Extractor(place_map.model_name, described, device="cpu")
            verdict = judge.ask(fast, f"asking {short} in INT8", on_progress)
            if verdict.accepted:
                measured = replace(
                    unmeasured,
                    references=judge.references,
                    recall_float32=judge.recall,
                    recall_int8=verdict.recall,
                    calibration=len(calibration),
                )
                accepted = quantised.replaced(int8=measured, difference=verdict.difference)
                _write(output, plain, accepted)
                for remark in _remarks(judge, len(calibration), part, lost):
                    on_remark(remark)
                return accepted
            lost.append(f"{part} {verdict.recall:.1%}")
    raise DsformerError(
        f"{output} was not written: of {judge.references} held-out references of {place_map.directory} float32 "
        f"finds {judge.recall:.1%}, INT8 of {', of '.join(lost)}, and it may lose {MOST_LOST:.0%}: stay with float32 "
        "or float16"
    )


def _remarks(judge: Judge, calibration: int, part: str, lost: list[str]) -> Iterator[str]:
    if lost:
        yield (
            f"only {part} in INT8: of {judge.references} references float32 finds {judge.recall:.1%}, INT8 of "
            f"{', of '.join(lost)}, and it may lose {MOST_LOST:.0%}"
        )
    if calibration < CALIBRATION:
        yield (
            f"ranges were taken from {calibration} pictures instead of {CALIBRATION}: two thirds of the map's places "
            "are kept to be asked; a larger map gives better ranges"
        )
    if (chance := slips_through(judge.references)) > _WEAK:
        yield (
            f"weak evidence: with {judge.references} references asked, a true loss of {CLEAR_LOSS:.0%} is accepted "
            f"{chance:.0%} of the time; on a larger map up to {HELD_OUT} are asked"
        )


def _write(path: Path, plain: Path, exported: Exported) -> None:
    with durable_file(path) as file:
        file.write(plain.read_bytes())
        add_description(file, exported)


def _describe_itself(plain: Path, exact: Extractor, source: Path, int8: Int8Recall) -> Exported:
    """The description of a quantised file, before its recall is known."""
    original = read_description(source)
    probe = open_session(plain, threads=1).run([DESCRIPTORS], {INPUT: probe_input(exact.preprocessing)})[0][0]
    return original.replaced(
        precision="int8",
        probe=probe,
        graph_sha256=hashlib.sha256(plain.read_bytes()).hexdigest(),
        int8=int8,
    )


def _inputs(
    extractor: Extractor, loaders: list[Loader], step: str, on_progress: OnProgress
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Pictures as the network gets them."""
    for number, loader in enumerate(loaders):
        on_progress(step, number, len(loaders))
        yield {INPUT: extractor.prepare([loader()]).numpy()}
    on_progress(step, len(loaders), len(loaders))


def _quantise(
    source: Path, output: Path, inputs: Iterator[dict[str, npt.NDArray[np.float32]]], nodes: list[str], target: str
) -> None:
    """Writes the quantised graph, without a description."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(inputs, None)

    options: dict[str, Any] = {"CalibMovingAverage": True, "CalibMovingAverageConstant": _MOVING_AVERAGE}
    if target == "tensorrt":
        # It has no INT8 weights but through a pair of their own, and no INT32 biases.
        options |= {"ActivationSymmetric": True, "AddQDQPairToWeight": True, "QuantizeBias": False}
    with _quietly():
        quantize_static(
            str(source),
            str(output),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if target == "tensorrt" else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "MatMul"],
            nodes_to_quantize=nodes,
            extra_options=options,
        )
    model = onnx.load(str(output))
    del model.metadata_props[:]
    output.write_bytes(model.SerializeToString())


def _chosen(source: Path, part: str) -> list[str]:
    """Names of what computes in INT8: linear layers are products with a matrix of weights; attention's are none."""
    import onnx

    graph = onnx.load(str(source), load_external_data=False).graph
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    linear = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in matrices]
    if part == PARTS[1]:
        return linear
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    return linear + convolutions[len(convolutions) // 2 :]


@contextmanager
def _quietly() -> Iterator[None]:
    """It advises to preprocess files, which were optimized when they were exported."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
