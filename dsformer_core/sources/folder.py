"""A folder of pictures that carry their positions: in EXIF, in '@' names, or some in one and some in the other."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.ordered_map import ordered_map
from dsformer_core.pictures import read_picture
from dsformer_core.sources.source import GeotaggedPicture, Skipped
from dsformer_core.sources.tags import read_tags

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".jp2", ".bmp", ".gif", ".ppm", ".pgm"}
)
# What cameras write and nothing here decodes: better named than passed over in silence.
UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"})

_HEADER_READERS = 4


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
        if not any(isinstance(found, Path) for found in _walk(self.folder)):
            raise _empty(self.folder)

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Finds every picture and its position, from its name or its EXIF block. See `Source.scan`."""
        found = list(_walk(self.folder))
        pictures: list[GeotaggedPicture] = []
        skipped = [item for item in found if isinstance(item, Skipped)]
        paths = _in_natural_order(self.folder, found)
        with closing(ordered_map(self._read, paths, workers=_HEADER_READERS, ahead=8 * _HEADER_READERS)) as items:
            for item in items:
                if isinstance(item, Skipped):
                    skipped.append(item)
                else:
                    pictures.append(item)
                if on_progress is not None:
                    on_progress(1)
        return pictures, skipped

    def _read(self, path: Path) -> GeotaggedPicture | Skipped:
        tags = read_tags(path, self.zone)
        if isinstance(tags, Skipped):
            return tags
        return GeotaggedPicture(
            id=path.relative_to(self.folder).as_posix(),
            image=path.absolute().as_posix(),
            # Its messages name the picture as `image` does.
            load=partial(read_picture, path.absolute()),
            **vars(tags),
        )


def find_pictures(places: Iterable[Path]) -> list[Path]:
    """Files as they are given, and of folders the pictures that `FolderSource` would find, in its order.

    Raises:
        UsageError: there is nothing at one of the places.
        DsformerError: there is no picture below one of the folders.
    """
    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            below = _in_natural_order(place, _walk(place))
            if not below:
                raise _empty(place)
            paths += below
        elif place.exists():
            paths.append(place)
        else:
            raise UsageError(f"{place}: no such file or folder")
    return paths


def _walk(folder: Path) -> Iterator[Path | Skipped]:
    """Pictures below a folder, and what stands in the way of finding them."""
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
        for file in files:
            path = Path(parent, file)
            suffix = path.suffix.lower()
            if file.startswith("."):
                continue
            if suffix in PICTURE_SUFFIXES:
                yield path
            elif suffix in UNREAD_SUFFIXES:
                yield Skipped(str(path), f"{suffix} files are not read: convert it to JPEG")
    yield from unreadable


def _in_natural_order(folder: Path, found: Iterable[Path | Skipped]) -> list[Path]:
    def key(path: Path) -> list[list[tuple[int, int | str]]]:
        return [
            [(0, int(run)) if run.isdecimal() else (1, run) for run in re.split(r"(\d+)", part) if run]
            for part in path.relative_to(folder).parts
        ]

    return sorted((item for item in found if isinstance(item, Path)), key=key)


def _empty(folder: Path) -> DsformerError:
    kinds = ", ".join(sorted(PICTURE_SUFFIXES))
    return DsformerError(f"{folder}: holds no pictures, nor does any folder below it (looked for {kinds})")
