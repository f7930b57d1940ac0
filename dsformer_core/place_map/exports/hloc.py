"""What hloc's pipelines read (https://github.com/cvg/Hierarchical-Localization): pairs of pictures, and descriptors.

hloc names a picture by its path below the folder that all pictures are in, and a list of pairs has two names a line.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from dsformer_core.described import Described
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.staging import durable_file

# Searches of a group of queries share their reading of the descriptors.
_AT_ONCE = 256
_GLOBAL_DESCRIPTOR = "global_descriptor"


def picture_names(images: Sequence[str], root: str | Path | None = None) -> list[str]:
    """What hloc calls pictures.

    Args:
        images: absolute paths.
        root: the folder that all of them are in; None for the innermost one that they have in common.

    Raises:
        UsageError: a picture is none of a file, or not below `root`; a name has a blank, which ends a name in a list.
    """
    # What is in a bag or a video is named FILE#TOPIC@TIME, and topics have slashes; files may have a # in their names.
    none = (image for image in images if not Path(image).is_absolute() or ("#" in image and not Path(image).is_file()))
    if (first := next(none, None)) is not None:
        raise UsageError(f"{first} is not the file of a picture, and hloc reads nothing else: save it as a file first")
    paths = [Path(image) for image in images]
    top = Path(root or os.path.commonpath([path.parent for path in paths])).absolute()
    names = []
    for path in paths:
        if not path.is_relative_to(top):
            raise UsageError(f"{path} is not below {top}: name the folder that all pictures are in (--root)")
        names.append(path.relative_to(top).as_posix())
        if len(names[-1].split()) != 1:
            raise UsageError(f"{path} has a blank in its name, and hloc's lists of pairs end names there: rename it")
    return names


def write_reference_pairs(
    place_map: PlaceMap,
    output: str | Path,
    *,
    pairs: int,
    root: str | Path | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Writes the references that look most alike, for structure from motion; each pair once.

    Args:
        place_map: the map.
        output: the file, whole or not at all.
        pairs: similar references of each reference, >= 1.
        root: see `picture_names`.
        on_progress: called with the number of references searched for since its last call.

    Returns:
        How many pairs there are.
    """
    names = picture_names(list(place_map.images), root)
    found = []
    for start in range(0, place_map.count, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, place_map.count))[:, None]
        codes = place_map.codes
        own = Described(
            np.asarray(place_map.descriptors[rows[:, 0]], np.float32), None if codes is None else codes[rows[:, 0]]
        )
        similar = place_map.search(own, k=pairs + 1).indices
        # Equal pictures may come before the reference itself, or leave it out.
        others = similar != rows
        others[others.all(axis=1), -1] = False
        first = np.broadcast_to(rows, similar.shape)[others]
        found.append(np.minimum(first, similar[others]) * place_map.count + np.maximum(first, similar[others]))
        on_progress(len(rows))
    chosen = np.unique(np.concatenate(found))
    with durable_file(Path(output)) as file:
        for first, second in zip(*divmod(chosen, place_map.count), strict=True):
            file.write(f"{names[first]} {names[second]}\n".encode())
    return len(chosen)


def write_query_pairs(
    place_map: PlaceMap,
    queries: Sequence[tuple[Path, Described]],
    output: str | Path,
    *,
    pairs: int,
    root: str | Path | None = None,
) -> int:
    """Writes the references that look most like each query, for localization; nothing is paired with itself.

    Args:
        place_map: the map.
        queries: pictures, and what the map's network says of them.
        output: the file, whole or not at all.
        pairs: references of each query, >= 1.
        root: of queries and references, see `picture_names`.

    Returns:
        How many pairs there are.
    """
    images = list(place_map.images)
    names = picture_names([*images, *(path.absolute().as_posix() for path, _ in queries)], root)
    references, asked = names[: len(images)], names[len(images) :]
    times = Counter(references)
    count = 0
    with durable_file(Path(output)) as file:
        for query, (_, described) in zip(asked, queries, strict=True):
            found = place_map.search(described, k=pairs + times[query]).indices[0].tolist()
            others = [references[row] for row in found if references[row] != query][:pairs]
            file.writelines(f"{query} {other}\n".encode() for other in others)
            count += len(others)
    return count


def write_descriptors(
    place_map: PlaceMap,
    output: str | Path,
    *,
    root: str | Path | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes descriptors as hloc's `extract_features` does: a group for each picture, a data set in it.

    Args:
        place_map: the map.
        output: the .h5 file, whole or not at all.
        root: see `picture_names`.
        on_progress: called with the number of references written since its last call.

    Raises:
        DsformerError: h5py is not installed.
    """
    h5py = require_h5py()
    names = picture_names(list(place_map.images), root)
    with durable_file(Path(output)) as file, h5py.File(file.name, "w") as content:
        for name, descriptor in zip(names, place_map.descriptors, strict=True):
            content.create_group(name).create_dataset(_GLOBAL_DESCRIPTOR, data=descriptor)
            on_progress(1)


def read_descriptors(path: Path, names: Sequence[str]) -> Iterator[npt.NDArray[np.floating]]:
    """The descriptors of pictures in a file that `write_descriptors` or hloc wrote, in the order of names.

    Raises:
        DsformerError: h5py is not installed, it is no such file, or a picture is missing.
    """
    h5py = require_h5py()
    try:
        content = h5py.File(path, "r")
    except OSError as error:
        raise DsformerError(f"{path} is no HDF5 file ({error})") from error
    with content:
        for name in names:
            try:
                yield np.asarray(content[name][_GLOBAL_DESCRIPTOR]).reshape(-1)
            except (KeyError, TypeError, ValueError):
                raise DsformerError(f"{path} has no {_GLOBAL_DESCRIPTOR} of {name}") from None


def require_h5py() -> ModuleType:
    """The library that reads and writes HDF5.

    Raises:
        DsformerError: it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise DsformerError("hloc's descriptors need h5py: pip install 'dsformer_ros[hloc]'") from None
    return h5py
