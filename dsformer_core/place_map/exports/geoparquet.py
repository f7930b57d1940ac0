"""A map's references as GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/): QGIS, GDAL and DuckDB open it.

Points are well-known binary (OGC 06-103r4), longitude before latitude. Their coordinate system is OGC:CRS84, which is
WGS-84 with that order of axes. Descriptors are not exported.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.place_map.building.parts import bytes_column
from dsformer_core.place_map.format import COLUMNS
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.staging import durable_file

_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])
_LITTLE_ENDIAN = 1
_TYPE_POINT = 1
_UNKNOWN = frozenset({"altitude", "yaw", "heading_deg", "timestamp"})

CRS84: dict[str, Any] = {
    "type": "GeographicCRS",
    "name": "WGS 84 (CRS84)",
    "datum_ensemble": {
        "name": "World Geodetic System 1984 ensemble",
        "members": [
            {"name": "World Geodetic System 1984 (Transit)", "id": {"authority": "EPSG", "code": 1166}},
            {"name": "World Geodetic System 1984 (G730)", "id": {"authority": "EPSG", "code": 1152}},
            {"name": "World Geodetic System 1984 (G873)", "id": {"authority": "EPSG", "code": 1153}},
            {"name": "World Geodetic System 1984 (G1150)", "id": {"authority": "EPSG", "code": 1154}},
            {"name": "World Geodetic System 1984 (G1674)", "id": {"authority": "EPSG", "code": 1155}},
            {"name": "World Geodetic System 1984 (G1762)", "id": {"authority": "EPSG", "code": 1156}},
            {"name": "World Geodetic System 1984 (G2139)", "id": {"authority": "EPSG", "code": 1309}},
        ],
        "ellipsoid": {"name": "WGS 84", "semi_major_axis": 6378137, "inverse_flattening": 298.257223563},
        "accuracy": "2.0",
        "id": {"authority": "EPSG", "code": 6326},
    },
    "coordinate_system": {
        "subtype": "ellipsoidal",
        "axis": [
            {"name": "Geodetic longitude", "abbreviation": "Lon", "direction": "east", "unit": "degree"},
            {"name": "Geodetic latitude", "abbreviation": "Lat", "direction": "north", "unit": "degree"},
        ],
    },
    "id": {"authority": "OGC", "code": "CRS84"},
}
"""As PROJJSON 0.7."""


def write_geoparquet(
    place_map: PlaceMap, output: str | Path, *, on_progress: Callable[[int], None] = lambda count: None
) -> None:
    """Writes a point for each reference, with all columns of the map; what is unknown is null.

    Args:
        place_map: the map.
        output: the file, whole or not at all.
        on_progress: called with the number of references written since its last call.
    """
    longitude, latitude = place_map.longitude, place_map.latitude
    geometry = {
        "encoding": "WKB",
        "geometry_types": ["Point"],
        "crs": CRS84,
        "bbox": [float(edge) for edge in (longitude.min(), latitude.min(), longitude.max(), latitude.max())],
    }
    about = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    fields = [pa.field("row", pa.int64()), *COLUMNS, pa.field("geometry", pa.binary())]
    schema = pa.schema(fields, metadata={"geo": json.dumps(about)})
    with durable_file(Path(output)) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start, table in place_map.reference_groups():
            columns = {name: _nullable(name, table.column(name)) for name in COLUMNS.names}
            columns["row"] = pa.array(np.arange(start, start + len(table)))
            columns["geometry"] = _points(table.column("longitude").to_numpy(), table.column("latitude").to_numpy())
            writer.write_table(pa.table(columns, schema=schema))
            on_progress(len(table))


def _nullable(name: str, column: pa.ChunkedArray) -> Any:
    return pa.array(column.to_numpy(), from_pandas=True) if name in _UNKNOWN else column


def _points(longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]) -> pa.Array:
    points = np.empty((len(longitude), 1), _POINT)
    points["order"], points["type"] = _LITTLE_ENDIAN, _TYPE_POINT
    points["x"][:, 0], points["y"][:, 0] = longitude, latitude
    return bytes_column(points)
