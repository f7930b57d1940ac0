"""From a source of geotagged pictures to a place map on disk."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.geodesy import UtmZone, check_latlon, grid_convergence, heading_to_yaw, to_latlon, to_utm
from dsformer_core.pictures import Picture, PictureError
from dsformer_core.place_map.calibration import fit_calibration
from dsformer_core.place_map.format import (
    COLUMNS,
    DESCRIPTORS_FILE,
    FORMAT_VERSION,
    MAP_FILE,
    REFERENCES_FILE,
    ROWS_PER_GROUP,
    THUMBNAILS,
    file_digest,
    folder_digest,
    thumbnail_file,
    write_description,
)
from dsformer_core.place_map.index import DEFAULT_INDEX, check_candidates, index_class
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.place_map.places import spacing
from dsformer_core.sources import NO_POSITION, GeotaggedPicture, Skipped, Source
from dsformer_core.staging import staged_directory

THUMBNAIL_SIDE = 240
# Pixels. Networks take any picture, and describe the icons and placeholders among them, too.
SMALLEST_SIDE = 32
# Beyond this from the middle the grid's scale is off by more than 0.3 %, and no robot drives there.
LARGEST_EXTENT = 500e3
EARTH_RADIUS = 6371e3

Step = Literal["scanning", "describing", "finishing"]


@dataclass(frozen=True)
class Progress:
    """How far a build has come.

    Attributes:
        step: what is being done.
        done: pictures finished in this step.
        total: pictures there are in it; None while they are being found.
    """

    step: Step
    done: int
    total: int | None


def build_place_map(
    source: Source,
    extractor: Extractor,
    output: str | Path,
    *,
    name: str | None = None,
    batch_size: int = 8,
    workers: int = 2,
    index: str = DEFAULT_INDEX,
    candidates: int | None = None,
    thumbnails: bool = True,
    strict: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_skipped: Callable[[Skipped], None] = lambda skipped: None,
) -> PlaceMap:
    """Describes every picture of a source and writes the map, whole or not at all.

    Args:
        source: where the pictures come from.
        extractor: describes them; the map can be searched with this network only.
        output: the directory to make.
        name: what to call the map; the directory's name without its suffix when None.
        batch_size: pictures that enter the network at a time.
        workers: threads that decode.
        index: kind of search, one of `INDEX_KINDS`: "flat" compares float32, "flat_fp16" float16 (half the size, and
            similarities move by less than 1e-3), "binary" codes of 64 bytes, and then float16 of the best.
        candidates: of a "binary" index, how many references that codes found are put in order by floats; more than
            there are views that look alike. None for `codes.CANDIDATES`.
        thumbnails: whether small pictures are kept for people to look at.
        strict: whether one picture that cannot be used ends the build.
        overwrite: whether a map that is already at `output` is replaced.
        on_progress: called as the work goes on.
        on_skipped: called with each picture that cannot be used.

    Returns:
        The new map, opened.

    Raises:
        DsformerError: there are no usable pictures, the disk is full, or (`strict`) a picture cannot be used.
        UsageError: `output` exists, there is no such index, it cannot have so many `candidates`, or the positions do
            not make one map.
    """
    kind = index_class(index)
    check_candidates(index, candidates)
    output = Path(output)

    def skip(skipped: Skipped) -> None:
        if strict:
            raise DsformerError(f"{skipped.image}: {skipped.reason}")
        on_skipped(skipped)

    with staged_directory(output, overwrite=overwrite, marker=MAP_FILE, kind="place map") as folder:
        scanned = 0

        def count(more: int) -> None:
            nonlocal scanned
            scanned += more
            on_progress(Progress("scanning", scanned, None))

        pictures, left_out = source.scan(count)
        for skipped in left_out:
            skip(skipped)
        if not pictures:
            raise DsformerError(f"{source.name}: none of its {len(left_out)} pictures can be used{_first(left_out)}")
        placement = _place(pictures)
        kept: list[int] = []
        codes = bytearray()
        unread: list[Skipped] = []
        described = _describe(pictures, extractor, folder if thumbnails else None, batch_size, workers)
        with (folder / DESCRIPTORS_FILE).open("wb") as file, closing(described):
            _write_npy_header(file, kind.storage, len(pictures), extractor.descriptor_dim)
            for number, found in described:
                if isinstance(found, DsformerError):
                    image = pictures[number].image
                    unread.append(Skipped(image, str(found).removeprefix(f"{image}: ")))
                    skip(unread[-1])
                else:
                    file.write(found.descriptors.astype(kind.storage).tobytes())
                    codes += b"" if found.codes is None else found.codes.tobytes()
                    kept.append(number)
                on_progress(Progress("describing", number + 1, len(pictures)))
            if not kept:
                raise DsformerError(f"{source.name}: none of its {len(pictures)} pictures can be used{_first(unread)}")
            _write_npy_header(file, kind.storage, len(kept), extractor.descriptor_dim)

        on_progress(Progress("finishing", 0, None))
        placement = placement.only(kept)
        references = [pictures[number] for number in kept]
        altitude, altitude_reference = _altitudes(references)
        _write_references(folder / REFERENCES_FILE, references, placement, altitude, source.name)
        if thumbnails:
            _close_gaps(folder, kept)
        descriptors = np.load(folder / DESCRIPTORS_FILE, mmap_mode="r", allow_pickle=False)
        found_codes = np.frombuffer(codes, np.uint8).reshape(len(kept), -1) if codes else None
        description: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "name": name or output.stem,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": {
                "name": extractor.model_name,
                "weights_sha256": extractor.weights_sha256,
                "weights": extractor.weights,
                "precision": extractor.precision,
            },
            "descriptors": {"dimension": extractor.descriptor_dim, "dtype": kind.storage},
            "count": len(kept),
            "utm_zone": str(placement.zone),
            "datum": _datum(placement, altitude),
            "altitude_reference": altitude_reference,
            "spacing": spacing(placement.utm),
            "index": {"kind": index} | kind.write(folder, descriptors, found_codes, candidates),
            "calibration": fit_calibration(descriptors, placement.utm, placement.yaw).to_dict(),
        }
        files = (REFERENCES_FILE, DESCRIPTORS_FILE, *kind.files(description["index"]))
        description["files"] = {file: file_digest(folder / file) for file in files}
        if thumbnails:
            description["files"][THUMBNAILS] = folder_digest(folder / THUMBNAILS)
        write_description(folder / MAP_FILE, description)
    return PlaceMap.open(output)


def _first(left_out: list[Skipped]) -> str:
    """One example of what was wrong, and what helps where it was a lack of positions."""
    if not left_out:
        return ""
    advice = ""
    if all(one.reason.endswith(NO_POSITION) for one in left_out):
        advice = "; give pictures with GPS in their EXIF, '@' file names, or a manifest"
    return f" (first: {left_out[0].image}: {left_out[0].reason}){advice}"


@dataclass(frozen=True)
class _Placement:
    """Where N pictures are: zone, (N, 2) UTM metres, (N,) yaw radians."""

    zone: UtmZone
    utm: npt.NDArray[np.float64]
    yaw: npt.NDArray[np.float64]

    def only(self, rows: list[int]) -> "_Placement":
        return _Placement(self.zone, self.utm[rows], self.yaw[rows])


def _place(pictures: list[GeotaggedPicture]) -> _Placement:
    """One zone for all: that of the middle. Pictures beyond its border are forced into it."""
    latitude = np.array([picture.latitude for picture in pictures])
    longitude = np.array([picture.longitude for picture in pictures])
    check_latlon(latitude, longitude)
    # On the sphere, because between longitudes 179 and -179 there is one degree of sea, and not the whole world.
    north, east = np.radians(latitude), np.radians(longitude)
    sphere = np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    x, y, z = np.median(sphere, axis=0)
    away = EARTH_RADIUS * np.linalg.norm(sphere - (x, y, z), axis=1)
    far = int(np.argmax(away))
    if away[far] > LARGEST_EXTENT:
        raise UsageError(
            f"{pictures[far].image} lies at {latitude[far]:.5f}, {longitude[far]:.5f}, more than "
            f"{LARGEST_EXTENT / 1e3:.0f} km from the others: correct its position, or make several maps"
        )
    zone = UtmZone.of(float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x))))
    utm = to_utm(latitude, longitude, zone)
    heading = np.array([picture.heading_deg for picture in pictures])
    return _Placement(zone, utm, heading_to_yaw(heading, grid_convergence(latitude, longitude, zone)))


def _altitudes(pictures: list[GeotaggedPicture]) -> tuple[list[float], str]:
    """Altitudes above what most of them are measured from, and what that is; NaN for those from something else."""
    known = Counter(picture.altitude_reference for picture in pictures if np.isfinite(picture.altitude))
    reference = known.most_common(1)[0][0] if known else "unknown"
    return [p.altitude if p.altitude_reference == reference else float("nan") for p in pictures], reference


def _datum(placement: _Placement, altitudes: list[float]) -> dict[str, float]:
    """The middle of the map, to a centimetre: medians of what is known."""
    latitude, longitude = to_latlon(np.median(placement.utm, axis=0), placement.zone)
    known = [altitude for altitude in altitudes if np.isfinite(altitude)]
    return {
        "latitude": round(float(latitude), 7),
        "longitude": round(float(longitude), 7),
        "altitude": round(float(np.median(known)), 2) if known else 0.0,
    }


def _describe(
    pictures: list[GeotaggedPicture], extractor: Extractor, folder: Path | None, batch_size: int, workers: int
) -> Generator[tuple[int, Any], None, None]:
    """(index, `Described` or error) of each picture; thumbnails go into `folder`, numbered by index."""
    width, height = extractor.decode_size
    suffices = max(width, THUMBNAIL_SIDE), max(height, THUMBNAIL_SIDE)

    def load(index: int) -> Picture:
        picture = pictures[index].load(at_least=suffices)
        if min(picture.shape[:2]) < SMALLEST_SIDE:
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            raise PictureError(f"{pictures[index].image}: {size} pixels are too few to show a place")
        if folder is not None:
            _write_thumbnail(folder / thumbnail_file(index), picture)
        return picture

    loaders = (partial(load, index) for index in range(len(pictures)))
    yield from extractor.extract_pictures(loaders, batch_size=batch_size, workers=workers)


def _write_thumbnail(path: Path, picture: Picture) -> None:
    height, width = picture.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())


def _close_gaps(folder: Path, kept: list[int]) -> None:
    """Renumbers thumbnails from index in the source to row in the map."""
    (folder / THUMBNAILS).mkdir(exist_ok=True)
    for row, index in enumerate(kept):
        if row != index:
            (folder / thumbnail_file(index)).rename(folder / thumbnail_file(row))


def _write_npy_header(file: BinaryIO, dtype: str, rows: int, columns: int) -> None:
    """The header at the file's start. NumPy leaves room in it for the number of rows to change."""
    file.seek(0)
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(file, header)


def _write_references(
    path: Path, pictures: list[GeotaggedPicture], placement: _Placement, altitude: list[float], source: str
) -> None:
    columns = {
        "id": [picture.id for picture in pictures],
        "easting": placement.utm[:, 0],
        "northing": placement.utm[:, 1],
        "latitude": [picture.latitude for picture in pictures],
        "longitude": [picture.longitude for picture in pictures],
        "altitude": altitude,
        "yaw": placement.yaw,
        "heading_deg": [picture.heading_deg for picture in pictures],
        "timestamp": [picture.timestamp for picture in pictures],
        "image": [picture.image for picture in pictures],
        "source": [source] * len(pictures),
    }
    table = pa.table(columns, schema=COLUMNS)
    pq.write_table(table, path, ROWS_PER_GROUP, compression="zstd", use_dictionary=["source"], write_statistics=False)
