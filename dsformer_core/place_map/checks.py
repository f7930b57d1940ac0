"""Whether the files of a map are those that it was built with."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dsformer_core.cores import usable_cores
from dsformer_core.place_map.format import (
    CODES_FILE,
    DESCRIPTORS_FILE,
    MAP_FILE,
    REFERENCES_FILE,
    THUMBNAILS,
    MapError,
    file_digest,
    folder_digest,
    map_file,
)
from dsformer_core.place_map.stored_rows import Stored

# Beyond this many bytes (a quarter of a second), only a full check reads descriptors.
HASHED_WHEN_OPENED = 256 * 2**20

ALWAYS_KNOWN = (REFERENCES_FILE, DESCRIPTORS_FILE, CODES_FILE, THUMBNAILS)
"""Files of maps with any index; kinds of index add their own."""

Verify = Literal["quick", "most", "full"]
"""What is read of a map to compare checksums. "quick": whatever a search reads, but of `descriptors.npy` no more than
256 MiB. "most": thumbnails, too. "full": every byte."""

_AGAIN = "copy the map again, or rebuild it"

# Of descriptors: float16 rounds a length of 1 by less than a thousandth.
_LONGEST = 1.01
_AT_ONCE = 8_192


def check_files(directory: Path, digests: Mapping[str, str], known: tuple[str, ...], verify: Verify) -> tuple[str, ...]:
    """Compares files with the sums that `map.yaml` has of them; there must be none but the `known` ones.

    Returns:
        The files that were not read.

    Raises:
        MapError: one is missing, altered, or not what belongs there.
    """
    unread = []
    for name in digests:
        path = directory / name if name in known else None
        if path is None:
            raise MapError(f"{directory / MAP_FILE} lists {name!r}, which is no file of a place map: {_AGAIN}")
        if not path.exists():
            raise MapError(f"{path} is missing: {_AGAIN}")
        if not (path.is_dir() if name == THUMBNAILS else map_file(directory, name)):
            raise MapError(f"{path} is not what belongs there, or a link to something else: {_AGAIN}")
        large = name == DESCRIPTORS_FILE and path.stat().st_size > HASHED_WHEN_OPENED
        if verify != "full" and (large or (name == THUMBNAILS and verify == "quick")):
            unread.append(name)
    read = [name for name in digests if name not in unread]
    # The largest first: together they take as long as it alone.
    read.sort(key=lambda name: -(directory / name).stat().st_size)
    with ThreadPoolExecutor(min(len(read), usable_cores())) as pool:
        found = pool.map(lambda name: _digest(directory / name), read)
        for name, digest in zip(read, found, strict=True):
            if digest != digests[name]:
                raise _altered(directory / name)
    return tuple(unread)


def _digest(path: Path) -> str:
    try:
        return folder_digest(path) if path.name == THUMBNAILS else file_digest(path)
    except OSError as error:
        raise MapError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error


def _altered(path: Path) -> MapError:
    if path.name != THUMBNAILS:
        return MapError(f"{path} was altered or cut off since the map was built: {_AGAIN}")
    count = sum(thumbnail.is_file() for thumbnail in path.rglob("*"))
    return MapError(
        f"{path}: one or more of its {count} thumbnails were altered, cut off, added or taken away since the map was "
        f"built: {_AGAIN}"
    )


def check_found(
    directory: Path,
    descriptors: Stored,
    queries: npt.NDArray[np.float32],
    similarities: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    *,
    read: bool,
) -> None:
    """Refuses what no unit vectors could have given: of descriptors whose checksum nobody compared, a bit is enough.

    A flipped bit of an exponent makes one number of a descriptor so large that it answers every other query. One that
    leaves the descriptor of unit length to within `_LONGEST` changes what that number weighs in a similarity, no more.

    Args:
        directory: the map.
        descriptors: (N, D) of it.
        queries: (Q, D).
        similarities: (Q, k) inner products, as the search gave them.
        rows: (Q, k), without any that stand for nothing.
        read: whether the checksum was compared when the map was opened; what was found is measured where it was not.

    Raises:
        MapError: one is not finite, or larger than a cosine can be.
    """
    longest = _LONGEST * np.linalg.norm(queries, axis=1, keepdims=True) + 1e-6
    # Not the other way round: what is not a number is no more than anything.
    possible = (np.abs(similarities) <= longest) & (rows >= 0)
    wrong = rows[~possible]
    if not read and not len(wrong):
        found = np.unique(rows)
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            vectors = descriptors[some].astype(np.float32)
            wrong = np.append(wrong, some[~(np.einsum("nd,nd->n", vectors, vectors) <= _LONGEST**2)])
    if len(wrong):
        row = int(wrong.max())
        which = f"that of row {row} is no unit vector" if row >= 0 else "some cannot be compared"
        raise MapError(
            f"{directory / DESCRIPTORS_FILE} holds other descriptors than were written ({which}): copy the map again, "
            f"or rebuild it; `dsformer map verify --deep {directory}` reads every byte of it"
        )


def map_array(path: Path) -> npt.NDArray[Any]:
    """An array of a map, memory-mapped.

    Raises:
        MapError: it cannot be read.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MapError(f"{path} cannot be read ({error}): {_AGAIN}") from error


def check_shapes(
    directory: Path, description: Mapping[str, Any], references: int, descriptors: npt.NDArray[Any]
) -> None:
    """What checksums cannot tell: that the files belong together.

    Raises:
        MapError: they do not.
    """
    count, dimension = description["count"], description["descriptors"]["dimension"]
    dtype = description["descriptors"]["dtype"]
    if (
        descriptors.shape != (count, dimension)
        or str(descriptors.dtype) != dtype
        or dtype not in ("float16", "float32")
    ):
        raise MapError(
            f"{directory / DESCRIPTORS_FILE} holds {descriptors.dtype} {descriptors.shape}, "
            f"map.yaml says {dtype} {(count, dimension)}: {_AGAIN}"
        )
    if references != count:
        raise MapError(f"{directory / REFERENCES_FILE} has {references} rows, map.yaml says {count}: {_AGAIN}")
    if count < 1 or not math.isfinite(description["spacing"]) or description["spacing"] <= 0:
        raise MapError(
            f"{directory / 'map.yaml'} describes {count} references {description['spacing']} m apart: {_AGAIN}"
        )
