"""What became of a map's references: by id and image, which of two maps has which."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsformer_core.place_map.place_map import PlaceMap


@dataclass(frozen=True, eq=False)
class Changes:
    """Two maps compared.

    Attributes:
        added: (N,) bool, references of the later map that the earlier one lacks.
        gone: (M,) bool, references of the earlier map that the later one lacks.
    """

    added: npt.NDArray[np.bool_]
    gone: npt.NDArray[np.bool_]


def changes(before: PlaceMap, after: PlaceMap) -> Changes:
    """Compares the references of two maps, not their descriptors or positions."""
    earlier, later = _keys(before), _keys(after)
    return Changes(added=~np.isin(later, earlier), gone=~np.isin(earlier, later))


def _keys(place_map: PlaceMap) -> npt.NDArray[np.int64]:
    """64 bits for each id and image: of two million references, two share theirs once in ten million maps."""
    pairs = zip(place_map.ids, place_map.images, strict=True)
    return np.fromiter(map(hash, pairs), dtype=np.int64, count=place_map.count)
