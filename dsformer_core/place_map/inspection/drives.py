"""Which drive each reference of a map comes from."""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.place_map import PlaceMap

OTHERS = "others"


def drive_names(place_map: PlaceMap) -> list[str]:
    """The drive of each reference: its source; where the map has only one, a folder in it.

    Of folders those of the first level at which there are several.
    """
    sources = list(place_map.sources)
    if len(set(sources)) > 1:
        return sources
    folders = [name.rpartition("/")[0] for name in place_map.ids]
    parts = {folder: folder.split("/") for folder in set(folders)}
    if len(parts) == 1:
        return [place_map.name] * len(folders)
    level = next(level for level, names in enumerate(zip_longest(*parts.values()), 1) if len(set(names)) > 1)
    cut = {folder: "/".join(part[:level]) or place_map.name for folder, part in parts.items()}
    return [cut[folder] for folder in folders]


def numbered(names: Sequence[str], most: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names that differ, the most frequent first, and the number of each.

    Args:
        names: of N things.
        most: how many are told apart, >= 2; the rarest beyond them are `OTHERS`, which comes last.

    Returns:
        The names, and (N,) their numbers.
    """
    ranked = [name for name, _ in Counter(names).most_common()]
    if len(ranked) > most:
        ranked[most - 1 :] = [OTHERS]
    number = {name: rank for rank, name in enumerate(ranked)}
    return ranked, np.array([number.get(name, len(ranked) - 1) for name in names], dtype=np.int64)
