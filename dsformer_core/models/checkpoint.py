"""Checkpoints: reading other people's safely and strictly, writing and reading our own, and naming weights by a hash.

Ours are a safetensors file, whose metadata say in YAML, under the key "dsformer", what the tensors are:

    format: 1
    model: dsformer_resnet50
    options: {layers: 2}
    preprocessing: {size: [320, 320], mean: [...], std: [...]}
    weights_sha256: ...

A copy of that lies beside it, with the suffix .yaml, for people; older checkpoints have it there only.
"""

import hashlib
import logging
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor
from torch.torch_version import TorchVersion

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.models.registry import (
    HASH_PARTS,
    DescriptorModel,
    KeyLayout,
    ModelEntry,
    Preprocessing,
    list_models,
    model_entry,
)

FORMAT = 1
DESCRIPTION_KEY = "dsformer"
OURS = KeyLayout(marker="")
LISTED = 5  # names of tensors in one error message before it only counts

log = logging.getLogger(__name__)


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors: the same for equal weights, whatever file held them.

    Take it before a model is moved to half precision: the digest is of the weights as they are.
    """
    return _digest(model.state_dict())


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state_dict(path: Path, called: str | None = None) -> dict[str, Tensor]:
    """The named tensors of a ``.pth`` or ``.safetensors`` file; never runs code that the file may contain.

    A wrapping dictionary (``model_state_dict`` and the like) and the ``module.`` that DataParallel puts before every
    name are taken off.

    Args:
        path: of the file.
        called: its name in messages, where that is not `path`.

    Raises:
        UsageError: there is no such file.
        DsformerError: the file is damaged, or no checkpoint.
    """
    called = called or str(path)
    if not path.is_file():
        raise UsageError(f"{called}: no such file")
    if path.suffix != ".safetensors" and not _looks_like_torch(path):
        raise DsformerError(f"{called}: not a checkpoint: neither of PyTorch nor of safetensors")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        elif TorchVersion(torch.__version__) < "2.6":
            raise DsformerError(
                f"{called}: torch {torch.__version__} may run code from such a file (CVE-2025-32434): take torch 2.6 "
                "or newer, or make it .safetensors on another machine with `dsformer weights convert`"
            )
        else:
            with warnings.catch_warnings():  # about pickles of other versions; what matters is whether they load
                warnings.simplefilter("ignore")
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DsformerError(f"{called}: not a checkpoint: it holds code or objects, which are never loaded") from error
    except (RuntimeError, ValueError, EOFError, LookupError, TypeError, safetensors.SafetensorError) as error:
        raise DsformerError(f"{called}: not a checkpoint, or a damaged one") from error
    for wrapper in ("model_state_dict", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise DsformerError(f"{called}: not a checkpoint: expected a dictionary of named tensors")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return content


def _looks_like_torch(path: Path) -> bool:
    """Whether a file starts as those that `torch.save` writes, now (ZIP) or before version 1.6 (pickle)."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def layout_of(names: Iterable[str], entry: ModelEntry) -> KeyLayout:
    """Which of the layouts that a model knows these tensor names follow; our own where none is recognised."""
    names = list(names)
    for layout in entry.layouts:
        if any(name.startswith(layout.marker) for name in names):
            return layout
    return OURS


def match_names(model: DescriptorModel, state: Mapping[str, Tensor], source: str) -> tuple[KeyLayout, dict[str, str]]:
    """Which tensor of a file goes where in a model, strictly: every tensor has its place, every place its tensor.

    Only a hash branch need not be in the file, as a whole: it is added to models that were trained without.

    Args:
        model: as the registry built it; it may lie on the meta device.
        state: by names of any layout that the model knows.
        source: where the tensors came from, for messages.

    Returns:
        the layout of the file, and our names by the file's.

    Raises:
        DsformerError: tensors are missing, left over or of another shape; lists them by the names of the file.
    """
    layout = layout_of(state, model_entry(model.name))
    ours = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(layout.part)}
    theirs = {_rename(name, layout.rules): name for name in ours}
    if not any(is_of_hash_branch(our_name) for name, our_name in theirs.items() if name in state):
        theirs = {name: our_name for name, our_name in theirs.items() if not is_of_hash_branch(our_name)}
    shapes = {name: tuple(ours[our_name].shape) for name, our_name in theirs.items()} | dict(layout.unused)
    if layout.optional is not None:
        shapes = {name: s for name, s in shapes.items() if name in state or not name.endswith(layout.optional)}

    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    problems = (
        _listed("missing", [name for name in shapes if name not in state]),
        _listed("too many", [name for name in state if name not in shapes]),
        _listed("of another shape", misshapen),
    )
    if any(problems):
        raise DsformerError(f"{source}: does not fit {model.name}: {'; '.join(filter(None, problems))}")
    return layout, {name: our_name for name, our_name in theirs.items() if name in state}


def fitting_models(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the registered models that these tensors fill or fill the backbone of.

    With the options that their names tell of, and otherwise as they are without options.
    """
    names = []
    for name in list_models():
        entry = model_entry(name)
        with torch.device("meta"):
            model = entry.build(**entry.architecture.options_in(state))
        try:
            match_names(model, state, "")
        except DsformerError:
            continue
        names.append(name)
    return names


def load_state_dict(
    model: DescriptorModel, state: Mapping[str, Tensor], source: str, *, to_train: bool = False
) -> None:
    """Copies tensors into a model, as `match_names` finds them.

    Args:
        model: to fill.
        state: tensors by name.
        source: what messages call them.
        to_train: that they fill the backbone alone, or no hash branch, is then as planned and no cause for a warning.

    Raises:
        DsformerError: they do not fit; the model is left as it was.
    """
    layout, places = match_names(model, state, source)
    ours = model.state_dict()
    with torch.no_grad():
        for name, our_name in places.items():
            ours[our_name].copy_(state[name])
    model.descriptors_trained = not layout.leaves_untrained
    level = logging.INFO if to_train else logging.WARNING
    if layout.leaves_untrained:
        log.log(level, "%s: only the backbone of %s comes from it; the rest is UNTRAINED", source, model.name)
    elif model.has_codes and not any(map(is_of_hash_branch, places.values())):
        model.begin_hash_branch()
        log.log(level, "%s: holds no hash branch; that of this %s is UNTRAINED", source, model.name)


def is_of_hash_branch(name: str) -> bool:
    """Whether a tensor, by our name, is of what a model has for its codes alone."""
    return name.partition(".")[0] in HASH_PARTS


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name, count = re.subn(pattern, replacement, name)
        if count:
            break
    return name


def _listed(problem: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)} {problem} ({', '.join(names[:LISTED])}{more})"


def save_checkpoint(model: DescriptorModel, path: Path, half: bool = False) -> None:
    """Writes ``path`` (safetensors), complete or not at all, and a copy of its description beside it, for people.

    Args:
        model: is left as it is.
        path: ending in ``.safetensors``.
        half: rounds its matrices to half precision, for half the size. Vectors keep theirs: they are small, and
            statistics of a normalisation may be smaller than half precision can tell from zero. Loaded, such a
            checkpoint is a float32 model of the rounded weights.

    Raises:
        DsformerError: the folder is missing, or the disk is full; what was there is left as it was.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    types = {name: tensor.dtype for name, tensor in state.items()}
    if half:
        state = {name: tensor.half() if tensor.dim() > 1 else tensor for name, tensor in state.items()}
    description = yaml.safe_dump(
        {
            "format": FORMAT,
            "model": model.name,
            "options": dict(model.options),
            "preprocessing": {key: list(value) for key, value in asdict(model.preprocessing).items()},
            "weights_sha256": _digest({name: tensor.to(types[name]) for name, tensor in state.items()}),
        },
        sort_keys=False,
    )
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:  # `save_file` would make a file that nobody else may read
            file.write(safetensors.torch.save(state, {DESCRIPTION_KEY: description}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        description_path(path).write_text(description, encoding="utf-8")
    except OSError as error:
        raise DsformerError(f"{path}: could not be written ({error})") from error
    finally:
        with suppress(OSError):
            part.unlink()


def description_path(path: Path) -> Path:
    """Where the YAML of a checkpoint of ours lies."""
    return path.with_suffix(".yaml")


def is_described(path: Path) -> bool:
    """Whether a file is a checkpoint of ours, with its description in it or beside it.

    Raises:
        DsformerError: it is a damaged safetensors file.
    """
    return path.suffix == ".safetensors" and (_own_description(path) is not None or description_path(path).is_file())


def _own_description(path: Path) -> str | None:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata: dict[str, str] | None = file.metadata()
    except (OSError, safetensors.SafetensorError) as error:
        raise DsformerError(f"{path}: not a checkpoint, or a damaged one") from error
    return (metadata or {}).get(DESCRIPTION_KEY)


def read_description(path: Path) -> dict[str, Any]:
    """What a checkpoint of ours says of itself: model, options, preprocessing (a `Preprocessing`), weights_sha256.

    Older ones say it in the YAML beside them only.

    Raises:
        DsformerError: it is missing, damaged, or of a newer format.
    """
    text = _own_description(path)
    where = path
    if text is None:
        where = description_path(path)
        if not where.is_file():
            raise DsformerError(f"{path}: does not say what its tensors are, nor does {where.name} lie beside it")
        text = where.read_bytes().decode("utf-8", "replace")
    try:
        content = yaml.safe_load(text)
        if content["format"] != FORMAT:
            raise DsformerError(f"{where}: format {content['format']!r} is unknown here; this version reads {FORMAT}")
        height, width = (int(side) for side in content["preprocessing"]["size"])
        mean, std = (tuple(float(v) for v in content["preprocessing"][key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError("mean and std need three values")
        return {
            "model": str(content["model"]),
            "options": dict(content["options"]),
            "preprocessing": Preprocessing((height, width), mean, std),
            "weights_sha256": str(content["weights_sha256"]),
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DsformerError(f"{where}: not the description of a checkpoint ({reason})") from error


def load_checkpoint(path: Path) -> DescriptorModel:
    """The model that `save_checkpoint` wrote, in evaluation mode.

    Raises:
        DsformerError: it is damaged, or does not hold the tensors that its description names.
    """
    description = read_description(path)
    state = read_state_dict(path)
    model = model_entry(description["model"]).build(**description["options"])
    model.preprocessing = description["preprocessing"]
    load_state_dict(model, state, str(path))
    if weights_digest(model) != description["weights_sha256"]:
        raise DsformerError(f"{path}: its tensors are not those that it was saved with")
    return model
