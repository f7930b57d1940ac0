"""`dsformer weights`: which weights were released, where they are, bringing them here, and looking into checkpoints."""

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from dsformer_core.cli.console import answers, print_json, print_table, progress
from dsformer_core.errors import UsageError

EXAMPLES = """\
examples:
  dsformer weights list
  dsformer weights fetch gem_mobilenet_v2
  dsformer weights fetch dsformer_resnet50 --from ~/Downloads/ResNet50_DSFormer.pth
  dsformer weights convert ResNet50_DSFormer.pth dsformer.safetensors --model dsformer_resnet50
  dsformer weights convert runs/mine/best.safetensors mine.safetensors --model dsformer_tiny --half
  dsformer weights info dsformer.safetensors
  dsformer weights info dsformer_tiny                          the weights that it uses by default

Fetched files lie in ~/.cache/dsformer/weights, or in $DSFORMER_WEIGHTS where that is set.
"""

_LABELS = {
    "picture_size": "picture size",
    "sha256": "SHA-256 of the file",
    "weights_sha256": "SHA-256 of the tensors,\nas maps and evaluations name it",
}


def register(subparsers: Any) -> None:
    """Adds `weights` and its verbs to the command line."""
    parser = subparsers.add_parser(
        "weights",
        help="list, fetch, convert and inspect weights of models",
        description="List, fetch, convert and inspect weights of models.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    listing = _verb(verbs, "list", "which weights were released, and which are on this machine", run_list)
    listing.add_argument("--json", action="store_true", help="print JSON")

    fetch = _verb(verbs, "fetch", "bring released weights to this machine, verified", run_fetch)
    fetch.add_argument("model", metavar="MODEL", help="name of a model (see `dsformer weights list`)")
    fetch.add_argument("--weights", metavar="NAME", help="which of its weights (default: the first that `list` shows)")
    fetch.add_argument("--from", dest="source", type=Path, metavar="FILE", help="take this file, do not download")

    convert = _verb(verbs, "convert", "turn a released checkpoint into safetensors and YAML", run_convert)
    convert.add_argument("input", type=Path, metavar="IN", help="a checkpoint that the model knows, e.g. a .pth file")
    convert.add_argument("output", type=Path, metavar="OUT", help="the .safetensors file to write; a .yaml goes beside")
    convert.add_argument("--model", required=True, metavar="NAME", help="which model the checkpoint is of")
    convert.add_argument("--half", action="store_true", help="round to half precision: half the size")

    info = _verb(verbs, "info", "what a checkpoint holds, and which models it fits", run_info)
    info.add_argument("checkpoint", metavar="FILE|MODEL", help="a checkpoint, or a model for its default weights")
    info.add_argument("--json", action="store_true", help="print JSON")


def _verb(verbs: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def run_list(arguments: argparse.Namespace) -> None:
    """`dsformer weights list`."""
    from dsformer_core.models.registry import list_models, model_entry
    from dsformer_core.models.weights import find_weights

    rows: list[dict[str, Any]] = [
        {
            "model": model,
            "weights": weights.name,
            "file": weights.file_name,
            "url": weights.url,
            "size": weights.size,
            "sha256": weights.sha256,
            "licence": weights.licence,
            "options": dict(weights.options),
            "note": weights.note,
            "path": None if (path := find_weights(weights)) is None else str(path),
        }
        for model in list_models()
        for weights in model_entry(model).weights
    ]
    if arguments.json:
        print_json(rows)
        return
    for row in rows:
        size = "size unknown" if row["size"] is None else f"{row['size'] / 1e6:.0f} MB"
        sha256 = "SHA-256 unknown" if row["sha256"] is None else f"SHA-256 {row['sha256'][:8]}…"
        answers.print(
            f"[bold]{row['model']}[/] {row['weights']}: {row['path'] or 'not on this machine'}", highlight=False
        )
        answers.print(f"  {row['file']}, {size}, {sha256}, licence: {row['licence']}", markup=False, highlight=False)
        answers.print(f"  {row['url'] or 'comes with this package'}", markup=False, highlight=False)
        made_with = ", ".join(f"{key} {value}" for key, value in row["options"].items())
        if about := "; ".join(filter(None, (made_with, row["note"]))):
            answers.print(f"  {about}", markup=False, highlight=False)


def run_fetch(arguments: argparse.Namespace) -> None:
    """`dsformer weights fetch`."""
    from dsformer_core.models.fetch import fetch_weights, file_sha256
    from dsformer_core.models.weights import find_weights, named_weights

    weights = named_weights(arguments.model, arguments.weights)
    if arguments.source is not None and not arguments.source.is_file():
        raise UsageError(f"{arguments.source}: no such file")
    if arguments.source is None and (present := find_weights(weights)) is not None:
        answers.print(f"{present} is on this machine already", markup=False, highlight=False)
        return
    with progress(f"fetching {weights.file_name}", weights.size) as advance:
        path = fetch_weights(arguments.model, weights, arguments.source, advance)
    checked = "as published" if weights.sha256 else "none is published to compare it with; every tensor fits the model"
    answers.print(f"{path}\nSHA-256 {file_sha256(path)} ({checked})", markup=False, highlight=False)


def run_convert(arguments: argparse.Namespace) -> None:
    """`dsformer weights convert`."""
    if arguments.output.suffix != ".safetensors":
        raise UsageError(f"{arguments.output}: the name of the file to write must end in .safetensors")
    if arguments.output.exists():
        raise UsageError(f"{arguments.output}: exists already; remove it or choose another name")
    if not arguments.input.is_file():
        raise UsageError(f"{arguments.input}: no such file")

    from dsformer_core.models import create_model
    from dsformer_core.models.checkpoint import description_path, read_description, save_checkpoint

    model = create_model(arguments.model, weights=arguments.input)
    save_checkpoint(model, arguments.output, half=arguments.half)
    digest = read_description(arguments.output)["weights_sha256"]
    text = f"{arguments.output}\n{description_path(arguments.output)}\nweights SHA-256 {digest}"
    answers.print(text, markup=False, highlight=False)


def run_info(arguments: argparse.Namespace) -> None:
    """`dsformer weights info`."""
    from dsformer_core.models.checkpoint import (
        fitting_models,
        is_described,
        load_checkpoint,
        read_state_dict,
        weights_digest,
    )
    from dsformer_core.models.fetch import file_sha256
    from dsformer_core.models.registry import list_models
    from dsformer_core.models.weights import default_weights

    path = Path(arguments.checkpoint)
    if not path.is_file():
        if arguments.checkpoint not in list_models():
            raise UsageError(f"{path}: no such file, nor a model ({', '.join(list_models())})")
        path = default_weights(arguments.checkpoint)
    state = read_state_dict(path)
    report: dict[str, Any] = {
        "file": str(path),
        "size": path.stat().st_size,
        "sha256": file_sha256(path),
        "tensors": len(state),
        "numbers": sum(tensor.numel() for tensor in state.values()),
        "types": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in state.values()}),
    }
    if is_described(path):
        model = load_checkpoint(path)
        report |= {"model": model.name, "options": model.options, "picture_size": list(model.preprocessing.size)}
        report |= {"weights_sha256": weights_digest(model)}
    else:
        report |= {"fits": fitting_models(state)}
    if arguments.json:
        print_json(report)
        return
    table = Table(show_header=False)
    for key, value in report.items():
        table.add_row(_LABELS.get(key, key), _for_people(key, value))
    print_table(table)


def _for_people(key: str, value: Any) -> str:
    if key == "size":
        return f"{value / 1e6:.1f} MB"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "no model known here"
    return f"{value:,}" if isinstance(value, int) else str(value)
