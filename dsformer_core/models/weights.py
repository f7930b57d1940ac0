"""Where released weights lie on this machine, and how to get those that do not."""

import importlib.util
import os
from pathlib import Path

import torch

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.models.registry import ModelEntry, NamedWeights, model_entry

FOLDER_VARIABLE = "DSFORMER_WEIGHTS"


def weights_folder() -> Path:
    """Where `dsformer weights fetch` puts files: $DSFORMER_WEIGHTS, or ~/.cache/dsformer/weights."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "dsformer" / "weights")


def named_weights(model: str, name: str | None = None) -> NamedWeights:
    """The released weights of a model by their name; without a name, those to use when nobody says otherwise.

    Raises:
        UsageError: the model has none of that name, or none at all.
    """
    entry = model_entry(model)
    if not entry.weights:
        raise UsageError(f"no weights were released for {model}; give the file of a checkpoint")
    if name is None:
        return entry.weights[0]
    for weights in entry.weights:
        if weights.name == name:
            return weights
    notes = {weights.note for weights in entry.weights if weights.note}
    about = "".join(f"; {note}" for note in sorted(notes))
    raise UsageError(f"{name!r}: no such file, and no such weights of {model} ({_names(entry)}){about}")


def _names(entry: ModelEntry) -> str:
    return ", ".join(weights.name for weights in entry.weights) or "it has none by name"


def find_weights(weights: NamedWeights) -> Path | None:
    """The file of released weights on this machine: in our folder, in torch.hub's cache, or in an installed package."""
    candidates = [
        weights_folder() / weights.file_name,
        Path(torch.hub.get_dir()) / "checkpoints" / weights.file_name,
    ]
    if weights.package:
        name, inside = weights.package
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            candidates += [Path(folder) / inside for folder in spec.submodule_search_locations]
    return next((path for path in candidates if path.is_file()), None)


def default_weights(model: str) -> Path:
    """The file of a model's own released weights.

    Raises:
        UsageError: none were released.
        DsformerError: they are not on this machine; the message says how to get them.
    """
    return require_weights(model, named_weights(model))


def require_weights(model: str, weights: NamedWeights) -> Path:
    """The file of released weights.

    Raises:
        DsformerError: it is not on this machine; the message says how to get it.
    """
    path = find_weights(weights)
    if path is None:
        raise DsformerError(
            f"the weights {weights.name!r} of {model} ({weights.file_name}) are not on this machine: "
            + how_to_get(model, weights)
        )
    return path


def how_to_get(model: str, weights: NamedWeights) -> str:
    """What a person does to have released weights on this machine, in one line."""
    command = fetch_command(model, weights)
    if not weights.url:
        return f"they come with dsformer_ros itself, so install it again, or run `{command} --from FILE`"
    if weights.by_browser:
        return f"download {weights.url} in a browser and run `{command} --from FILE`"
    alternative = f", or run `{weights.hint}`" if weights.hint else ""
    return f"run `{command}`, or put {weights.url} into {weights_folder()}{alternative}"


def fetch_command(model: str, weights: NamedWeights) -> str:
    """The command that brings released weights to this machine."""
    chosen = "" if weights.name == model_entry(model).weights[0].name else f" --weights {weights.name}"
    return f"dsformer weights fetch {model}{chosen}"
