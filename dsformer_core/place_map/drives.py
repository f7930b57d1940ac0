"""Which drive each reference of a map comes from."""

import os
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.place_map import PlaceMap

OTHERS = "others"


def drives(place_map: PlaceMap, most: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of a map's drives, and the number of each reference's.

    A drive is a source that the map was built from; where there was only one, a folder in it, of the first level at
    which there are several.

    Args:
        place_map: the map.
        most: drives that are told apart, >= 2; the smallest beyond them are `OTHERS`.

    Returns:
        The names, the drive with most references first, `OTHERS` last; and (N,) their numbers.
    """
    named = list(place_map.sources)
    if len(set(named)) == 1:
        named = _folders(list(place_map.ids))
    ranked = [name for name, _ in Counter(named).most_common()]
    if len(ranked) > most:
        ranked[most - 1 :] = [OTHERS]
    number = {name: rank for rank, name in enumerate(ranked)}
    numbers = np.array([number.get(name, len(ranked) - 1) for name in named], dtype=np.int64)
    return [name or place_map.name for name in ranked], numbers


def _folders(ids: list[str]) -> list[str]:
    """The folder of each reference, cut where folders begin to differ."""
    folders = [name.rpartition("/")[0] for name in ids]
    shared = len(PurePosixPath(os.path.commonpath(set(folders))).parts)
    level = shared + 1
    cut = {folder: "/".join(PurePosixPath(folder).parts[:level]) for folder in set(folders)}
    return [cut[folder] for folder in folders]
