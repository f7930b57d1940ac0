"""Where geotagged pictures come from.

    >>> source = open_source(Path("drive/"))
    >>> pictures, skipped = source.scan()
    >>> pictures[0].latitude, pictures[0].longitude, pictures[0].load().shape

A new kind of source is a class that fits `Source`, in a file of its own here, and one entry of `kinds.KINDS`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.panoramas import FIELD_OF_VIEW_DEG
from dsformer_core.sources.folder import FolderSource
from dsformer_core.sources.joined import JoinedSource
from dsformer_core.sources.kinds import ALL, KINDS, SourceKind, check_options, kind_of
from dsformer_core.sources.manifest import ManifestSource
from dsformer_core.sources.options import SourceOptions
from dsformer_core.sources.panorama_views import VIEWS, PanoramaViews
from dsformer_core.sources.source import NO_POSITION, GeotaggedPicture, Locations, Skipped, Source
from dsformer_core.sources.thinning import ThinnedSource, Thinning

__all__ = [
    "KINDS",
    "NO_POSITION",
    "FolderSource",
    "GeotaggedPicture",
    "Locations",
    "ManifestSource",
    "Skipped",
    "Source",
    "SourceKind",
    "SourceOptions",
    "Thinning",
    "kind_of",
    "open_source",
    "open_sources",
]


def open_source(path: str | Path, *, zone: UtmZone | None = None, options: SourceOptions | None = None) -> Source:
    """The source that a path stands for; which kind it is, it says itself.

    Args:
        path: a folder of pictures (EXIF, '@' names), a manifest (.csv, .parquet), a bag, a video, a KITTI drive.
        zone: UTM zone of coordinates that come without one.
        options: what else is to be said of it.

    Raises:
        UsageError: there is nothing at `path`, or nothing that pictures come from; an option does not apply to it; a
            manifest lacks a column, a bag a topic.
        DsformerError: there are no pictures in it, or no positions, or it is damaged.
    """
    path = Path(path)
    options = options or SourceOptions()
    if zone is not None:
        options = replace(options, zone=zone)
    kind = kind_of(path)
    check_options(options, [kind], str(path))
    return _open(path, kind, options)


def open_sources(paths: Sequence[str | Path], options: SourceOptions | None = None) -> Source:
    """One source of one path, or of several, one after the other.

    Args:
        paths: at least one, of any kinds.
        options: each is for those of the paths that it applies to.

    Raises:
        UsageError: as for `open_source`; an option applies to none of the paths, or one of these is given twice.
        DsformerError: as for `open_source`.
    """
    if not paths:
        raise UsageError("no source is given")
    options = options or SourceOptions()
    twice = [path for path, times in Counter(Path(path).resolve() for path in paths).items() if times > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given {'twice' if len(paths) == 2 else 'more than once'}: once is enough")
    kinds = [kind_of(Path(path)) for path in paths]
    check_options(options, kinds, ", ".join(map(str, paths)))
    sources = []
    for path, kind in zip(paths, kinds, strict=True):
        sources.append(_open(Path(path), kind, options.only(kind.takes)))
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def _open(path: Path, kind: SourceKind, options: SourceOptions) -> Source:
    thinning = _thinning(kind, options)
    source = kind.open(path, thinning, options)
    if kind.thinning == ALL and thinning != ALL:
        source = ThinnedSource(source, thinning)
    if options.views is None and options.fov is None and options.panoramas is None:
        return source
    return PanoramaViews(
        source,
        views=options.views or VIEWS,
        fov=options.fov or FIELD_OF_VIEW_DEG,
        detect=options.panoramas == "detect",
    )


def _thinning(kind: SourceKind, options: SourceOptions) -> Thinning:
    """As somebody said; where somebody said one of two only, the kind's own is the other."""
    metres, degrees = options.every_metres, options.every_degrees
    return Thinning(
        kind.thinning.every_metres if metres is None else metres,
        kind.thinning.every_degrees if degrees is None else degrees,
    )
