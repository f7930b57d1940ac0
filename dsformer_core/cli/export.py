"""`dsformer export`: networks as files for other runtimes."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, errors, print_json, steps
from dsformer_core.errors import UsageError

Show = Callable[[str, int, int | None], None]

EXAMPLES = """\
examples:
  dsformer export --model dsformer_tiny --output tiny.onnx
  dsformer export --model dsformer_resnet50 --weights mine.safetensors --output mine.onnx --precision float16
  dsformer localize picture.jpg --map town.map --weights tiny.onnx          computed by ONNX Runtime
  dsformer export --int8 --map town.map --output town-int8.onnx            weighed on that map's pictures
  dsformer export --int8 --map town.map --from tiny.onnx --images drive/ --output town-int8.onnx
  dsformer export --int8 tensorrt --map town.map --output town-int8-gpu.onnx    to build an engine of:
  dsformer export --tensorrt --from town-int8-gpu.onnx --map town.map --output town-int8.engine   asks the map again
  dsformer export --tensorrt --from tiny.onnx --output tiny.engine          on the robot: for its GPU, takes minutes

An ONNX file takes float32 pictures (batch, 3, height, width), RGB, (value / 255 - mean) / std; its metadata say size,
mean, std, and what comes out. It is written only once ONNX Runtime has computed the same with it as PyTorch. An INT8
file is written only if it finds, of references of the map that are held out, at most one in a hundred fewer than
float32, and so is an engine of it, by what the engine itself finds.
An engine runs on the GPU and with the TensorRT that built it, and nowhere else.
"""


def register(subparsers: Any) -> None:
    """Adds `export` to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write a network as ONNX, as INT8, or as a TensorRT engine",
        description="Writes a network as a file for ONNX Runtime or TensorRT, compared with PyTorch on the spot.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .onnx or .engine file to write")
    parser.add_argument("--model", metavar="NAME", help="network (with --int8: the map's)")
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="file, or name of released weights (default: those of the model or the map)",
    )
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX, 18 to 23 (default: 20)")
    parser.add_argument("--precision", choices=["float32", "float16"], help="of the ONNX file (default: float32)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--int8",
        nargs="?",
        const="cpu",
        metavar="FOR",
        help="quantise to INT8 with the pictures of --map, for cpu (the default) or tensorrt",
    )
    kind.add_argument("--tensorrt", action="store_true", help="build a TensorRT engine of --from, for this GPU")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="an .onnx file of `dsformer export`")
    parser.add_argument("--map", type=Path, metavar="MAP", help="of INT8: the map that is to be searched")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="PATH",
        help="of INT8: where the map's pictures are (default: where they were)",
    )
    parser.add_argument(
        "--max-batch", type=int, metavar="N", help="with --tensorrt: most pictures at once (default: 8)"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="with --tensorrt: the GPU, cuda or cuda:1 (default: the current)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes one file."""
    _refuse_options_of_others(arguments)
    remarks: list[str] = []
    with steps() as bars:
        if arguments.tensorrt:
            # Phases of TensorRT contain each other.
            report = _tensorrt(arguments, _named(bars))
        else:
            with _one_after_the_other(_named(bars)) as show:
                report = _int8(arguments, show, remarks) if arguments.int8 else _onnx(arguments, show)
    report = {"file": str(arguments.output), "bytes": arguments.output.stat().st_size, **report}
    if arguments.json:
        print_json(report | ({"remarks": remarks} if arguments.int8 else {}))
        return
    for name, value in report.items():
        answers.print(f"{name.replace('_', ' ')}: {value}", markup=False, highlight=False)
    for remark in remarks:
        errors.print(remark, style="yellow", markup=False, highlight=False)


def _named(bars: Show) -> Show:
    """Says the name of each step in a line of its own where no terminal shows bars."""
    said: set[str] = set()

    def show(step: str, done: int, total: int | None) -> None:
        if step not in said and not errors.is_terminal:
            errors.print(step, markup=False, highlight=False)
        said.add(step)
        bars(step, done, total)

    return show


@contextmanager
def _one_after_the_other(bars: Show) -> Iterator[Show]:
    """Ends the bar of a step when the next begins, and the last one with the block."""
    last: list[tuple[str, int | None]] = []

    def show(step: str, done: int, total: int | None) -> None:
        if last and last[-1][0] != step:
            end()
        last[:] = [(step, total)]
        bars(step, done, total)

    def end() -> None:
        step, total = last[-1]
        if total is not None:
            bars(step, total, total)

    yield show
    if last:
        end()


def _onnx(arguments: argparse.Namespace, show: Show) -> dict[str, Any]:
    from dsformer_core.export import DEFAULT_OPSET, export_onnx

    if arguments.model is None:
        raise UsageError("say which network to export: --model NAME")
    exported = export_onnx(
        arguments.model,
        arguments.weights or "auto",
        arguments.output,
        opset=DEFAULT_OPSET if arguments.opset is None else arguments.opset,
        precision=arguments.precision or "float32",
        overwrite=arguments.overwrite,
        on_progress=show,
    )
    return {
        "model": exported.model,
        "weights": f"{exported.weights} ({exported.weights_sha256[:12]})",
        "precision": exported.precision,
        "opset": exported.opset,
        "outputs": "descriptors, signs" if exported.code_bytes else "descriptors",
        "largest_difference_to_pytorch": exported.difference,
    }


def _int8(arguments: argparse.Namespace, show: Show, remarks: list[str]) -> dict[str, Any]:
    from dsformer_core.export.int8 import export_int8
    from dsformer_core.place_map import PlaceMap
    from dsformer_core.place_map.network import require_known_network

    if arguments.map is None:
        raise UsageError("INT8 is judged by the map that it is to search: --map MAP")
    place_map = PlaceMap.open(arguments.map)
    require_known_network(place_map)
    if arguments.model not in (None, place_map.model_name):
        raise UsageError(f"{arguments.map} was built with {place_map.model_name}, not {arguments.model}")
    exported = export_int8(
        place_map,
        arguments.output,
        source=arguments.source,
        weights=arguments.weights,
        images=arguments.images,
        opset=arguments.opset,
        target=arguments.int8,
        overwrite=arguments.overwrite,
        on_progress=show,
        on_remark=remarks.append,
    )
    assert exported.int8 is not None
    return {
        "model": exported.model,
        "weights": f"{exported.weights} ({exported.weights_sha256[:12]})",
        "precision": exported.precision,
        **vars(exported.int8),
        "largest_difference_to_float32": exported.difference,
    }


def _tensorrt(arguments: argparse.Namespace, show: Show) -> dict[str, Any]:
    from dsformer_core.export.tensorrt_engine import DEFAULT_MAX_BATCH, build_engine
    from dsformer_core.place_map import PlaceMap

    if arguments.source is None:
        raise UsageError("say of which ONNX file: --from FILE.onnx (`dsformer export --model NAME` writes one)")
    built = build_engine(
        arguments.source,
        arguments.output,
        max_batch=DEFAULT_MAX_BATCH if arguments.max_batch is None else arguments.max_batch,
        device=arguments.device or "auto",
        place_map=None if arguments.map is None else PlaceMap.open(arguments.map),
        images=arguments.images,
        overwrite=arguments.overwrite,
        on_progress=show,
    )
    report = {"model": built.about.model, "precision": built.about.precision}
    if built.about.int8 is None:
        return report | {"largest_difference_to_pytorch": built.difference}
    return report | vars(built.about.int8) | {"largest_difference_to_the_map": built.difference}


# Which options belong to which kinds of file.
_BELONG = {
    "model": ("onnx", "int8"),
    "weights": ("onnx", "int8"),
    "opset": ("onnx", "int8"),
    "precision": ("onnx",),
    "source": ("int8", "tensorrt"),
    "map": ("int8", "tensorrt"),
    "images": ("int8", "tensorrt"),
    "max_batch": ("tensorrt",),
    "device": ("tensorrt",),
}


def _refuse_options_of_others(arguments: argparse.Namespace) -> None:
    kind = "tensorrt" if arguments.tensorrt else "int8" if arguments.int8 else "onnx"
    for name, kinds in _BELONG.items():
        if getattr(arguments, name) is not None and kind not in kinds:
            option = "--from" if name == "source" else f"--{name.replace('_', '-')}"
            named = " or ".join(f"--{one}" for one in kinds if one != "onnx") or "an ONNX file in floating point"
            raise UsageError(f"{option} is for {named}")
