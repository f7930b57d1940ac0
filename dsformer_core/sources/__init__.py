"""Where geotagged pictures come from.

    >>> source = open_source(Path("drive/"))
    >>> pictures, skipped = source.scan()
    >>> pictures[0].latitude, pictures[0].longitude, pictures[0].load().shape

A new kind of source is one file here with a class that fits `Source`, and one line in `open_source`.
"""

from pathlib import Path

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.sources.folder import FolderSource
from dsformer_core.sources.manifest import MANIFEST_SUFFIXES, ManifestSource
from dsformer_core.sources.source import NO_POSITION, GeotaggedPicture, Locations, Skipped, Source

__all__ = [
    "NO_POSITION",
    "FolderSource",
    "GeotaggedPicture",
    "Locations",
    "ManifestSource",
    "Skipped",
    "Source",
    "open_source",
]


def open_source(path: str | Path, *, zone: UtmZone | None = None) -> Source:
    """The source that a path stands for.

    Args:
        path: a folder of pictures (EXIF, '@' names), or a manifest (.csv, .parquet).
        zone: UTM zone of coordinates that come without one.

    Raises:
        UsageError: there is nothing at `path`, or nothing that pictures come from; a manifest lacks a column.
        DsformerError: there are no pictures in it, or a manifest is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return FolderSource(path, zone=zone)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return ManifestSource(path, zone=zone)
    raise UsageError(f"{path}: give a folder of pictures, or a manifest ({' or '.join(MANIFEST_SUFFIXES)})")
