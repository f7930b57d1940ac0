"""One map divided into several by where its references are: tiles of a city, or its districts."""

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone, to_latlon
from dsformer_core.place_map.building.assemble import About
from dsformer_core.place_map.building.parts import MapPart
from dsformer_core.place_map.building.work_folder import now
from dsformer_core.place_map.changes.areas import Area
from dsformer_core.place_map.changes.rewriting import write_map
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.staging import staged_directory

AREAS_FILE = "areas.geojson"
MAP_SUFFIX = ".map"

# Points along each side of a tile: its sides are straight in the grid, and bent on the globe.
_SIDE_POINTS = 4
# Tiles that a file system and a person can still handle; more is a slip of metres for kilometres.
_MOST_TILES = 100_000


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a map that becomes a map of its own.

    Attributes:
        name: of the new map, and of its directory before `MAP_SUFFIX`.
        rows: its references, ascending, at least one.
        geometry: the ground it is of, as GeoJSON has it.
    """

    name: str
    rows: npt.NDArray[np.int64]
    geometry: dict[str, Any]


def tiles(place_map: PlaceMap, metres: float, *, overlap: float = 0.0) -> list[Piece]:
    """Squares of the map's UTM grid, called after their south-west corners; those without a reference are left out.

    Corners are at whole multiples of `metres`, so that the tiles of two maps in one zone, or of one map before and
    after it grew, are the same squares.

    Args:
        place_map: the map.
        metres: sides of the squares.
        overlap: metres around each square whose references belong to it as well.

    Raises:
        UsageError: a number is out of range, or there would be far too many tiles.
    """
    if not (math.isfinite(metres) and metres > 0):
        raise UsageError(f"tiles of {metres:g} m: it must be more than 0")
    if not (math.isfinite(overlap) and 0 <= overlap <= metres):
        raise UsageError(f"an overlap of {overlap:g} m: it must be 0 or more, and at most a tile's side")
    utm = place_map.utm
    # Of an overlap as wide as a tile, a reference belongs to nine tiles at most.
    steps = itertools.product((-overlap, 0.0, overlap), repeat=2)
    touched = [np.unique(np.floor((utm + np.array(step)) / metres), axis=0) for step in steps]
    squares = np.unique(np.concatenate(touched), axis=0)
    if len(squares) > _MOST_TILES:
        raise UsageError(f"tiles of {metres:g} m would be {len(squares)} maps: make them larger")
    order = np.argsort(utm[:, 0], kind="stable")
    eastings = utm[order, 0]
    pieces = []
    for column, line in squares:
        west, south = column * metres, line * metres
        first = np.searchsorted(eastings, west - overlap, side="left")
        last = np.searchsorted(eastings, west + metres + overlap, side="left")
        candidates = order[first:last]
        northings = utm[candidates, 1]
        inside = (northings >= south - overlap) & (northings < south + metres + overlap)
        rows = np.sort(candidates[inside])
        if len(rows):
            name = f"{place_map.zone}_{west:.10g}_{south:.10g}"
            pieces.append(Piece(name, rows, _square(west, south, metres, place_map.zone)))
    return pieces


def districts(place_map: PlaceMap, areas: Sequence[Area]) -> tuple[list[Piece], int]:
    """The references within areas, each of which has a name; a reference on two areas belongs to both.

    Args:
        place_map: the map.
        areas: where.

    Returns:
        The areas with references, and how many references lie in none.

    Raises:
        UsageError: an area has no name, or two have names that one directory would have.
    """
    from shapely.geometry import mapping

    pieces: list[Piece] = []
    somewhere = np.zeros(place_map.count, dtype=bool)
    directories: dict[str, str] = {}
    for number, area in enumerate(areas, 1):
        directory = re.sub(r"[^\w.-]+", "_", area.name).strip("._")
        if not directory:
            raise UsageError(f"area {number} has no name: give each feature a property 'name' for its map")
        if directory.lower() in directories:
            raise UsageError(f"two areas are called {area.name!r} and {directories[directory.lower()]!r}: rename one")
        directories[directory.lower()] = area.name
        inside = area.holds(place_map.latitude, place_map.longitude)
        somewhere |= inside
        if inside.any():
            pieces.append(Piece(directory, np.flatnonzero(inside), mapping(area.shape)))
    return pieces, int((~somewhere).sum())


def write_pieces(
    place_map: PlaceMap,
    pieces: Sequence[Piece],
    output: str | Path,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes a directory of maps, and beside them `areas.geojson`, which says what ground each is of.

    All keep the frame, the model and the kind of index of the map they are of.

    Args:
        place_map: the map.
        pieces: of it.
        output: the directory to make, whole or not at all.
        overwrite: whether such a directory that is already there is replaced.
        on_progress: called with the number of references written since its last call.

    Raises:
        DsformerError: there are no pieces, or the disk is full.
        UsageError: `output` exists.
    """
    if not pieces:
        raise DsformerError(f"{place_map.directory}: none of its references lies in any of the areas")
    with staged_directory(Path(output), overwrite=overwrite, marker=AREAS_FILE, kind="directory of maps") as folder:
        created, features = now(), []
        for piece in pieces:
            write_map(
                [MapPart(place_map, piece.rows)],
                [place_map],
                About.of(place_map, name=f"{place_map.name} {piece.name}", created=created),
                folder / f"{piece.name}{MAP_SUFFIX}",
                index=place_map.index_request,
                overwrite=False,
                on_progress=on_progress,
            )
            properties = {"name": piece.name, "map": f"{piece.name}{MAP_SUFFIX}", "references": len(piece.rows)}
            features.append({"type": "Feature", "properties": properties, "geometry": piece.geometry})
        document = {"type": "FeatureCollection", "features": features}
        (folder / AREAS_FILE).write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


def _square(west: float, south: float, side: float, zone: UtmZone) -> dict[str, Any]:
    """A tile as a polygon, counter-clockwise, longitude before latitude."""
    along = np.linspace(0, side, _SIDE_POINTS, endpoint=False)
    zero, full = np.zeros(_SIDE_POINTS), np.full(_SIDE_POINTS, side)
    east = np.concatenate([along, full, side - along, zero, [0]])
    north = np.concatenate([zero, along, full, side - along, [0]])
    latitude, longitude = to_latlon(np.column_stack([west + east, south + north]), zone)
    ring = [[round(float(x), 8), round(float(y), 8)] for x, y in zip(longitude, latitude, strict=True)]
    return {"type": "Polygon", "coordinates": [ring]}
