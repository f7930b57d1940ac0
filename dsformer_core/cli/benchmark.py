"""`dsformer benchmark`: how fast networks are on this machine, how much memory they take, how soon they are ready."""

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, fits, print_json, print_table, steps
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
    parser.add_argument(
        "--model",
        nargs="+",
        metavar="NAME",
        help="networks (default: that of an exported file or of the map, else dsformer_tiny)",
    )
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
    parser.add_argument("--overwrite", action="store_true", help="replace the results of another benchmark there")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints.

    Raises:
        UsageError: the arguments do not go together.
        DsformerError: some configurations could not be run; the others have been printed by then.
    """
    from dsformer_core.benchmark import Limits, measure
    from dsformer_core.benchmark.foresight import refuse_what_cannot_run
    from dsformer_core.sources.folder import find_pictures

    if arguments.repeats < 1 or not arguments.seconds > 0:
        raise UsageError("--repeats must be 1 or more, and --seconds above 0")
    if arguments.pictures and not arguments.map:
        raise UsageError("--pictures are localized in a map: give --map")
    if arguments.output is not None:
        _check_output(arguments.output, overwrite=arguments.overwrite)
    configurations = _configurations(arguments)
    refuse_what_cannot_run(configurations)
    pictures = find_pictures(arguments.pictures) if arguments.pictures else []
    so_far: list[Measured] = []
    labels = _labels(configurations)

    def keep(found: "Measured") -> None:
        so_far.append(found)
        if arguments.output is not None:
            found.write(arguments.output)
        if not errors.is_terminal:
            row = found.rows[-1]
            what = "failed" if "error" in row else f"{row['p50_ms']:.1f} ms"
            errors.print(f"{labels[configurations[len(so_far) - 1]]}: {what}", markup=False, highlight=False)

    try:
        with _a_bar_each(labels) as show:
            measure(
                configurations,
                limits=Limits(arguments.repeats, arguments.seconds),
                against=arguments.against is not None,
                place_map=arguments.map,
                pictures=pictures,
                on_row=keep,
                on_progress=show,
            )
    except KeyboardInterrupt:
        if so_far:
            _print(so_far[-1], as_json=arguments.json)
            errors.print(f"{len(so_far)} of {len(configurations)} were measured", highlight=False)
        raise
    _print(so_far[-1], as_json=arguments.json)
    faults = so_far[-1].faults()
    for fault in faults:
        errors.print(fault, style="yellow", markup=False, highlight=False)
    if faults:
        raise DsformerError(f"{len(faults)} of {len(configurations)} configurations could not be run")


@contextmanager
def _a_bar_each(labels: "dict[Configuration, str]") -> "Iterator[Callable[[Configuration, int, int], None]]":
    """One bar after the other: those of all at once may be more than a terminal has lines, which hides the last."""
    with ExitStack() as shown:
        begun: dict[Configuration, Callable[[str, int, int | None], None]] = {}

        def show(configuration: "Configuration", done: int, total: int) -> None:
            if configuration not in begun:
                shown.close()
                begun[configuration] = shown.enter_context(steps())
            begun[configuration](labels[configuration], done, total)

        yield show


def _check_output(folder: Path, *, overwrite: bool) -> None:
    """Refuses to lose the results of another benchmark, and a folder that is none, before anything was measured."""
    from dsformer_core.benchmark.report import JSON_NAME, PAGE_NAME

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: --output names a folder")
    kept = [folder / name for name in (JSON_NAME, PAGE_NAME) if (folder / name).exists()]
    if kept and not overwrite:
        raise UsageError(f"{kept[0]} exists: choose another folder, or say --overwrite")


def _labels(configurations: "Sequence[Configuration]") -> "dict[Configuration, str]":
    """What to call each while it is measured: which of how many, and what tells it from the others."""
    from dsformer_core.benchmark.report import distinct

    words = distinct([configuration.to_dict() for configuration in configurations])
    numbered = zip(configurations, words, strict=True)
    return {one: f"{number}/{len(words)} {word}" for number, (one, word) in enumerate(numbered, 1)}


def _configurations(arguments: argparse.Namespace) -> "list[Configuration]":
    """Every combination of what is given."""
    from dsformer_core.benchmark import Configuration
    from dsformer_core.benchmark.configuration import MOST_THREADS
    from dsformer_core.devices import PRECISIONS
    from dsformer_core.models.inference import check_optimize
    from dsformer_core.models.registry import model_entry
    from dsformer_core.runtimes import TORCH, choose_runtime
    from dsformer_core.runtimes.description import exported_description

    weights = arguments.weights or ["untrained"]
    for file in weights:
        choose_runtime(file, arguments.runtime)
    if arguments.model or arguments.map:
        networks = list(itertools.product(arguments.model or [], weights))
    else:
        described = [exported_description(file) for file in weights]
        names = ["dsformer_tiny" if about is None else about.model for about in described]
        networks = list(zip(names, weights, strict=True))
    if arguments.map is not None:
        from dsformer_core.place_map import PlaceMap

        place_map = PlaceMap.open(arguments.map)
        if arguments.model:
            raise UsageError("--map says itself which network it belongs to: no --model is needed with it")
        if arguments.batch != [1]:
            raise UsageError("--map measures pictures one by one, as a robot sends them: no --batch")
        own = "untrained" if place_map.weights == "untrained" else "auto"
        networks = [(place_map.model_name, file) for file in arguments.weights or [own]]
    for model, _ in networks:
        model_entry(model)
    for level in arguments.optimize:
        check_optimize(level)
    for precision in arguments.precision:
        if precision not in ("auto", *PRECISIONS):
            raise UsageError(f"there is no precision {precision!r}; choose one of: auto, {', '.join(PRECISIONS)}")
    for option in ("batch", "threads"):
        if min(getattr(arguments, option)) < 1:
            raise UsageError(f"--{option} {min(getattr(arguments, option))}: it must be 1 or more")
    if max(arguments.threads) > MOST_THREADS:
        raise UsageError(f"--threads {max(arguments.threads)}: it must be {MOST_THREADS} or less")
    given = itertools.product(networks, arguments.precision, arguments.optimize, arguments.threads, arguments.batch)
    return list(
        dict.fromkeys(
            Configuration(model, file, arguments.runtime, arguments.device, precision, level, batch, threads)
            for (model, file), precision, level, threads, batch in given
            # An exported file is what it is: measured once, not once a level.
            if level == arguments.optimize[0] or choose_runtime(file, arguments.runtime) == TORCH
        )
    )


def _print(found: "Measured", *, as_json: bool) -> None:
    from dsformer_core.benchmark.machine import in_words

    if as_json:
        print_json(found.to_dict())
        return
    table = found.table()
    if fits(table):
        print_table(table)
    else:
        answers.print(found.in_common(), markup=False, highlight=False)
        _print_compact(found)
    answers.print(in_words(found.machine), markup=False, highlight=False)


def _print_compact(found: "Measured") -> None:
    """A table of what differs where that fits, else some lines each."""
    table = found.table(compact=True)
    if fits(table):
        print_table(table)
        return
    for lines in found.in_lines():
        answers.print(lines, markup=False, highlight=False)
