"""GSV-Cities (Ali-bey et al., 2022): places of many cities, seen in different years.

    Dataframes/London.csv   one picture per line: place_id, year, month, northdeg, city_id, lat, lon, panoid
    Images/London/London_0000130_2018_04_015_51.4861_-0.0895151_6jFjb3wGyCkcBfq4k559ag.JPG

A file's name repeats its line, with the position in as many digits as its maker had. So a line finds its file by place,
time, direction and panorama, and not by numbers that every program prints another way.
"""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from dsformer_core.errors import DsformerError
from dsformer_core.panoramas import Aspect, Size
from dsformer_core.training.data.class_pictures import ClassPictures

log = logging.getLogger(__name__)

TABLES, IMAGES = "Dataframes", "Images"
MIN_IMAGES = 4
"""Of a place; what the data set's authors train with."""

_COLUMNS = {
    "place_id": pa.int64(),
    "year": pa.int64(),
    "month": pa.int64(),
    "northdeg": pa.int64(),
    "city_id": pa.string(),
    "panoid": pa.string(),
}
# A name's fields before the panorama's id, which may itself contain underscores.
_FIELDS = 7


def gsv_cities_views(
    root: Path, *, size: Size, aspect: Aspect, min_images: int = MIN_IMAGES
) -> list[list[ClassPictures]]:
    """One group with one view: places lie at least 100 m apart, so all can be told from each other.

    Args:
        root: the folder with `Dataframes` and `Images`.
        size: height and width of the pictures to give.
        aspect: what becomes of other proportions.
        min_images: places with fewer pictures are left out.

    Raises:
        DsformerError: the layout is another, or no place is left.
    """
    tables = sorted((root / TABLES).glob("*.csv"))
    if not tables:
        raise DsformerError(f"{root / TABLES}: no table of a city there; looked for {TABLES}/*.csv of GSV-Cities")
    names: list[str] = []
    counts: list[int] = []
    cities: list[int] = []
    for city, table in enumerate(tables):
        places = _places(root, table, min_images)
        names += [picture for pictures in places for picture in pictures]
        counts += [len(pictures) for pictures in places]
        cities += [city] * len(places)
    if not counts:
        raise DsformerError(f"{root}: no place has {min_images} pictures or more")
    starts = np.cumsum([0, *counts])
    of_cities = np.array(cities)
    return [[ClassPictures("GSV-Cities", root, pa.array(names), starts, size=size, aspect=aspect, cities=of_cities)]]


def _places(root: Path, path: Path, min_images: int) -> list[list[str]]:
    """Per place of a city its files, both in ascending order."""
    options = pa_csv.ConvertOptions(column_types=_COLUMNS, include_columns=list(_COLUMNS))
    try:
        table = pa_csv.read_csv(path, convert_options=options)
        if any(column.null_count for column in table.columns):
            raise pa.ArrowInvalid("a value is missing")
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise DsformerError(
            f"{path}: not a table of GSV-Cities with columns {', '.join(_COLUMNS)} ({' '.join(str(error).split())})"
        ) from None
    rows = table.to_pylist()
    files: dict[tuple[str, ...], str] = {}
    for folder in sorted({row["city_id"] for row in rows} | {path.stem}):
        files |= _files(root / IMAGES / folder)
    by_place: dict[int, list[str]] = {}
    missing = []
    for row in rows:
        key = (
            row["city_id"], f"{row['place_id']:07d}", f"{row['year']:04d}", f"{row['month']:02d}",
            f"{row['northdeg']:03d}", row["panoid"],
        )  # fmt: skip
        if key in files:
            by_place.setdefault(row["place_id"], []).append(files[key])
        else:
            missing.append("_".join(key[:5]))
    if rows and not by_place:
        looked_for = root / IMAGES / rows[0]["city_id"] / missing[0]
        raise DsformerError(f"none of the pictures of {path} is there; looked for {looked_for}….jpg")
    if missing:
        log.warning("%s: %d of %d pictures are not there, %s among them", path, len(missing), len(rows), missing[0])
    return [sorted(pictures) for _, pictures in sorted(by_place.items()) if len(pictures) >= min_images]


def _files(folder: Path) -> dict[tuple[str, ...], str]:
    """(city, place, year, month, direction, panorama) -> path below the data set's root."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        fields = path.name.rsplit(".", 1)[0].split("_", _FIELDS)
        if len(fields) == _FIELDS + 1:
            key = (*fields[:5], fields[_FIELDS])
            found[key] = f"{IMAGES}/{folder.name}/{path.name}"
    return found
