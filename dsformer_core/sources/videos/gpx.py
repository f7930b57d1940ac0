"""The positions in a GPX file."""

import math
from datetime import timezone
from pathlib import Path

import gpxpy

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.sources.source import why_unusable
from dsformer_core.sources.track import Track


def read_gpx(path: Path, max_gap: float) -> Track:
    """Every point of every track that has a time. Elevations are above the sea, as GPX 1.1 has them.

    Raises:
        UsageError: there is no such file.
        DsformerError: it is no GPX, or has no points with times.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DsformerError(f"{path}: is not a GPX file: not UTF-8") from error
    try:
        tracks = gpxpy.parse(text).tracks
    except Exception as error:  # its own kinds, and those of the XML parser beneath
        raise DsformerError(f"{path}: is not a GPX file: {' '.join(str(error).split())}") from error
    points = [point for track in tracks for segment in track.segments for point in segment.points]
    rows = []
    for point in points:
        if point.time is not None and why_unusable(point.latitude, point.longitude) is None:
            time = point.time if point.time.tzinfo else point.time.replace(tzinfo=timezone.utc)
            elevation = math.nan if point.elevation is None else point.elevation
            rows.append((time.timestamp(), point.latitude, point.longitude, elevation))
    if not rows:
        raise DsformerError(f"{path}: none of its {len(points)} track points has a position and a time")
    return Track.of(rows, "sea level", max_gap)
