"""A video and the GPX track of the same ride as a source."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.sources.interpolation import compass
from dsformer_core.sources.options import MAX_GAP, SourceOptions
from dsformer_core.sources.source import GeotaggedPicture, Skipped
from dsformer_core.sources.thinning import Thinning
from dsformer_core.sources.track import span
from dsformer_core.sources.videos.frames import Video, read_index
from dsformer_core.sources.videos.gpx import read_gpx


class VideoSource:
    """Frames of a video, thinned, in order of time. The camera goes ahead, unless somebody says where it looks."""

    def __init__(self, path: str | Path, thinning: Thinning, options: SourceOptions) -> None:
        """Reads the track.

        Args:
            path: of the video.
            thinning: which frames are kept.
            options: its track, when it starts, where the camera looks.

        Raises:
            UsageError: no track is named, or there is none.
            DsformerError: the track cannot be read.
        """
        self.path = Path(path)
        self.name = self.path.stem
        self._thinning = thinning
        self._options = options
        if options.track is None:
            raise UsageError(f"{path}: a video does not say where it was taken: give --track FILE.gpx")
        if any(yaw.topic for yaw in options.camera_yaws) or len(options.camera_yaws) > 1:
            raise UsageError(f"{path}: a video has one camera: give --camera-yaw DEGREES")
        self._track = read_gpx(options.track, options.max_gap or MAX_GAP)

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Reads the video's packets, and decodes none. See `Source.scan`."""
        index = read_index(self.path)
        start = self._options.start if self._options.start is not None else index.created
        if start is None:
            raise UsageError(f"{self.path}: does not say when it starts (creation_time): give --start TIME")
        seconds = np.array(index.seconds)
        time = start + (self._options.time_offset or 0.0) + seconds
        track = self._track
        if time[-1] < track.time[0] or time[0] > track.time[-1]:
            raise DsformerError(
                f"{self.path} ({span(time)}) and {self._options.track} ({span(track.time)}) do not overlap in time: "
                "cameras often write local time as UTC: give --time-offset SECONDS or --start TIME"
            )
        if on_progress is not None:
            on_progress(len(time))
        latitude, longitude, altitude = track.position(time)
        yaw = sum(yaw.degrees for yaw in self._options.camera_yaws)
        heading = compass(track.course(time) - yaw)
        placed = np.flatnonzero(np.isfinite(latitude))
        rows = placed[self._thinning.keep(latitude[placed], longitude[placed], heading[placed])]
        video = Video(self.path.absolute(), tuple(index.stamps[row] for row in rows), index.keys)
        # What this process has open may have been replaced since.
        video.close()
        pictures = []
        for row in rows:
            image = f"{video.path.as_posix()}#t={seconds[row]:.3f}"
            pictures.append(
                GeotaggedPicture(
                    id=f"{self.path.name}/{seconds[row]:09.3f}",
                    latitude=float(latitude[row]),
                    longitude=float(longitude[row]),
                    image=image,
                    load=partial(video.load, index.stamps[row], image),
                    altitude=float(altitude[row]),
                    heading_deg=float(heading[row]),
                    timestamp=float(time[row]),
                    altitude_reference=track.altitude_reference,
                    camera_yaw_deg=yaw,
                )
            )
        skipped = []
        if (unplaced := len(time) - len(placed)) > 0:
            reason = f"{unplaced} of {len(time)} frames are not between two points at most {track.max_gap:g} s apart"
            skipped.append(Skipped(str(self.path), reason, unplaced))
        return pictures, skipped
