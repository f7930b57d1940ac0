"""Areas on the ground, as GeoJSON has them (RFC 7946): who lies in which."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError

Numbers = npt.NDArray[np.float64]

_POLYGONS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True, eq=False)
class Area:
    """A part of the ground.

    Attributes:
        name: of the area; empty where it has none.
        shape: a Polygon or MultiPolygon of `shapely`, longitude and latitude in degrees, WGS-84.
    """

    name: str
    shape: Any

    def holds(self, latitude: Numbers, longitude: Numbers) -> npt.NDArray[np.bool_]:
        """(N,) whether positions, in degrees, lie in the area or on its edge."""
        import shapely

        west, south, east, north = self.shape.bounds
        inside = (longitude >= west) & (longitude <= east) & (latitude >= south) & (latitude <= north)
        shapely.prepare(self.shape)
        inside[inside] = shapely.intersects_xy(self.shape, longitude[inside], latitude[inside])
        return inside


def read_areas(path: str | Path) -> list[Area]:
    """Reads the polygons of a GeoJSON file: a geometry, a feature, or a collection of features.

    A feature is called what its property `name` says, or else its `id`.

    Raises:
        UsageError: there is no such file, or it is no GeoJSON of polygons.
        DsformerError: shapely is not installed.
    """
    path = Path(path)
    try:
        from shapely.errors import ShapelyError
        from shapely.geometry import shape
    except ImportError:
        raise DsformerError("areas need shapely: pip install 'dsformer_ros[geo]'") from None
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no GeoJSON ({error})") from error
    areas = []
    for number, (name, geometry) in enumerate(_geometries(content, path), 1):
        which = f"{path}: area {name or number}"
        if geometry.get("type") not in _POLYGONS:
            raise UsageError(f"{which} is a {geometry.get('type')}, not a Polygon or MultiPolygon")
        try:
            polygon = shape(geometry)
        except (ShapelyError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise UsageError(f"{which} is no polygon ({str(error).splitlines()[0]})") from error
        if polygon.is_empty or not polygon.is_valid:
            raise UsageError(f"{which} {'is empty' if polygon.is_empty else 'crosses itself'}: mend it, e.g. in QGIS")
        west, south, east, north = polygon.bounds
        if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
            raise UsageError(f"{which} is not in degrees of longitude and latitude (WGS-84): export it as EPSG:4326")
        areas.append(Area(name, polygon))
    if not areas:
        raise UsageError(f"{path} holds no areas")
    return areas


def _geometries(content: Any, path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Names and geometries, whatever stands around them."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        return [one for feature in content["features"] for one in _geometries(feature, path)]
    if kind == "Feature" and isinstance(content.get("geometry"), dict):
        properties = content.get("properties") or {}
        name = properties.get("name", content.get("id")) if isinstance(properties, dict) else None
        return [("" if name is None else str(name), content["geometry"])]
    if kind in ("Feature", "FeatureCollection", None):
        raise UsageError(f"{path} is no GeoJSON of polygons")
    return [("", content)]
