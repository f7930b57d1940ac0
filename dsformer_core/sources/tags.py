"""What a picture file says about where and when it was taken, in its name or in its EXIF block."""

from pathlib import Path

from dsformer_core.geodesy import UtmZone
from dsformer_core.pictures import PictureError
from dsformer_core.sources.at_names import parse_at_name
from dsformer_core.sources.exif import PictureTags, read_exif
from dsformer_core.sources.source import Skipped, why_unusable


def read_tags(path: Path, zone: UtmZone | None) -> PictureTags | Skipped:
    """Reads the name and, where that gives no usable position, the picture's header.

    Args:
        path: of the picture.
        zone: of '@' names that give UTM coordinates without a zone.

    Returns:
        Tags with a position that a map can hold, or why there are none.
    """
    name = parse_at_name(path)
    reason: str | None = None
    if name is not None:
        position = name.position(zone)
        if position is None:
            reason = f"its name gives UTM coordinates {name.why_unplaced(zone)}"
        elif (reason := why_unusable(*position)) is None:
            return PictureTags(*position, name.height, name.heading_deg, name.timestamp, "unknown")
    try:
        tags = read_exif(path)
    except PictureError as error:
        return Skipped(str(path), reason or str(error).removeprefix(f"{path}: "))
    unusable = why_unusable(tags.latitude, tags.longitude)
    return tags if unusable is None else Skipped(str(path), reason or unusable)
