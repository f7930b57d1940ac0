"""Position, heading and time from a picture's EXIF block (EXIF 2.32, section 4.6: GPS attribute information)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from PIL.ExifTags import GPS, IFD, Base

from dsformer_core.pictures import PictureError, open_picture
from dsformer_core.sources.source import LATEST_TIMESTAMP, AltitudeReference


@dataclass(frozen=True)
class PictureTags:
    """Where and when a picture was taken; NaN wherever it does not say so usably.

    Attributes:
        latitude: degrees, WGS-84.
        longitude: degrees, WGS-84.
        altitude: metres above `altitude_reference`.
        heading_deg: of the optical axis, degrees clockwise from north, [0, 360). A direction that refers to magnetic
            north is taken as it is: it may be off by the local declination, which is a few degrees in most places.
        timestamp: seconds since 1970, UTC.
        altitude_reference: what the altitude is measured from.
    """

    latitude: float
    longitude: float
    altitude: float
    heading_deg: float
    timestamp: float
    altitude_reference: AltitudeReference


def read_exif(path: Path) -> PictureTags:
    """Reads a picture's header, not its pixels.

    Raises:
        PictureError: the file cannot be opened as a picture.
    """
    with open_picture(path) as image:
        try:
            exif = image.getexif()
            gps, details, modified = exif.get_ifd(IFD.GPSInfo), exif.get_ifd(IFD.Exif), exif.get(Base.DateTime)
        except Exception as error:  # Pillow's parser lets many kinds escape
            raise PictureError(f"{path}: damaged EXIF block ({error})") from error
    return parse_exif(gps, details, modified)


def parse_exif(gps: Mapping[int, Any], details: Mapping[int, Any], modified: Any = None) -> PictureTags:
    """The same from the two EXIF directories.

    Args:
        gps: GPS directory by tag number.
        details: Exif directory by tag number.
        modified: the DateTime tag, which stands in where DateTimeOriginal is missing.
    """
    altitude_code = _byte(gps.get(GPS.GPSAltitudeRef))
    altitude = _number(gps.get(GPS.GPSAltitude))
    direction = _number(gps.get(GPS.GPSImgDirection))
    return PictureTags(
        latitude=_degrees(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), "N", "S"),
        longitude=_degrees(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), "E", "W"),
        altitude=-altitude if altitude_code in (1, 3) else altitude,
        heading_deg=direction % 360 if 0 <= direction <= 360 else math.nan,
        timestamp=_timestamp(gps, details, modified),
        altitude_reference=_altitude_reference(altitude, altitude_code, details),
    )


def _altitude_reference(altitude: float, code: int, details: Mapping[int, Any]) -> AltitudeReference:
    """Codes 0 and 1 are of the sea level up to EXIF 2.32, of the ellipsoid from 3.0 on; 2 and 3 of the sea level."""
    if math.isnan(altitude) or code > 3:
        return "unknown"
    return "ellipsoid" if code < 2 and _text(details.get(Base.ExifVersion)) >= "0300" else "sea level"


def _timestamp(gps: Mapping[int, Any], details: Mapping[int, Any], modified: Any) -> float:
    """The camera's clock where its offset from UTC is known, else the satellites', else the camera's as if UTC."""
    taken = _clock(details.get(Base.DateTimeOriginal, modified))
    digits = _text(details.get(Base.SubsecTimeOriginal))
    if re.fullmatch("[0-9]+", digits):
        taken += float(f"0.{digits}")
    taken_utc = taken - _offset(details.get(Base.OffsetTimeOriginal))
    satellites = _satellite_time(gps)
    return next((seconds for seconds in (taken_utc, satellites, taken) if not math.isnan(seconds)), math.nan)


def _satellite_time(gps: Mapping[int, Any]) -> float:
    date = _clock(f"{_text(gps.get(GPS.GPSDateStamp))} 00:00:00")
    time = gps.get(GPS.GPSTimeStamp)
    if not isinstance(time, tuple | list) or len(time) != 3:
        return math.nan
    hours, minutes, seconds = (_number(part) for part in time)
    since_midnight = hours * 3600 + minutes * 60 + seconds
    return date + since_midnight if 0 <= since_midnight <= 86_400 else math.nan


def _offset(value: Any) -> float:
    """Seconds of an offset from UTC such as "+02:00"; NaN for none."""
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", _text(value).replace("Z", "+00:00"))
    if not match:
        return math.nan
    offset = int(match[2]) * 3600 + int(match[3]) * 60
    return -offset if match[1] == "-" else offset


def _clock(value: Any) -> float:
    """An EXIF date and time as if it were UTC; cameras without a set clock write zeros, blanks or the year 1."""
    try:
        moment = datetime.strptime(_text(value).replace("-", ":"), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return math.nan
    seconds = moment.replace(tzinfo=timezone.utc).timestamp()
    return seconds if abs(seconds) <= LATEST_TIMESTAMP else math.nan


def _degrees(value: Any, reference: Any, positive: str, negative: str) -> float:
    """Degrees, minutes and seconds with their hemisphere -> signed degrees; NaN without a hemisphere."""
    sign = {positive: 1, negative: -1}.get(_text(reference).upper()[:1])
    parts = [_number(part) for part in value] if isinstance(value, tuple | list) else [_number(value)]
    if sign is None or not 1 <= len(parts) <= 3:
        return math.nan
    return sign * sum(part / 60**place for place, part in enumerate(parts))


def _number(value: Any) -> float:
    """A rational; cameras write 0/0 for unknown."""
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan


def _byte(value: Any) -> int:
    if isinstance(value, bytes):
        return value[0] if value else 0
    return value if isinstance(value, int) else 0


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""
