"""`dsformer map build`: geotagged pictures in, place map out."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsformer_core.cli.console import answers, errors, print_json, steps
from dsformer_core.cli.map.cluster_arguments import add_cluster_arguments, chosen_describer
from dsformer_core.cli.map.describing_arguments import add_describing_arguments
from dsformer_core.cli.map.index_arguments import add_index_arguments, codes_advice, requested_index, say_why_that_index
from dsformer_core.cli.map.left_out import LeftOut
from dsformer_core.cli.map.source_arguments import add_source_arguments, chosen_source
from dsformer_core.errors import UsageError

EXAMPLES = """\
examples:
  dsformer map build --images drive/ --output town.map --model dsformer_tiny
  dsformer map build --images places.csv --output town.map --model dsformer_resnet50 --weights DSFormer_ResNet50.pth
  dsformer map build --images city/ --output city.map --model dsformer_tiny --index binary
  dsformer map build --images city/ --output city.map --model selavprpp_base --weights official-rerank --index binary
  dsformer map build --images utm_named/ --zone 10N --output town.map --model dsformer_tiny --overwrite
  dsformer map build --images drive/ --output town.map --model dsformer_tiny --resume  # after Ctrl-C or a power cut
  dsformer map build --images city/ --output city.map --model dsformer_resnet50 --cluster ray --address auto
"""

STEPS = {"scanning": "reading positions", "describing": "describing pictures", "finishing": "finishing"}


def register(verbs: Any) -> None:
    """Adds `build` to `dsformer map`."""
    parser = verbs.add_parser(
        "build",
        help="make a map of geotagged pictures",
        description="Describes every picture and writes the map: whole, or not at all. What an interrupted or killed "
        "build has described is kept beside the map for --resume.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="MAP", help="directory to make")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="network that describes the pictures (default: that of an .onnx or .engine file)",
    )
    parser.add_argument(
        "--weights",
        default="auto",
        help="file, or name of released weights; 'untrained' for random ones (default: those released for the model)",
    )
    parser.add_argument("--name", help="what to call the map (default: the directory's name)")
    add_index_arguments(parser)
    parser.add_argument("--no-thumbnails", action="store_true", help="keep no small pictures to look at")
    add_describing_arguments(parser)
    add_cluster_arguments(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on where an interrupted build of this map was, if there is one"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the map that is there, and forget an interrupted build of it"
    )
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Builds the map and says what is in it and what was left out."""
    from dsformer_core.cli.map.info import describe, print_description
    from dsformer_core.place_map import build_place_map

    arguments.model = arguments.model or _model_of(arguments.weights)
    left_out = LeftOut()
    source, request = chosen_source(arguments), requested_index(arguments)
    with chosen_describer(arguments) as describer, steps() as show, saying_what_is_kept(arguments.output):
        if advice := codes_advice(request, arguments.model, makes_codes=bool(describer.code_bytes)):
            errors.print(advice, style="yellow", markup=False, highlight=False)
        place_map = build_place_map(
            source,
            describer,
            arguments.output,
            name=arguments.name,
            index=request,
            thumbnails=not arguments.no_thumbnails,
            strict=arguments.strict,
            overwrite=arguments.overwrite,
            resume=arguments.resume,
            on_progress=lambda progress: show(STEPS[progress.step], progress.done, progress.total),
            on_skipped=left_out.add,
        )
    say_why_that_index(place_map)
    if arguments.json:
        print_json(describe(place_map) | {"skipped": left_out.values()})
        return
    print_description(place_map)
    answers.print(f"{arguments.output}: {place_map.count} references{left_out.words()}", markup=False, highlight=False)


def _model_of(weights: str) -> str:
    """The network that an exported file says it holds.

    Raises:
        UsageError: there is no such file, or weights of PyTorch, which several networks may read.
    """
    from dsformer_core.runtimes.description import exported_description

    if (about := exported_description(weights)) is None:
        raise UsageError("say which network describes the pictures: --model NAME (`dsformer weights list` names them)")
    return about.model


@contextmanager
def saying_what_is_kept(output: Path) -> Iterator[None]:
    """Says, where the block is interrupted or fails, what of a map's building is kept."""
    from dsformer_core.place_map.building.work_folder import unfinished_build

    try:
        yield
    except UsageError:
        raise
    except (Exception, KeyboardInterrupt):
        if kept := unfinished_build(output):
            words = f"{kept.described} of {kept.pictures} pictures are described and kept: --resume goes on with them"
            errors.print(f"{output}: {words}", style="yellow", markup=False, highlight=False)
        raise
