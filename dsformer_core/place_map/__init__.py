"""The place map: a prebuilt, geotagged index of references, on disk and in memory.

>>> place_map = build_place_map(open_source("drive/"), Extractor("dsformer_tiny"), "town.map")
>>> place_map = PlaceMap.open("town.map")
>>> matches = place_map.search(descriptors, k=20)

Who opens maps is spared what only some of their uses need: what builds them, and SciPy and FAISS, which the functions
that need them import themselves (70 MB and a second).
"""

from typing import TYPE_CHECKING, Any

from dsformer_core.place_map.calibration import SimilarityCalibration, fit_calibration
from dsformer_core.place_map.format import MapError
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.matches import Matches
from dsformer_core.place_map.place_map import PlaceMap

if TYPE_CHECKING:
    from dsformer_core.place_map.building.build import add_to_place_map, build_place_map

__all__ = [
    "IndexRequest",
    "MapError",
    "Matches",
    "PlaceMap",
    "SimilarityCalibration",
    "add_to_place_map",
    "build_place_map",
    "fit_calibration",
]


def __getattr__(name: str) -> Any:
    if name in ("add_to_place_map", "build_place_map"):
        from dsformer_core.place_map.building import build

        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
