"""A drive of KITTI's raw data: pictures of up to four cameras that look ahead, and the poses of an OXTS receiver.

    2011_09_26_drive_0001_sync/ (or _extract)
      image_00 … image_03/data/0000000000.png, image_02/timestamps.txt
      oxts/data/0000000000.txt, oxts/timestamps.txt

A line of oxts/data begins with latitude, longitude (degrees), altitude (metres), roll, pitch and yaw (radians; yaw 0 is
east, counter-clockwise); its 24th number is the accuracy of the position in metres.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.pictures import read_picture
from dsformer_core.sources.interpolation import compass, interpolate
from dsformer_core.sources.options import MAX_GAP, MAX_POSITION_STD, SourceOptions
from dsformer_core.sources.source import GeotaggedPicture, Skipped, why_unusable
from dsformer_core.sources.times import parse_time
from dsformer_core.sources.track import Track

Array = npt.NDArray[np.float64]

CAMERAS = ("image_00", "image_01", "image_02", "image_03")
# Left, in colour. Its neighbours see the same half a metre further left or right.
DEFAULT_CAMERA = "image_02"

_YAW, _ACCURACY = 5, 23


def is_kitti_drive(path: Path) -> bool:
    """Whether a folder has the layout of a drive."""
    return (path / "oxts" / "data").is_dir() and any((path / camera / "data").is_dir() for camera in CAMERAS)


class KittiSource:
    """Pictures of a drive, camera by camera, in order of time."""

    def __init__(self, path: str | Path, options: SourceOptions | None = None) -> None:
        """Looks which cameras there are.

        Args:
            path: folder of the drive.
            options: which cameras, and how sure positions must be.

        Raises:
            UsageError: a camera is not there.
        """
        self.path = Path(path)
        self.name = self.path.resolve().name
        self._options = options or SourceOptions()
        there = [camera for camera in CAMERAS if (self.path / camera / "data").is_dir()]
        self._cameras = self._options.topics or (DEFAULT_CAMERA if DEFAULT_CAMERA in there else there[0],)
        for camera in self._cameras:
            if camera not in there:
                raise UsageError(f"{self.path}: has no camera {camera}; there are {', '.join(there)}")

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Reads poses and times. See `Source.scan`."""
        track, heading_deg, skipped = self._poses()
        pictures: list[GeotaggedPicture] = []
        for camera in self._cameras:
            files = sorted((self.path / camera / "data").glob("*.png"))
            times = _times(self.path / camera / "timestamps.txt")
            time = np.array([times.get(file.stem, math.nan) for file in files])
            latitude, longitude, altitude = track.position(time)
            headings = compass(interpolate(track.time, heading_deg, time, track.max_gap, period=360))
            for row, file in enumerate(files):
                if on_progress is not None:
                    on_progress(1)
                if math.isnan(latitude[row]):
                    reason = "no time" if math.isnan(time[row]) else "not taken between two positions of oxts"
                    skipped.append(Skipped(str(file), reason))
                    continue
                pictures.append(
                    GeotaggedPicture(
                        id=file.relative_to(self.path).as_posix(),
                        latitude=float(latitude[row]),
                        longitude=float(longitude[row]),
                        image=file.absolute().as_posix(),
                        load=partial(read_picture, file.absolute()),
                        altitude=float(altitude[row]),
                        heading_deg=float(headings[row]),
                        timestamp=float(time[row]),
                    )
                )
        return pictures, skipped

    def _poses(self) -> tuple[Track, Array, list[Skipped]]:
        """Where the vehicle was, its heading at the track's times, and what was refused."""
        skipped: list[Skipped] = []
        rows: list[tuple[float, float, float, float, float]] = []
        folder = self.path / "oxts"
        times = _times(folder / "timestamps.txt")
        for file in sorted((folder / "data").glob("*.txt")):
            try:
                numbers = [float(word) for word in file.read_text(encoding="ascii").split()]
                time, latitude, longitude, altitude = times[file.stem], *numbers[:3]
                yaw, accuracy = numbers[_YAW], numbers[_ACCURACY] if len(numbers) > _ACCURACY else 0.0
            except (ValueError, IndexError, KeyError):
                skipped.append(Skipped(str(file), "no time, or no latitude, longitude, altitude, roll, pitch and yaw"))
                continue
            reason = why_unusable(latitude, longitude)
            if reason is None and not accuracy <= (self._options.max_position_std or MAX_POSITION_STD):
                reason = f"its position is sure to {accuracy:g} m only"
            if reason is None:
                rows.append((time, latitude, longitude, altitude, yaw))
            else:
                skipped.append(Skipped(str(file), reason))
        if not rows:
            raise DsformerError(f"{folder}: none of its {len(skipped)} positions can be used")
        table = np.array(rows)
        _, first = np.unique(table[:, 0], return_index=True)
        track = Track.of(table[:, :4].tolist(), "unknown", self._options.max_gap or MAX_GAP)
        return track, 90 - np.degrees(table[first, 4]), skipped


def _times(file: Path) -> dict[str, float]:
    """Seconds since 1970 by name of file, which is the number of the line; those of files that were lost are empty."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return {f"{number:010d}": parse_time(line) for number, line in enumerate(lines) if line.strip()}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "holds what is no time"
        raise DsformerError(f"{file}: {reason}") from error
