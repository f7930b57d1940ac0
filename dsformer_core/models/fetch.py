"""Brings released weights into our folder: from the internet, or from a file somebody gives; verified either way."""

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import torch

from dsformer_core.errors import DsformerError
from dsformer_core.models.checkpoint import match_names, read_state_dict
from dsformer_core.models.registry import NamedWeights, model_entry
from dsformer_core.models.weights import fetch_command, how_to_get, weights_folder

TIMEOUT_S = 30
CHUNK = 1 << 20


def fetch_weights(
    model: str,
    weights: NamedWeights,
    source: Path | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Places released weights in our folder, where `create_model` finds them by name.

    Args:
        model: whose weights they are; they must fit it, tensor by tensor.
        weights: which of its released weights.
        source: a file that somebody downloaded; None to download it here.
        on_progress: called with the number of bytes that came in since its last call.

    Returns:
        the file in our folder. It is there complete and verified, or not at all.

    Raises:
        DsformerError: no connection, a file that only a browser can get, a file that is not the released one or does
            not fit the model, a full disk.
    """
    if source is None and not weights.url:
        raise DsformerError(f"{weights.file_name} is not offered on the internet: {how_to_get(model, weights)}")
    if source is None and weights.by_browser:
        raise DsformerError(
            f"{weights.file_name}: its authors offer it for browsers only: {how_to_get(model, weights)}"
        )
    target = weights_folder() / weights.file_name
    # The suffix must stay: it tells how the file is read.
    part = target.with_name(f".part-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            if source is None:
                _download(model, weights, file, on_progress)
            else:
                with source.open("rb") as given:
                    shutil.copyfileobj(given, file, CHUNK)
        verify(part, model, weights, str(source or weights.url))
        part.replace(target)
    except OSError as error:
        raise DsformerError(f"{error.filename or target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return target


def verify(path: Path, model: str, weights: NamedWeights, source: str) -> None:
    """Checks that a file is the released one, as far as its size and SHA-256 are published, and fits the model.

    Raises:
        DsformerError: it is not, or does not; says what differs.
    """
    if weights.size is not None and path.stat().st_size != weights.size:
        raise DsformerError(f"{source}: {path.stat().st_size} bytes, but {weights.file_name} has {weights.size}")
    digest = file_sha256(path)
    if weights.sha256 is not None and not digest.startswith(weights.sha256):
        raise DsformerError(f"{source}: its SHA-256 is {digest}, but that of {weights.file_name} is {weights.sha256}")
    entry = model_entry(model)
    state = read_state_dict(path, called=source)
    with torch.device("meta"):
        places = entry.build(**entry.architecture.options_in(state))
    match_names(places, state, source)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _download(model: str, weights: NamedWeights, file: BinaryIO, on_progress: Callable[[int], None]) -> None:
    try:
        with urllib.request.urlopen(weights.url, timeout=TIMEOUT_S) as response:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                on_progress(len(chunk))
    except urllib.error.URLError as error:
        alternative = f", or run `{weights.hint}`" if weights.hint else ""
        raise DsformerError(
            f"{weights.url}: could not be downloaded ({error.reason}); get it on a machine with internet and run "
            f"`{fetch_command(model, weights)} --from FILE`{alternative}"
        ) from error
