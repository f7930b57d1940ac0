"""What is clustered, wherever it comes from: positions, and, where there are any, images and headings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from dsformer_core.clustering.positions import check_headings, check_positions
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone, grid_convergence, to_latlon, to_utm
from dsformer_core.sources import FolderSource, Locations, Skipped, Source

Array = npt.NDArray[np.float64]

POSITION_SUFFIXES = (".npz", ".npy", ".csv", ".parquet")


@dataclass(frozen=True)
class Located:
    """Locations of images.

    Attributes:
        utm: (N, 2) metres, finite.
        headings_deg: (N,) degrees clockwise from true north, NaN where unknown.
        images: (N,) large_string, paths below `images_root`; None where there are only positions.
        images_root: absolute folder of the images; None where there are only positions.
        zone: of `utm`; None where unknown.
        skipped: what could not be used, and why.
    """

    utm: Array
    headings_deg: Array
    images: pa.LargeStringArray | None = None
    images_root: Path | None = None
    zone: UtmZone | None = None
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def grid_headings_deg(self) -> Array:
        """(N,) headings clockwise from the grid's north, which `utm` is in; from true north where no zone is known."""
        if self.zone is None or not len(self.utm):
            return self.headings_deg
        latitude, longitude = to_latlon(self.utm, self.zone)
        return np.mod(self.headings_deg - np.degrees(grid_convergence(latitude, longitude, self.zone)), 360)


def locate_images(
    source: Source, folder: Path, zone: UtmZone | None = None, on_progress: Callable[[int], None] | None = None
) -> Located:
    """The positions of a source's pictures, all in one zone.

    Args:
        source: of pictures with positions.
        folder: what the pictures' ids are relative to.
        zone: to project into; by default the zone of the median position.
        on_progress: called with the number of pictures looked at since its last call.

    Raises:
        DsformerError: no picture can be used, or the source cannot be read.
    """
    locate = source.locate if isinstance(source, FolderSource) else lambda seen: Locations.of(*source.scan(seen))
    found = locate(on_progress)
    if not len(found.ids):
        reason = f", e.g. {found.skipped[0].image}: {found.skipped[0].reason}" if found.skipped else ""
        raise DsformerError(f"{source.name}: no picture has a usable position{reason}")
    zone = zone or UtmZone.of(float(np.median(found.latitude)), float(np.median(found.longitude)))
    return Located(
        utm=to_utm(found.latitude, found.longitude, zone),
        headings_deg=found.heading_deg,
        images=found.ids,
        images_root=folder.absolute(),
        zone=zone,
        skipped=found.skipped,
    )


def read_positions(path: str | Path, zone: UtmZone | None = None) -> Located:
    """Positions without images.

    Args:
        path: .npz with `utm` (N, 2) and, if known, `heading_deg` (N,); .npy with (N, 2); or .csv/.parquet with columns
            `easting`, `northing` and, if known, `heading_deg`.
        zone: that the coordinates are in, where it is known.

    Raises:
        UsageError: there is no such file, it lacks positions, or nothing can be made of what it holds: see
            `check_positions` and `check_headings`.
        DsformerError: it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix not in POSITION_SUFFIXES:
        raise UsageError(f"{path}: positions come as {', '.join(POSITION_SUFFIXES)}")
    try:
        utm, headings = _read_arrays(path) if suffix in (".npz", ".npy") else _read_table(path)
    except (pa.ArrowException, ValueError, EOFError, OSError) as error:
        detail = str(error).strip().split("\n")[0]
        raise DsformerError(f"{path}: cannot be read as positions ({detail})") from error
    utm = check_positions(utm)
    headings = check_headings(headings, len(utm))
    return Located(utm=utm, headings_deg=np.full(len(utm), np.nan) if headings is None else headings, zone=zone)


def _read_arrays(path: Path) -> tuple[Any, Any]:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded, None
    with loaded:
        if "utm" not in loaded:
            raise UsageError(f"{path}: holds no array 'utm'; found: {', '.join(loaded.files) or 'none'}")
        return loaded["utm"], loaded.get("heading_deg")


def _read_table(path: Path) -> tuple[Any, Any]:
    table = pa_csv.read_csv(path) if path.suffix.lower() == ".csv" else pa_parquet.read_table(path)
    if missing := {"easting", "northing"} - set(table.column_names):
        found = ", ".join(table.column_names)
        raise UsageError(f"{path}: lacks the columns {', '.join(sorted(missing))}; found: {found}")

    def column(name: str) -> Array:
        # Nulls become NaN, which the clustering names by row.
        return table.column(name).cast(pa.float64()).to_numpy()

    headings = column("heading_deg") if "heading_deg" in table.column_names else None
    return np.stack([column("easting"), column("northing")], axis=-1), headings
