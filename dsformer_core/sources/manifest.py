"""A table of pictures and their positions, as CSV or Parquet.

Columns, in any order, others are ignored:

    path                    relative to the manifest's own folder, or absolute
    latitude, longitude     degrees, WGS-84
    easting, northing, zone metres in a UTM zone ("33N"), instead of latitude and longitude
    altitude                metres, optional
    heading_deg             degrees clockwise from true north, optional
    timestamp               seconds since 1970 or ISO 8601 (UTC where it names no offset), optional
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone, to_latlon
from dsformer_core.pictures import read_picture
from dsformer_core.sources.source import LATEST_TIMESTAMP, GeotaggedPicture, Skipped, off_the_grid, why_unusable
from dsformer_core.sources.times import parse_time

MANIFEST_SUFFIXES = (".csv", ".parquet")
COLUMNS = ("path", "latitude", "longitude", "easting", "northing", "zone", "altitude", "heading_deg", "timestamp")


class ManifestSource:
    """The pictures that a table lists, in the table's order."""

    def __init__(self, manifest: str | Path, *, zone: UtmZone | None = None) -> None:
        """Reads the table, and none of the pictures.

        Args:
            manifest: a .csv or .parquet file.
            zone: of eastings and northings, where there is no column `zone` or a row leaves it empty.

        Raises:
            UsageError: columns are missing.
            DsformerError: the file cannot be read as a table, or has no rows.
        """
        self.manifest = Path(manifest)
        self.zone = zone
        self.name = self.manifest.stem
        try:
            read = _read_parquet if self.manifest.suffix.lower() == ".parquet" else _read_csv
            self._columns = read(self.manifest, partial(_choose, self.manifest, zone))
        except pa.ArrowException as error:
            detail = str(error).strip().split("\n")[0]
            raise DsformerError(f"{self.manifest}: cannot be read as a table ({detail})") from error
        if not self._columns["path"]:
            raise DsformerError(f"{self.manifest}: lists no pictures")

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Checks every row, and that its picture is there. See `Source.scan`."""
        pictures: list[GeotaggedPicture] = []
        skipped: list[Skipped] = []
        for _, found in self.rows():
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                pictures.append(found)
            if on_progress is not None:
                on_progress(1)
        return pictures, skipped

    def rows(self, *, pictures_needed: bool = True) -> Iterator[tuple[int, GeotaggedPicture | Skipped]]:
        """What each row of the table says, counted from 0.

        Args:
            pictures_needed: whether rows are left out whose picture is not there.
        """
        row_of: dict[str, int] = {}
        latitudes, longitudes, reasons = self._positions()
        for row, path in enumerate(self._columns["path"]):
            if path is None or not str(path).strip():
                yield row, Skipped(f"row {row + 1}", "no path")
                continue
            file = self.manifest.parent / str(path).strip()
            picture = self._id(file)
            try:
                if picture in row_of:
                    raise ValueError(f"row {row + 1}: listed already in row {row_of[picture] + 1}")
                row_of[picture] = row
                if (reason := reasons[row] or why_unusable(latitudes[row], longitudes[row])) is not None:
                    raise ValueError(f"row {row + 1}: {reason}")
                if pictures_needed and not file.is_file():
                    raise ValueError(f"row {row + 1}: no such file")
                tagged = GeotaggedPicture(
                    id=picture,
                    latitude=float(latitudes[row]),
                    longitude=float(longitudes[row]),
                    image=file.absolute().as_posix(),
                    load=partial(read_picture, file.absolute()),
                    altitude=self._optional("altitude", row, _number),
                    heading_deg=self._optional("heading_deg", row, _heading),
                    timestamp=self._optional("timestamp", row, _timestamp),
                )
            except ValueError as error:
                yield row, Skipped(str(file), str(error))
            else:
                yield row, tagged

    def _id(self, file: Path) -> str:
        folder = self.manifest.parent
        return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()

    def _optional(self, name: str, row: int, parse: Callable[[Any], float]) -> float:
        if name not in self._columns:
            return math.nan
        value = self._columns[name][row]
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"row {row + 1}: {name} {value!r} is not {error}") from error

    def _positions(self) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
        """Latitude and longitude of every row (NaN where unknown), and what is wrong with its fields."""
        count = len(self._columns["path"])
        reasons: list[str | None] = [None] * count
        first, second = ("latitude", "longitude") if "latitude" in self._columns else ("easting", "northing")
        values = np.full((count, 2), np.nan)
        for row in range(count):
            try:
                values[row] = _number(self._columns[first][row]), _number(self._columns[second][row])
            except ValueError:
                pair = f"{self._columns[first][row]!r}, {self._columns[second][row]!r}"
                reasons[row] = f"{first}, {second} are not numbers: {pair}"
        if first == "latitude":
            return values[:, 0], values[:, 1], reasons
        zones = self._zones(reasons)
        for row, zone in enumerate(zones):
            if zone is not None and off_the_grid(values[row][0], values[row][1], zone):
                reasons[row] = f"easting, northing {values[row][0]:g}, {values[row][1]:g} are not in UTM zone {zone}"
                zones[row] = None
        latlon = np.full((count, 2), np.nan)
        for zone in {zone for zone in zones if zone is not None}:
            rows = [row for row in range(count) if zones[row] == zone]
            latlon[rows] = np.stack(to_latlon(values[rows], zone), axis=-1)
        return latlon[:, 0], latlon[:, 1], reasons

    def _zones(self, reasons: list[str | None]) -> list[UtmZone | None]:
        zones: list[UtmZone | None] = []
        for row, text in enumerate(self._columns.get("zone", [None] * len(reasons))):
            zone = self.zone
            if text is not None and str(text).strip():
                try:
                    zone = UtmZone.parse(str(text))
                except UsageError as error:
                    zone, reasons[row] = None, str(error)
            elif zone is None:
                reasons[row] = "no UTM zone"
            zones.append(zone)
        return zones


def _choose(manifest: Path, zone: UtmZone | None, found: Sequence[str]) -> dict[str, str]:
    """Which of the columns found are ours: our name -> the file's, which may differ in case and blanks."""
    ours: dict[str, str] = {}
    for name in found:
        known = name.strip().lower()
        if known in COLUMNS:
            if known in ours:
                raise UsageError(f"{manifest}: has two columns {known}")
            ours[known] = name
    missing = [] if "path" in ours else ["path"]
    geographic = {"latitude", "longitude"} <= ours.keys()
    projected = {"easting", "northing"} <= ours.keys() and ("zone" in ours or zone is not None)
    if {"easting", "northing"} <= ours.keys() and not (geographic or projected):
        missing.append("zone (or give one for all rows: --zone 33N)")
    elif not (geographic or projected):
        missing.append("latitude and longitude (or easting, northing and zone)")
    if missing:
        raise UsageError(f"{manifest}: lacks the columns {', '.join(missing)}; found: {', '.join(found) or 'none'}")
    if geographic:
        return {name: column for name, column in ours.items() if name not in ("easting", "northing", "zone")}
    return {name: column for name, column in ours.items() if name not in ("latitude", "longitude")}


def _read_csv(path: Path, choose: Callable[[Sequence[str]], dict[str, str]]) -> dict[str, list[Any]]:
    """Our columns as text, so that one odd value spoils its row and not the file."""
    # A row of another length must not stand before the better message about columns; reading will stumble over it.
    lenient = pa_csv.ParseOptions(invalid_row_handler=lambda row: "skip")
    with pa_csv.open_csv(path, parse_options=lenient) as reader:
        ours = choose(reader.schema.names)
    options = pa_csv.ConvertOptions(
        include_columns=list(ours.values()),
        column_types={column: pa.string() for column in ours.values()},
        strings_can_be_null=True,
        null_values=["", "NaN", "nan", "NULL", "null", "None", "NA", "N/A"],
    )
    table = pa_csv.read_csv(path, convert_options=options)
    return {name: table.column(column).to_pylist() for name, column in ours.items()}


def _read_parquet(path: Path, choose: Callable[[Sequence[str]], dict[str, str]]) -> dict[str, list[Any]]:
    ours = choose(pa_parquet.read_schema(path).names)
    table = pa_parquet.read_table(path, columns=list(ours.values()))
    columns = {}
    for name, column in ours.items():
        values = table.column(column)
        if pa.types.is_timestamp(values.type):
            # Python's own type holds no nanoseconds.
            microseconds = values.cast(pa.timestamp("us", values.type.tz), safe=False).cast(pa.int64())
            columns[name] = [None if value is None else value / 1e6 for value in microseconds.to_pylist()]
        else:
            columns[name] = values.to_pylist()
    return columns


def _number(value: Any) -> float:
    """A number; NaN for nothing.

    Raises:
        ValueError: says what was expected.
    """
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError("a number") from None


def _heading(value: Any) -> float:
    heading = _number(value)
    if math.isinf(heading):
        raise ValueError("a number of degrees")
    return heading % 360


def _timestamp(value: Any) -> float:
    try:
        seconds = _number(value)
    except ValueError:
        try:
            return parse_time(str(value))
        except ValueError:
            raise ValueError("seconds since 1970 nor ISO 8601") from None
    if abs(seconds) > LATEST_TIMESTAMP:
        raise ValueError("in seconds since 1970")
    return seconds
