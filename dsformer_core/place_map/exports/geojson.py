"""A map's references as GeoJSON (RFC 7946), a feature a line, however many there are."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.staging import durable_file

# A millimetre on the ground; more would only make the file longer.
_DECIMALS = 8
_COLUMNS = ("id", "heading_deg", "timestamp", "image", "source", "latitude", "longitude", "altitude")


def write_geojson(
    place_map: PlaceMap, output: str | Path, *, on_progress: Callable[[int], None] = lambda count: None
) -> None:
    """Writes a point for each reference; what is unknown is null.

    Points have a third coordinate only where altitudes are known to be above the ellipsoid, as the RFC wants it; others
    are in the property `altitude`, and the collection says in `altitude_reference` what they are above.

    Args:
        place_map: the map.
        output: the file, whole or not at all.
        on_progress: called with the number of references written since its last call.
    """
    about = {"name": place_map.name, "altitude_reference": place_map.altitude_reference}
    solid = place_map.altitude_reference == "ellipsoid"
    with durable_file(Path(output)) as file:
        head = json.dumps({"type": "FeatureCollection", **about}, ensure_ascii=False)[:-1]
        file.write(f'{head}, "features": ['.encode())
        before = "\n"
        for start, table in place_map.reference_groups(*_COLUMNS):
            columns = table.to_pydict()
            lines = []
            for row in range(len(table)):
                one = {name: columns[name][row] for name in _COLUMNS}
                lines.append(json.dumps(_feature(start + row, one, solid), ensure_ascii=False, allow_nan=False))
            file.write((before + ",\n".join(lines)).encode())
            before = ",\n"
            on_progress(len(table))
        file.write(b"\n]}\n")


def _feature(row: int, reference: dict[str, Any], solid: bool) -> dict[str, Any]:
    point = [round(reference.pop("longitude"), _DECIMALS), round(reference.pop("latitude"), _DECIMALS)]
    altitude = reference["altitude"]
    if solid and math.isfinite(altitude):
        point.append(altitude)
    known = {name: None if value != value else value for name, value in reference.items()}
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": point},
        "properties": {"row": row} | known,
    }
