"""Pictures and maps made up on the spot, for tests in which the network does not matter."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import Described
from dsformer_core.geodesy import UtmZone, grid_convergence, to_latlon, yaw_to_heading
from dsformer_core.place_map import IndexRequest, PlaceMap, build_place_map
from dsformer_core.sources import GeotaggedPicture, Skipped

ZONE = UtmZone(33, True)
ORIGIN = np.array([380_000.0, 6_170_000.0])


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def write_picture(
    path: Path, *, latitude: float | None, longitude: float = 13.0, heading: float = 90.0, seed: int = 0
) -> Path:
    """A small JPEG with GPS in its EXIF; without when `latitude` is None."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    picture = coarse.resize((160, 120), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if latitude is not None:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {
                ExifTags.GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
                ExifTags.GPS.GPSLatitude: (abs(latitude), 0.0, 0.0),
                ExifTags.GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
                ExifTags.GPS.GPSLongitude: (abs(longitude), 0.0, 0.0),
                ExifTags.GPS.GPSImgDirection: heading,
                ExifTags.GPS.GPSImgDirectionRef: "T",
            }
        )
    exif[ExifTags.Base.DateTime] = datetime(2026, 5, 1, tzinfo=timezone.utc).strftime("%Y:%m:%d %H:%M:%S")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif, quality=90)
    return path


def write_pictures(folder: Path, count: int) -> Path:
    """A drive north: pictures five metres apart."""
    for number in range(count):
        write_picture(folder / f"{number:03d}.jpg", latitude=55.7 + number * 5 / 111_320, seed=number)
    return folder


class ArraySource:
    """References at given poses; their pictures are black."""

    name = "arrays"

    def __init__(self, utm: np.ndarray, yaw: np.ndarray) -> None:
        self.latitude, self.longitude = to_latlon(utm, ZONE)
        self.heading = yaw_to_heading(yaw, grid_convergence(self.latitude, self.longitude, ZONE))

    def scan(self, on_progress: Any = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        black = np.zeros((32, 32, 3), np.uint8)
        pictures = [
            GeotaggedPicture(
                id=f"{row:06d}.jpg",
                latitude=float(self.latitude[row]),
                longitude=float(self.longitude[row]),
                image=f"/pictures/{row:06d}.jpg",
                load=lambda *, at_least=None: black,
                heading_deg=float(self.heading[row]),
                timestamp=1.7e9 + row,
            )
            for row in range(len(self.latitude))
        ]
        return pictures, []


class ArrayExtractor:
    """Gives the descriptors it was made with, whatever the pictures."""

    model_name = "gem_mobilenet_v2"
    weights_sha256 = "0" * 64
    weights = "made up"
    precision = "float32"
    arithmetic = Arithmetic()
    decode_size = (1, 1)
    code_bytes = 0

    def __init__(self, descriptors: np.ndarray) -> None:
        self.descriptors = descriptors
        self.descriptor_dim = descriptors.shape[1]

    def resized(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def extract_pictures(self, loaders: Iterable[Any], **_: Any) -> Iterator[tuple[int, Described]]:
        for row, load in enumerate(loaders):
            load()
            yield row, Described(self.descriptors[row : row + 1])


def write_map(
    directory: Path, descriptors: np.ndarray, utm: np.ndarray, yaw: np.ndarray | None = None, **options: Any
) -> PlaceMap:
    """A real place map of made-up references."""
    yaw = np.full(len(utm), np.nan) if yaw is None else yaw
    extractor: Any = ArrayExtractor(descriptors)
    return build_place_map(ArraySource(utm, yaw), extractor, directory, **{"thumbnails": False} | options)


def write_larger_map(directory: Path, place_map: PlaceMap, kind: str) -> PlaceMap:
    """A map's references with an index of some kind, and as many elsewhere as lists need to be trained."""
    random, extra = np.random.default_rng(0), 288
    known = np.asarray(place_map.descriptors, np.float32)
    extractor: Any = ArrayExtractor(np.vstack([known, unit(random.normal(size=(extra, known.shape[1])))]))
    extractor.model_name, extractor.weights_sha256 = place_map.model_name, place_map.weights_sha256
    extractor.weights = place_map.weights
    utm = np.vstack([place_map.utm, place_map.utm[0] + 5_000 + random.uniform(0, 2_000, (extra, 2))])
    source = ArraySource(utm, np.append(place_map.yaw, np.zeros(extra)))
    # Through all of themselves: what an index may miss otherwise is another test's.
    through_all = {"ivf_pq": {"factory": "IVF4,PQ8", "effort": 4}, "hnsw": {"effort": 400}}
    request = IndexRequest(kind, **through_all.get(kind, {}))
    return build_place_map(source, extractor, directory, index=request, thumbnails=False)
