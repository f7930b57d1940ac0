"""The place map: a prebuilt, geotagged index of references, on disk and in memory.

>>> place_map = build_place_map(open_source("drive/"), Extractor("dsformer_tiny"), "town.map")
>>> place_map = PlaceMap.open("town.map")
>>> matches = place_map.search(descriptors, k=20)
"""

from dsformer_core.place_map.building.build import add_to_place_map, build_place_map
from dsformer_core.place_map.calibration import SimilarityCalibration, fit_calibration
from dsformer_core.place_map.format import MapError
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.matches import Matches
from dsformer_core.place_map.place_map import PlaceMap

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
