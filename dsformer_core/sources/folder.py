"""A folder of pictures that carry their positions: in EXIF, in '@' names, or some in one and some in the other."""

import itertools
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.ordered_map import ordered_map
from dsformer_core.pictures import read_picture
from dsformer_core.sources.at_names import parse_at_names
from dsformer_core.sources.exif import PictureTags
from dsformer_core.sources.source import GeotaggedPicture, Locations, Skipped
from dsformer_core.sources.tags import read_tags

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".jp2", ".bmp", ".gif", ".ppm", ".pgm"}
)
# What cameras write and nothing here decodes: better named than passed over in silence.
UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"})

_HEADER_READERS = 4
# Handing a header to a thread takes half as long as reading it.
_HEADERS_AT_ONCE = 16
# Names that `locate` has as Python's strings at a time.
_CHUNK = 65_536


class FolderSource:
    """All pictures below a folder, in natural order of their paths ("9.jpg" before "10.jpg").

    Hidden files and folders are passed over; symbolic links are followed.
    """

    def __init__(self, folder: str | Path, *, zone: UtmZone | None = None) -> None:
        """Looks whether there are pictures at all.

        Args:
            folder: searched with everything below it.
            zone: of '@' names that give UTM coordinates without a zone.

        Raises:
            DsformerError: there is no picture below `folder`.
        """
        self.folder = Path(folder)
        self.zone = zone
        self.name = self.folder.resolve().name or "pictures"
        if not any(isinstance(found, str) for found in _walk(self.folder)):
            raise _empty(self.folder)

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Finds every picture and its position, from its name or its EXIF block. See `Source.scan`."""
        found = list(_walk(self.folder))
        pictures: list[GeotaggedPicture] = []
        skipped = [item for item in found if isinstance(item, Skipped)]
        names = _in_natural_order(found)
        with closing(self._tags(names)) as items:
            for name, tags in zip(names, items, strict=True):
                if isinstance(tags, Skipped):
                    skipped.append(tags)
                else:
                    path = (self.folder / name).absolute()
                    # What `load` says names the picture as `image` does.
                    load = partial(read_picture, path)
                    pictures.append(GeotaggedPicture(id=name, image=path.as_posix(), load=load, **vars(tags)))
                if on_progress is not None:
                    on_progress(1)
        return pictures, skipped

    def locate(self, on_progress: Callable[[int], None] | None = None) -> Locations:
        """Finds the same positions as `scan` in a fraction of its time and memory, ordered by name as text.

        Args:
            on_progress: called with the number of pictures looked at since its last call.
        """
        names, skipped = self._sorted_names()
        columns = np.empty((3, len(names)))
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK].to_pylist()
            said = parse_at_names(chunk)
            places = columns[:, start : start + _CHUNK]
            places[:2], places[2] = said.plain_positions(self.zone).T, said.heading_deg
            others = np.flatnonzero(np.isnan(places[0]))
            if on_progress is not None:
                on_progress(len(chunk) - len(others))
            with closing(self._tags([chunk[row] for row in others])) as items:
                for row, tags in zip(others, items, strict=True):
                    if isinstance(tags, Skipped):
                        skipped.append(tags)
                    else:
                        places[:, row] = tags.latitude, tags.longitude, tags.heading_deg
                    if on_progress is not None:
                        on_progress(1)
        used = np.isfinite(columns[0])
        latitude, longitude, heading_deg = columns[:, used]
        return Locations(names.filter(pa.array(used)), latitude, longitude, heading_deg, skipped)

    def _tags(self, names: Sequence[str]) -> Generator[PictureTags | Skipped, None, None]:
        def read(some: Sequence[str]) -> list[PictureTags | Skipped]:
            return [read_tags(self.folder / name, self.zone) for name in some]

        chunks = (names[start : start + _HEADERS_AT_ONCE] for start in range(0, len(names), _HEADERS_AT_ONCE))
        with closing(ordered_map(read, chunks, workers=_HEADER_READERS, ahead=2 * _HEADER_READERS)) as found:
            for tags in found:
                yield from tags

    def _sorted_names(self) -> tuple[pa.LargeStringArray, list[Skipped]]:
        parts, skipped, found = [pa.array([], pa.large_string())], [], _walk(self.folder)
        while some := list(itertools.islice(found, _CHUNK)):
            parts.append(pa.array([item for item in some if isinstance(item, str)], pa.large_string()))
            skipped += [item for item in some if isinstance(item, Skipped)]
        names = pa.concat_arrays(parts)
        return names.take(pc.array_sort_indices(names)), skipped


def find_pictures(places: Iterable[Path]) -> list[Path]:
    """Files as they are given, and of folders the pictures that `FolderSource` would find, in its order.

    Raises:
        UsageError: there is nothing at one of the places.
        DsformerError: there is no picture below one of the folders.
    """
    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            below = _in_natural_order(_walk(place))
            if not below:
                raise _empty(place)
            paths += [place / name for name in below]
        elif place.exists():
            paths.append(place)
        else:
            raise UsageError(f"{place}: no such file or folder")
    return paths


def _walk(folder: Path) -> Iterator[str | Skipped]:
    """Pictures below a folder, as POSIX paths relative to it, and what stands in the way of finding them."""
    unreadable: list[Skipped] = []

    def note(error: OSError) -> None:
        unreadable.append(Skipped(str(error.filename), error.strerror or "unreadable"))

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=note):
        # A link to a folder above would otherwise lead round in circles.
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for file in files:
            if file.startswith("."):
                continue
            suffix = os.path.splitext(file)[1].lower()  # noqa: PTH122  for millions of files
            path, name = f"{parent}/{file}", prefix + file
            if suffix in UNREAD_SUFFIXES:
                yield Skipped(_printable(path), f"{suffix} files are not read: convert it to JPEG")
            elif suffix in PICTURE_SUFFIXES:
                yield (
                    name if _printable(name) == name else Skipped(_printable(path), "its name is not UTF-8: rename it")
                )
    yield from unreadable


def _printable(name: str) -> str:
    """A name as text that can be written: bytes that are not UTF-8, which Python carries along, become "�"."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "replace")


def _in_natural_order(found: Iterable[str | Skipped]) -> list[str]:
    def key(name: str) -> list[list[tuple[int, int | str]]]:
        return [
            [(0, int(run)) if run.isdecimal() else (1, run) for run in re.split(r"(\d+)", part) if run]
            for part in name.split("/")
        ]

    return sorted((item for item in found if isinstance(item, str)), key=key)


def _empty(folder: Path) -> DsformerError:
    kinds = ", ".join(sorted(PICTURE_SUFFIXES))
    return DsformerError(f"{folder}: holds no pictures, nor does any folder below it (looked for {kinds})")
