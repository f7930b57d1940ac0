"""Networks that turn pictures into descriptors, by name.

    >>> from dsformer_core.models import create_model
    >>> model = create_model("gem_mobilenet_v2", weights="imagenet")
    >>> model(images).shape  # images: (B, 3, 224, 224), normalised as model.preprocessing says
    torch.Size([B, 512])

A new architecture is one file here with a class under `@register_model`, and one line in the imports below.
"""

from pathlib import Path
from typing import Any

from dsformer_core.errors import UsageError
from dsformer_core.models import dsformer, dsformer_tiny, gem, gem_mobilenet_v2, selavprpp  # noqa: F401  they register models
from dsformer_core.models.checkpoint import (
    load_checkpoint,
    load_state_dict,
    read_description,
    read_state_dict,
    save_checkpoint,
    weights_digest,
)
from dsformer_core.models.hashing import CODE_BITS
from dsformer_core.models.registry import (
    DESCRIPTOR_DIM,
    RERANK,
    STANDARD,
    DescriptorModel,
    NamedWeights,
    Preprocessing,
    list_models,
    model_entry,
    preprocessing_of,
    register_model,
)
from dsformer_core.models.weights import default_weights, named_weights, require_weights

__all__ = [
    "CODE_BITS",
    "DESCRIPTOR_DIM",
    "DescriptorModel",
    "Preprocessing",
    "create_model",
    "default_weights",
    "list_models",
    "load_checkpoint",
    "preprocessing_of",
    "register_model",
    "save_checkpoint",
    "weights_digest",
]


def create_model(
    name: str, weights: str | Path | None = None, *, to_train: bool = False, **options: Any
) -> DescriptorModel:
    """A network by name, in evaluation mode.

    Args:
        name: one of `list_models()`.
        weights: a file (a checkpoint of ours, or one of its authors), the name of released weights (``"imagenet"``,
            ``"official"``, ...), or None for random weights.
        to_train: the model is going to be trained, so weights of its backbone alone need no warning.
        options: of the architecture, e.g. ``layers=2`` of the DSFormer models. A checkpoint of ours brings its own.
            ``variant="rerank"`` of any model adds a hash branch, untrained where the checkpoint has none.

    Returns:
        (B, 3, H, W) normalised float -> (B, D) of unit L2 norm; `.preprocessing` says what pictures must go through and
        `.descriptor_dim` is D, 512 for all but SelaVPR++. With a hash branch, `.codes` and `.describe` give codes too.

    Raises:
        UsageError: unknown model, option or weights.
        DsformerError: the weights are not on this machine, cannot be read, or do not fit the model.
    """
    entry = model_entry(name)
    if weights is None:
        return entry.build(**options)
    path = Path(weights)
    if not path.is_file():
        released = named_weights(name, str(weights))
        _check_options(name, released, options)
        path = require_weights(name, released)
    if path.suffix == ".safetensors":
        described = read_description(path)
        if described["model"] != name:
            raise UsageError(f"{path}: holds a {described['model']}, not a {name}")
        entry.check_options(options)
        made_with = entry.defaults | described["options"]
        differing = [key for key, value in options.items() if made_with[key] != value]
        if differing == ["variant"] and (made_with["variant"], options["variant"]) == (STANDARD, RERANK):
            model = entry.build(**described["options"] | options)
            model.preprocessing = described["preprocessing"]
            load_state_dict(model, load_checkpoint(path).state_dict(), str(path), to_train=to_train)
            return model
        if differing:
            values = ", ".join(f"{key} {made_with[key]!r}, not {options[key]!r}" for key in differing)
            raise UsageError(f"{path}: was made with {values}: leave options out, a checkpoint brings its own")
        return load_checkpoint(path)
    state = read_state_dict(path)
    model = entry.build(**entry.architecture.options_in(state) | options)
    load_state_dict(model, state, str(path), to_train=to_train)
    return model


def _check_options(name: str, released: NamedWeights, options: dict[str, Any]) -> None:
    """Refuses options that released weights were not made with; a hash branch can be added to those without.

    Raises:
        UsageError: says what they were made with.
    """
    made_with = dict(released.options)
    if (made_with.get("variant"), options.get("variant")) == (STANDARD, RERANK):
        del made_with["variant"]
    differing = [f"{key} {value}" for key, value in made_with.items() if options.get(key, value) != value]
    if differing:
        raise UsageError(
            f"the weights {released.name!r} of {name} are of {', '.join(differing)}: "
            + (released.note or "leave options out")
        )
