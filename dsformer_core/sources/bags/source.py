"""A recording as a source: pictures of its cameras, placed where the vehicle was when they were taken."""

import logging
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.image_messages import ENCODINGS
from dsformer_core.mounting import viewing_yaw
from dsformer_core.sources.bags.frames import image_reference, load_frame, shared_frames
from dsformer_core.sources.bags.mountings import BASE_FRAMES, StaticTransforms
from dsformer_core.sources.bags.positions import IMU, NAV_SAT_FIX, Headings, Positions, stamp
from dsformer_core.sources.bags.recording import Recording
from dsformer_core.sources.bags.topics import choose_topics
from dsformer_core.sources.interpolation import compass
from dsformer_core.sources.local_frame import EAST
from dsformer_core.sources.options import MAX_GAP, MAX_POSITION_STD, SourceOptions
from dsformer_core.sources.source import GeotaggedPicture, Skipped
from dsformer_core.sources.thinning import Thinning
from dsformer_core.sources.track import Track, span

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]


class _Camera:
    """When the pictures of one topic were taken."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.frame_id = ""
        self.encoding = ENCODINGS[0]
        self.taken = array("d")
        self.received = array("q")
        self.damaged = 0

    def take(self, message: Any, received: int) -> None:
        if not self.taken:
            self.frame_id = message.header.frame_id
            self.encoding = getattr(message, "encoding", self.encoding)
        self.taken.append(stamp(message, received))
        self.received.append(received)


class BagSource:
    """Pictures of a recording, thinned for each camera, in the order in which they were taken."""

    def __init__(self, path: str | Path, thinning: Thinning, options: SourceOptions | None = None) -> None:
        """Opens the recording and chooses its topics.

        Args:
            path: a .bag, .db3 or .mcap file, or a folder of them.
            thinning: which pictures of a camera are kept.
            options: which topics, where headings come from, where cameras look.

        Raises:
            UsageError: an option names what is not there.
            DsformerError: it cannot be read, or holds no images or no positions.
        """
        self.path = Path(path)
        self.name = self.path.resolve().stem
        self._thinning = thinning
        self._options = options or SourceOptions()
        frames = shared_frames(self.path.absolute())
        # What this process has open may have been replaced since.
        frames.close()
        with frames.reading() as recording:
            self._topics = choose_topics(recording, self._options)
            for yaw in self._options.camera_yaws:
                if yaw.topic and recording.named(yaw.topic) not in self._topics.images:
                    cameras = ", ".join(self._topics.images)
                    raise UsageError(f"{self.path}: --camera-yaw {yaw.topic}: its cameras are {cameras}")

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Reads the recording once; decodes no picture. See `Source.scan`."""
        options, chosen = self._options, self._topics
        cameras = {topic: _Camera(topic) for topic in chosen.images}
        transforms = StaticTransforms()
        with shared_frames(self.path.absolute()).reading() as recording:
            is_pose = recording.types[chosen.positions] != NAV_SAT_FIX
            max_std = options.max_position_std or MAX_POSITION_STD
            positions = Positions(options.datum if is_pose else None, max_std)
            is_imu = chosen.heading is not None and recording.types[chosen.heading] == IMU
            headings = Headings(options.datum.heading_deg if options.datum and not is_imu else EAST)
            readers: dict[str, list[Callable[[Any, int], None]]] = {topic: [] for topic in chosen.all()}
            readers[chosen.positions].append(positions.take)
            if chosen.heading is not None:
                readers[chosen.heading].append(headings.take)
            for topic in chosen.transforms:
                readers[topic].append(lambda message, _: transforms.take(message))
            for topic, camera in cameras.items():
                readers[topic].append(camera.take)
            self._read(recording, cameras, readers, on_progress)
        track = positions.track(options.max_gap or MAX_GAP)
        used = self._with_pictures(list(cameras.values()))
        self._check(positions, headings, track, used)
        pictures, skipped = [], []
        base_heading = self._base_heading(track, headings, transforms, is_imu)
        for camera in used:
            yaw = self._camera_yaw(camera, len(used), transforms)
            found, left_out = self._pictures(camera, track, base_heading, yaw)
            pictures += found
            skipped += left_out
        return sorted(pictures, key=lambda picture: picture.timestamp), skipped

    def _read(
        self,
        recording: Recording,
        cameras: dict[str, _Camera],
        readers: dict[str, list[Callable[[Any, int], None]]],
        on_progress: Callable[[int], None] | None,
    ) -> None:
        damaged: DsformerError | None = None
        for topic, received, data in recording.messages(list(readers)):
            if topic in cameras and on_progress is not None:
                on_progress(1)
            try:
                message = recording.deserialize(topic, data)
            except DsformerError as error:
                damaged = damaged or error
                if topic in cameras:
                    cameras[topic].damaged += 1
                continue
            for take in readers[topic]:
                take(message, received)
        if damaged is not None and not any(camera.taken for camera in cameras.values()):
            raise damaged

    def _with_pictures(self, cameras: list[_Camera]) -> list[_Camera]:
        """Those that send pictures, and not depth."""
        used = []
        for camera in cameras:
            if camera.encoding not in ENCODINGS:
                reason = f"its images are {camera.encoding}, which are not pictures"
                if self._options.topics or len(cameras) == 1:
                    raise DsformerError(f"{self.path}: {camera.topic}: {reason}")
                log.warning("%s: %s is left out: %s", self.path, camera.topic, reason)
            elif camera.taken:
                used.append(camera)
        if not used:
            raise DsformerError(f"{self.path}: there are no images on {', '.join(self._topics.images)}")
        return used

    def _check(self, positions: Positions, headings: Headings, track: Track, cameras: list[_Camera]) -> None:
        """Says what was refused, and stops where nothing is left or nothing fits together."""
        topic = self._topics.positions
        reasons = positions.refusals()
        refused = f"{positions.refused.total()} of {positions.read} positions on {topic} refused: {reasons}"
        if not len(track.time):
            why = refused if reasons else f"{topic} has no messages"
            raise DsformerError(f"{self.path}: no position can be used: {why}")
        if reasons:
            log.warning("%s: %s", self.path, refused)
        taken = np.concatenate([np.frombuffer(camera.taken) for camera in cameras])
        if taken.max() < track.time[0] or taken.min() > track.time[-1]:
            raise DsformerError(
                f"{self.path}: images ({span(taken)}) and positions on {topic} ({span(track.time)}) do not overlap in "
                "time: their stamps come from clocks that disagree"
            )
        if self._topics.heading is not None and not headings.known:
            raise DsformerError(
                f"{self.path}: {self._topics.heading} gives no orientation: take the heading from motion (--heading)"
            )

    def _base_heading(
        self, track: Track, headings: Headings, transforms: StaticTransforms, is_imu: bool
    ) -> Callable[[Array], Array]:
        if self._topics.heading is None:
            return track.course
        base = self._base_frame(transforms) if is_imu else None
        mounting = None if base is None else transforms.rotation(base, headings.frame_id)
        return lambda time: headings.at(time, track.max_gap, mounting)

    def _base_frame(self, transforms: StaticTransforms) -> str | None:
        known, wanted = transforms.frames(), self._options.base_frame
        if wanted is None:
            return next((frame for frame in BASE_FRAMES if frame in known), None)
        if wanted.strip("/") not in known:
            frames = ", ".join(sorted(known)) or "none"
            raise UsageError(f"{self.path}: --base-frame {wanted} is not in /tf_static; its frames: {frames}")
        return wanted

    def _camera_yaw(self, camera: _Camera, cameras: int, transforms: StaticTransforms) -> float:
        """Degrees counter-clockwise from the vehicle's x axis: as somebody said, as mounted, or straight ahead."""
        for yaw in self._options.camera_yaws:
            if yaw.topic.strip("/") in ("", camera.topic.strip("/")):
                return yaw.degrees
        base = self._base_frame(transforms)
        rotation = None if base is None else transforms.rotation(base, camera.frame_id)
        if rotation is not None:
            return float(np.degrees(viewing_yaw(rotation.as_quat())))
        unknown = f"/tf_static does not say how {camera.topic} (frame '{camera.frame_id}') is mounted"
        if cameras > 1:
            raise UsageError(f"{self.path}: {unknown}: give --camera-yaw {camera.topic}=DEGREES, or --base-frame")
        log.warning("%s: %s: it is taken to look straight ahead; else give --camera-yaw", self.path, unknown)
        return 0.0

    def _pictures(
        self, camera: _Camera, track: Track, base_heading: Callable[[Array], Array], yaw: float
    ) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        time, first = np.unique(np.frombuffer(camera.taken), return_index=True)
        received = np.frombuffer(camera.received, np.int64)[first]
        # A picture is named by when it was received; of two at once the reader finds the first.
        received, distinct = np.unique(received, return_index=True)
        time = time[distinct]
        latitude, longitude, altitude = track.position(time)
        placed = np.isfinite(latitude)
        heading = compass(base_heading(time) - yaw)
        rows = np.flatnonzero(placed)
        rows = rows[self._thinning.keep(latitude[rows], longitude[rows], heading[rows])]
        path = self.path.absolute()
        pictures = [
            GeotaggedPicture(
                id=f"{camera.topic.strip('/')}/{received[row] // 10**9}.{received[row] % 10**9:09d}",
                latitude=float(latitude[row]),
                longitude=float(longitude[row]),
                image=image_reference(path, camera.topic, int(received[row])),
                load=partial(load_frame, path, camera.topic, int(received[row])),
                altitude=float(altitude[row]),
                heading_deg=float(heading[row]),
                timestamp=float(time[row]),
                altitude_reference=track.altitude_reference,
                camera_yaw_deg=yaw,
            )
            for row in rows
        ]
        return pictures, self._left_out(camera, len(time), int(np.count_nonzero(~placed)), track.max_gap)

    def _left_out(self, camera: _Camera, read: int, unplaced: int, max_gap: float) -> list[Skipped]:
        image = f"{self.path.absolute().as_posix()}#{camera.topic}"
        skipped = []
        if unplaced:
            reason = f"{unplaced} of {read} pictures were not taken between two positions at most {max_gap:g} s apart"
            skipped.append(Skipped(image, reason, unplaced))
        if (same := len(camera.taken) - read) > 0:
            skipped.append(Skipped(image, f"{same} pictures have the stamp of another", same))
        if camera.damaged:
            skipped.append(Skipped(image, f"{camera.damaged} messages are damaged", camera.damaged))
        return skipped
