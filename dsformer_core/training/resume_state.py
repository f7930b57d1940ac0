"""The state of a training on disk: all that a resumed one needs to end where an uninterrupted one would have.

One file. It is written beside the old one, forced to the disk and renamed over it, so that at every moment, a power
failure included, one complete state is there. Read back, it may hold tensors and plain values only, never code.
"""

import hashlib
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from dsformer_core.errors import DsformerError
from dsformer_core.training.data import TrainingData

FORMAT = 3


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replaces the file at `path`; the old one stays when that fails.

    Args:
        path: of the file; its folder is there.
        state: dictionaries, lists, numbers, strings and tensors.

    Raises:
        DsformerError: the disk is full or cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save({"format": FORMAT} | state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        # Where the disk is full, torch's archive writer stumbles over its own feet after the error that counts.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(cause).partition("\n")[0]
        kept = "; the previous state is whole: make room, then --resume" if path.is_file() else ""
        raise DsformerError(f"{path}: could not be written ({reason}){kept}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, on the CPU.

    Raises:
        DsformerError: the file is missing, damaged, or of another format.
    """
    if not path.is_file():
        raise DsformerError(f"{path}: no such file: there is nothing to resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, OSError) as error:
        raise DsformerError(f"{path}: not the state of a training, or a damaged one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DsformerError(f"{path}: not the state of a training that this version can resume")
    return state


def data_digest(data: TrainingData) -> str:
    """SHA-256 of what a training sees: which pictures are in which class, and what a partition says where they look.

    Where they lie does not count: data may be moved.
    """
    partition = data.partition or {}
    digest = hashlib.sha256(str(partition.get("classes_sha256")).encode())
    for group in data.groups:
        for view in group:
            digest.update("\n".join(view.names.to_pylist()).encode("utf-8", "surrogateescape"))
            digest.update(view.starts.astype("<i8").tobytes())
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
