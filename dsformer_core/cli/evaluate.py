"""`dsformer evaluate`: recall of a model on a data set, of a folder of pictures, or of one map asked about another."""

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import answers, errors, print_json, print_table, steps
from dsformer_core.cli.optimize_argument import add_optimize_argument, say_what_starting_took
from dsformer_core.cli.runtime_argument import add_runtime_argument
from dsformer_core.cli.sequence import add_sequence_arguments, evaluate_a_sequence, refuse_options_of_drives
from dsformer_core.errors import DsformerError, UsageError

if TYPE_CHECKING:
    from dsformer_core.evaluation import Benchmark, Evaluation

EXAMPLES = """\
examples:
  dsformer evaluate pitts30k --root datasets/ --model dsformer_resnet50
  dsformer evaluate sf-xl-night --root datasets/ --model dsformer_resnet50 --model gem_resnet50 --output report/
  dsformer evaluate my_drive/ --model dsformer_tiny            a folder with database/ and queries/
  dsformer evaluate my_drive/ --model dsformer_tiny --index binary      what a binary map would cost in recall
  dsformer evaluate --database town.map --queries night.map    one map asked about another
  dsformer evaluate --sequence tuesday_night/ --map town.map --kidnap 3 --output report/      as a robot would drive it
  dsformer evaluate --sequence tuesday.mcap --map town.map      with the odometry that was recorded
  dsformer evaluate --sequence tuesday.mcap --map town.map --odometry tuesday.mcap:/wheels/odom
  dsformer evaluate msls-challenge --root datasets/ --model dsformer_resnet50 --submission prediction.zip
  dsformer evaluate tokyo247 --root datasets/ --check          is the data set where and what it should be?
  dsformer evaluate --list                                     data sets and their protocols

Descriptors are kept (--cache), so a second run takes seconds, and a run that was interrupted goes on where it was;
those of a drive (--sequence) are not.
"""


def register(subparsers: Any) -> None:
    """Adds `evaluate` to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure how well a model recognises places",
        description="Recall of a model on a benchmark, with confidence intervals, errors and abstention.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset", nargs="?", metavar="DATASET", help="data set by name, or folder with database/ and queries/"
    )
    parser.add_argument("--list", action="store_true", help="list the data sets and their protocols")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder below which data sets lie")
    parser.add_argument("--check", action="store_true", help="only look whether the data set is complete")
    parser.add_argument("--database", type=Path, metavar="PATH", help="map, or folder of pictures, that is asked")
    parser.add_argument("--queries", type=Path, metavar="PATH", help="map, or folder of pictures, that asks")
    parser.add_argument("--model", action="append", metavar="NAME", help="network; several are compared side by side")
    parser.add_argument(
        "--weights", action="append", metavar="FILE", help="one for each --model (default: those released for it)"
    )
    parser.add_argument(
        "--radius",
        type=float,
        metavar="METRES",
        help="distance within which a reference is right, for folders and maps (default: 25)",
    )
    parser.add_argument(
        "--index",
        metavar="flat|binary",
        help="search by descriptors alone (flat), or also by codes as a binary map does (binary: from the model's hash "
        "branch, or signs of its descriptors) (default: binary for models with a hash branch)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help="references that codes find and descriptors put in order (default: as in maps)",
    )
    add_sequence_arguments(parser)
    parser.add_argument("--zone", metavar="ZONE", help="UTM zone of '@' names without one, e.g. 33N")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write evaluation.json, matches.csv, report.html")
    parser.add_argument(
        "--submission",
        type=Path,
        metavar="FILE",
        help="write the MSLS challenge's zip: what descriptors find, or with --index binary what is re-ranked",
    )
    parser.add_argument(
        "--submission-keys", type=int, default=20, metavar="N", help="matches per query in it (default: %(default)s)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where descriptors are kept (default: $DSFORMER_DESCRIPTORS, or ~/.cache/dsformer/descriptors)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="auto, float32, bfloat16, float16 (default: %(default)s)")
    add_optimize_argument(parser)
    add_runtime_argument(parser)
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and prints what came out.

    Raises:
        UsageError: the arguments do not go together.
        DsformerError: the data set, the model or the disk does not play along.
    """
    if arguments.radius is not None and not (math.isfinite(arguments.radius) and arguments.radius > 0):
        raise UsageError(f"--radius {arguments.radius} is no distance")
    if arguments.submission_keys < 1:
        raise UsageError(f"--submission-keys {arguments.submission_keys}: it must be 1 or more")
    if arguments.index not in (None, "flat", "binary"):
        raise UsageError(f"--index {arguments.index}: it must be flat (descriptors alone) or binary (codes as well)")
    if arguments.candidates is not None and arguments.candidates < 1:
        raise UsageError(f"--candidates {arguments.candidates}: it must be 1 or more")
    if arguments.candidates is not None and arguments.index == "flat":
        raise UsageError("--candidates are found by codes, and --index flat searches without")
    if arguments.list:
        _print_datasets(as_json=arguments.json)
        return
    if arguments.sequence is not None:
        evaluate_a_sequence(arguments)
        return
    if arguments.map is not None or arguments.kidnap or arguments.odometry is not None:
        raise UsageError("--map, --odometry and --kidnap are of a drive: give it with --sequence")
    refuse_options_of_drives(arguments)
    if _are_maps(arguments):
        evaluations = _evaluate_maps(arguments)
    else:
        benchmark = _open(arguments)
        if arguments.check:
            _print_check(benchmark, as_json=arguments.json)
            return
        try:
            evaluations = _evaluate_models(benchmark, arguments)
        except KeyboardInterrupt:
            errors.print("what is described so far is kept: the same command goes on from there", highlight=False)
            raise
    _print(evaluations, as_json=arguments.json)
    if arguments.submission is not None:
        _write_submission(evaluations, arguments)
    if arguments.output is not None:
        _write_output(evaluations, arguments.output)


def _are_maps(arguments: argparse.Namespace) -> bool:
    given = [path for path in (arguments.database, arguments.queries) if path is not None]
    if len(given) == 1 or (given and arguments.dataset is not None):
        raise UsageError("give --database and --queries together, and no DATASET beside them")
    if not given and arguments.dataset is None:
        raise UsageError("name a data set, a folder, or --database and --queries; --list shows the data sets")
    maps = [path for path in given if (path / "map.yaml").is_file()]
    if len(maps) == 1:
        raise UsageError(f"{maps[0]} is a map and the other is not: give two maps, or two folders of pictures")
    if maps and (arguments.model or arguments.weights):
        raise UsageError("maps hold their descriptors: no --model and no --weights are needed with them")
    if maps and arguments.index:
        raise UsageError("maps say themselves how they are searched: no --index is needed with them")
    if maps and (arguments.check or arguments.submission):
        raise UsageError("--check and --submission are for data sets; maps are checked with dsformer map verify")
    return bool(maps)


def _open(arguments: argparse.Namespace) -> "Benchmark":
    from dsformer_core.evaluation import open_benchmark
    from dsformer_core.evaluation.benchmark import RIGHT_WITHIN_M
    from dsformer_core.evaluation.datasets.folders import open_folders
    from dsformer_core.geodesy import UtmZone

    zone = UtmZone.parse(arguments.zone) if arguments.zone else None
    if arguments.database is not None:
        name = f"{arguments.queries.name} in {arguments.database.name}"
        radius = arguments.radius or RIGHT_WITHIN_M
        return open_folders(arguments.database, arguments.queries, name=name, radius=radius, zone=zone)
    return open_benchmark(arguments.dataset, arguments.root, radius=arguments.radius, zone=zone)


def _evaluate_maps(arguments: argparse.Namespace) -> "list[Evaluation]":
    from dsformer_core.evaluation.benchmark import RIGHT_WITHIN_M
    from dsformer_core.evaluation.maps import evaluate_maps
    from dsformer_core.place_map import PlaceMap

    references, queries = PlaceMap.open(arguments.database), PlaceMap.open(arguments.queries)
    with steps() as show:
        found = evaluate_maps(
            references,
            queries,
            candidates=arguments.candidates,
            radius=arguments.radius or RIGHT_WITHIN_M,
            on_progress=show,
        )
    return list(found.values())


def _evaluate_models(benchmark: "Benchmark", arguments: argparse.Namespace) -> "list[Evaluation]":
    from dsformer_core.evaluation import default_cache, evaluate
    from dsformer_core.evaluation.evaluation import RETRIEVED
    from dsformer_core.extractor import Extractor
    from dsformer_core.place_map.indexes.codes import CANDIDATES

    models = arguments.model or []
    if arguments.submission is not None and (len(models) != 1 or not benchmark.name.startswith("msls")):
        raise UsageError("a submission is of one --model on msls-challenge")
    if not models:
        raise UsageError("name the network to evaluate: --model NAME")
    weights = arguments.weights or ["auto"] * len(models)
    if len(weights) != len(models):
        raise UsageError(f"{len(models)} --model and {len(weights)} --weights: give one for each, or none")

    def warn(error: DsformerError) -> None:
        errors.print(str(error), style="yellow", markup=False, highlight=False)

    evaluations: list[Evaluation] = []
    for model, its_weights in zip(models, weights, strict=True):
        extractor = Extractor(
            model,
            its_weights,
            device=arguments.device,
            precision=arguments.precision,
            optimize=arguments.optimize,
            runtime=arguments.runtime,
        )
        if (
            arguments.candidates is not None
            and arguments.index is None
            and models == [model]
            and not extractor.code_bytes
        ):
            raise UsageError(
                f"{model} gives no codes to find candidates by: --index binary makes some of its descriptors"
            )
        with steps() as show:
            found = evaluate(
                benchmark,
                extractor,
                index=arguments.index,
                candidates=CANDIDATES if arguments.candidates is None else arguments.candidates,
                cache=arguments.cache or default_cache(),
                retrieve=max(RETRIEVED, arguments.submission_keys),
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                on_progress=show,
                on_unreadable=warn,
            )
        say_what_starting_took(extractor)
        evaluations += found.values()
    return evaluations


def _print_datasets(*, as_json: bool) -> None:
    from rich.table import Table

    from dsformer_core.evaluation import DATASETS

    if as_json:
        described = ({"name": each.name, "summary": each.summary, "source": each.source} for each in DATASETS.values())
        print_json(list(described))
        return
    table = Table("data set", "what it is")
    for dataset in DATASETS.values():
        table.add_row(dataset.name, dataset.summary)
    print_table(table)


def _print_check(benchmark: "Benchmark", *, as_json: bool) -> None:
    """What a data set holds.

    Raises:
        DsformerError: it is not complete: pictures that it lists are not there, or there are not as many as released.
    """
    from dsformer_core.evaluation.tables import without_a_right_reference

    sides = {"references": benchmark.database, "queries": benchmark.queries}
    missing = [str(path) for side in sides.values() for path in side.paths if not path.is_file()]
    without = int((~benchmark.answerable).sum()) if benchmark.labelled else None
    if as_json:
        counts = {name: len(side) for name, side in sides.items()}
        described = {"benchmark": benchmark.name, "protocol": benchmark.protocol, **counts}
        described |= {"complete": not missing and not benchmark.differences, "missing": missing}
        print_json(described | {"without_a_right_reference": without, "notes": benchmark.notes})
    else:
        lines = [f"{benchmark.name}: {benchmark.protocol}"]
        lines += [f"{len(side):,} {name} in {side.root}" for name, side in sides.items()]
        lines += [without_a_right_reference(benchmark)] if benchmark.labelled else []
        _print_lines([*lines, *(f"note: {note}" for note in benchmark.notes)])
    if missing:
        raise DsformerError(f"{len(missing):,} pictures of {benchmark.name} are missing, the first is {missing[0]}")
    if benchmark.differences:
        raise DsformerError(f"{benchmark.name} is not as released: {', '.join(benchmark.differences)}")


def _print(evaluations: "list[Evaluation]", *, as_json: bool) -> None:
    if as_json:
        described = [evaluation.to_dict() for evaluation in evaluations]
        print_json(described[0] if len(described) == 1 else described)
        return
    from dsformer_core.evaluation.tables import heading, recall_table, remarks

    benchmark = evaluations[0].benchmark
    _print_lines(heading(benchmark))
    if benchmark.labelled:
        print_table(recall_table(evaluations))
    _print_lines(remarks(evaluations))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        answers.print(line, markup=False, highlight=False)


def _write_submission(evaluations: "list[Evaluation]", arguments: argparse.Namespace) -> None:
    from dsformer_core.evaluation.datasets.msls import write_submission

    wanted = "re-ranked" if arguments.index == "binary" else "float"
    (evaluation,) = (each for each in evaluations if each.search == wanted)
    write_submission(arguments.submission, evaluation.benchmark, evaluation.rows, count=arguments.submission_keys)
    errors.print(f"wrote {arguments.submission}, of the {wanted} search", markup=False, highlight=False)


def _write_output(evaluations: "list[Evaluation]", folder: Path) -> None:
    from dsformer_core.evaluation.pairs import write_pairs
    from dsformer_core.evaluation.report import write_report
    from dsformer_core.pages import write_page

    folder.mkdir(parents=True, exist_ok=True)
    described = [evaluation.to_dict() for evaluation in evaluations]
    write_page(folder / "evaluation.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    write_pairs(evaluations, folder / "matches.csv")
    write_report(evaluations, folder / "report.html")
    errors.print(f"wrote evaluation.json, matches.csv and report.html in {folder}", markup=False, highlight=False)
