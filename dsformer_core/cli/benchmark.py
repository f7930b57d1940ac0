"""`dsformer benchmark`: how fast networks are on this machine, how much memory they take, how soon they are ready."""

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, print_json, print_table, progress
from dsformer_core.errors import DsformerError, UsageError

if TYPE_CHECKING:
    from dsformer_core.benchmark import Configuration, Measured

EXAMPLES = """\
examples:
  dsformer benchmark --model dsformer_tiny
  dsformer benchmark --model dsformer_resnet50 dsformer_dinov2_vitb14 --threads 1 2 --against eager
  dsformer benchmark --model dsformer_resnet50 --device cuda --precision float32 bfloat16 --optimize off safe max
  dsformer benchmark --model dsformer_resnet50 --weights untrained resnet50.onnx --batch 1 8 --output results/
  dsformer benchmark --map town.map --pictures drive/        # from a picture file to hypotheses, stage by stage

Every combination of what is given runs in a process of its own that loads nothing else; memory is its peak, start-up is
loading and the first batch (with --optimize max, compiling). Times are of one batch, from pictures of the network's
size in memory to descriptors in memory, on a GPU with both copies. "eager" is the same network as it was trained, in
float32, in another process that takes turns. Ctrl-C keeps what was measured.
"""


def register(subparsers: Any) -> None:
    """Adds `benchmark` to the command line."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure networks, and pictures on their way to hypotheses",
        description="Latency, throughput, peak memory and start-up of networks, by runtime, precision and so on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", nargs="+", metavar="NAME", help="networks (default: dsformer_tiny, or the map's)")
    parser.add_argument(
        "--weights",
        nargs="+",
        metavar="FILE",
        help="each with every model: files, also .onnx and .engine, or names (default: untrained, which takes as long; "
        "with --map those released)",
    )
    parser.add_argument(
        "--runtime", default="auto", help="auto, torch, onnx or tensorrt (default: by the weights' file)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: %(default)s)")
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["auto"],
        metavar="P",
        help="auto, float32, bfloat16, float16 (default: bfloat16 on CUDA, else float32)",
    )
    parser.add_argument(
        "--optimize",
        nargs="+",
        default=["safe"],
        metavar="LEVEL",
        help="off, safe, max (default: safe); no .onnx, no .engine",
    )
    parser.add_argument(
        "--batch", nargs="+", type=int, default=[1], metavar="N", help="pictures at a time (default: 1)"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N", help="CPU threads (default: 1)")
    parser.add_argument("--against", choices=["eager"], help="compare each with the straightforward formulation")
    parser.add_argument("--map", type=Path, metavar="MAP", help="measure from picture files to hypotheses in this map")
    parser.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="files or folders for --map (default: made up, 1280x720)",
    )
    parser.add_argument("--repeats", type=int, default=50, metavar="N", help="batches of each (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="of each at most, once there are 3 (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write benchmark.json and benchmark.html")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints.

    Raises:
        UsageError: the arguments do not go together.
        DsformerError: some configurations could not be run; the others have been printed by then.
    """
    from dsformer_core.benchmark import Limits, measure
    from dsformer_core.sources.folder import find_pictures

    if arguments.repeats < 1 or not arguments.seconds > 0:
        raise UsageError("--repeats must be 1 or more, and --seconds above 0")
    if arguments.pictures and not arguments.map:
        raise UsageError("--pictures are localized in a map: give --map")
    configurations = _configurations(arguments)
    pictures = find_pictures(arguments.pictures) if arguments.pictures else []
    so_far: list[Measured] = []

    def keep(found: "Measured") -> None:
        so_far.append(found)
        if arguments.output is not None:
            found.write(arguments.output)
        advance(1)

    try:
        with progress("measuring", len(configurations)) as advance:
            measure(
                configurations,
                limits=Limits(arguments.repeats, arguments.seconds),
                against=arguments.against is not None,
                place_map=arguments.map,
                pictures=pictures,
                on_row=keep,
            )
    except KeyboardInterrupt:
        if so_far:
            _print(so_far[-1], as_json=arguments.json)
            errors.print(f"{len(so_far)} of {len(configurations)} were measured", highlight=False)
        raise
    _print(so_far[-1], as_json=arguments.json)
    failed = [row for row in so_far[-1].rows if "error" in row]
    for row in failed:
        errors.print(f"{row['model']} {row['optimize']}: {row['error']}", style="yellow", markup=False, highlight=False)
    if failed:
        raise DsformerError(f"{len(failed)} of {len(configurations)} configurations could not be run")


def _configurations(arguments: argparse.Namespace) -> "list[Configuration]":
    """Every combination of what is given."""
    from dsformer_core.benchmark import Configuration
    from dsformer_core.extractor import PRECISIONS
    from dsformer_core.models.inference import check_optimize
    from dsformer_core.models.registry import model_entry
    from dsformer_core.runtimes import TORCH, choose_runtime

    models, weights = arguments.model or ["dsformer_tiny"], arguments.weights or ["untrained"]
    if arguments.map is not None:
        from dsformer_core.place_map import PlaceMap

        place_map = PlaceMap.open(arguments.map)
        if arguments.model:
            raise UsageError("--map says itself which network it belongs to: no --model is needed with it")
        if arguments.batch != [1]:
            raise UsageError("--map measures pictures one by one, as a robot sends them: no --batch")
        models, weights = [place_map.model_name], arguments.weights or [place_map.weights]
        if place_map.weights != "untrained":
            weights = arguments.weights or ["auto"]
    for model in models:
        model_entry(model)
    for level in arguments.optimize:
        check_optimize(level)
    for precision in arguments.precision:
        if precision not in ("auto", *PRECISIONS):
            raise UsageError(f"there is no precision {precision!r}; choose one of: auto, {', '.join(PRECISIONS)}")
    for option in ("batch", "threads"):
        if min(getattr(arguments, option)) < 1:
            raise UsageError(f"--{option} {min(getattr(arguments, option))}: it must be 1 or more")
    given = itertools.product(
        models, weights, arguments.precision, arguments.optimize, arguments.threads, arguments.batch
    )
    return list(
        dict.fromkeys(
            Configuration(model, file, arguments.runtime, arguments.device, precision, level, batch, threads)
            for model, file, precision, level, threads, batch in given
            # An exported file is what it is: measured once, not once a level.
            if level == arguments.optimize[0] or choose_runtime(file, arguments.runtime) == TORCH
        )
    )


def _print(found: "Measured", *, as_json: bool) -> None:
    from dsformer_core.benchmark.machine import in_words

    if as_json:
        print_json(found.to_dict())
        return
    print_table(found.table())
    answers.print(in_words(found.machine), markup=False, highlight=False)
