"""Frames of a video by their time stamps, for loaders that ask for neighbours at about the same time.

PyAV finds every frame exactly, also where their distances vary and where they are stored in another order than shown.
Between two frames that are asked for the video is decoded on, or sought to a key frame where one lies between.
"""

import bisect
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from dsformer_core.errors import DsformerError
from dsformer_core.pictures import Picture, PictureError
from dsformer_core.sources.shared import Shared
from dsformer_core.sources.times import parse_time

# Bytes of decoded frames that were passed and will be asked for.
_PASSED_BYTES = 128 * 2**20
_OPEN_VIDEOS = 4
# 1980: cameras whose clock was never set count from 1904 or 1970.
_EARLIEST = 315_532_800.0


@dataclass(frozen=True)
class VideoIndex:
    """What is in a video, without its pixels.

    Attributes:
        stamps: time stamps of the frames, ascending.
        keys: those of key frames.
        seconds: (N,) of each frame since the first.
        created: seconds since 1970 when the container says it was made; None where it does not.
    """

    stamps: tuple[int, ...]
    keys: tuple[int, ...]
    seconds: tuple[float, ...]
    created: float | None


def read_index(path: Path) -> VideoIndex:
    """Reads a video's packets; decodes none.

    Raises:
        DsformerError: it is no video.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DsformerError(f"{path}: holds no pictures that move")
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
            stamps = sorted({packet.pts for packet in packets})
            keys = sorted({packet.pts for packet in packets if packet.is_keyframe})
            said = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
            base = stream.time_base
    except (av.FFmpegError, OSError) as error:
        raise DsformerError(f"{path}: is no video that can be read ({_line(error)})") from error
    if not stamps or base is None:
        raise DsformerError(f"{path}: its frames have no times")
    seconds = tuple(float((stamp - stamps[0]) * base) for stamp in stamps)
    return VideoIndex(tuple(stamps), tuple(keys), seconds, _created(said))


@dataclass(frozen=True)
class Video:
    """The frames of a video that will be asked for.

    Attributes:
        path: of the video.
        wanted: their time stamps, ascending.
        keys: time stamps of key frames, ascending.
    """

    path: Path
    wanted: tuple[int, ...]
    keys: tuple[int, ...]

    def load(self, stamp: int, name: str, *, at_least: tuple[int, int] | None = None) -> Picture:
        """Decodes one frame. Safe to call from any thread.

        Args:
            stamp: one of `wanted`.
            name: what messages call the picture.
            at_least: see `read_picture`.

        Returns:
            HxWx3 uint8 RGB.

        Raises:
            PictureError: starts with `name` and says what is wrong.
        """
        try:
            return _shared_decoder(self).read(stamp, at_least)
        except (av.FFmpegError, OSError, LookupError) as error:
            raise PictureError(f"{name}: cannot be decoded ({_line(error)})") from error

    def close(self) -> None:
        """Closes what this process has open of it; who loads a frame opens it again."""
        _shared_decoder(self).close()


class _Decoder:
    """One video, decoded by one thread at a time."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self._wanted = frozenset(video.wanted)
        self._lock = threading.Lock()
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._position: int | None = None
        self._passed: OrderedDict[tuple[int, tuple[int, int] | None], Picture] = OrderedDict()

    def read(self, stamp: int, at_least: tuple[int, int] | None) -> Picture:
        with self._lock:
            picture = self._passed.pop((stamp, at_least), None)
            if picture is not None:
                return picture
            if self._container is None:
                self._container = av.open(str(self._video.path))
                self._container.streams.video[0].thread_type = "AUTO"
            if self._position is None or stamp <= self._position or self._key_before(stamp) > self._position:
                self._seek(stamp)
            return self._decode(stamp, at_least)

    def close(self) -> None:
        with self._lock:
            if self._container is not None:
                self._container.close()
            self._container, self._position = None, None
            self._passed.clear()

    def _key_before(self, stamp: int, back: int = 0) -> int:
        number = bisect.bisect_right(self._video.keys, stamp) - 1 - back
        return self._video.keys[number] if number >= 0 else min(stamp, 0)

    def _seek(self, stamp: int) -> None:
        """Goes to where `stamp` is still to come: some containers seek beyond what they are asked for."""
        stream = self._container.streams.video[0]
        for back in (0, 1, len(self._video.keys)):
            self._container.seek(self._key_before(stamp, back), stream=stream)
            self._frames = self._container.decode(stream)
            first = next(self._frames, None)
            if first is not None and first.pts is not None and first.pts <= stamp:
                break
        if first is None:
            raise LookupError("nothing can be decoded there")
        self._frames = _before(first, self._frames)
        self._position = self._key_before(stamp, back) - 1

    def _decode(self, stamp: int, at_least: tuple[int, int] | None) -> Picture:
        for frame in self._frames:
            if frame.pts is None:
                continue
            self._position = frame.pts
            if frame.pts == stamp:
                return _rgb(frame, at_least)
            if frame.pts > stamp:
                self._position = None
                break
            if frame.pts in self._wanted:
                self._pass((frame.pts, at_least), _rgb(frame, at_least))
        raise LookupError("the frame is missing")

    def _pass(self, key: tuple[int, tuple[int, int] | None], picture: Picture) -> None:
        self._passed[key] = picture
        while len(self._passed) > 1 and sum(one.nbytes for one in self._passed.values()) > _PASSED_BYTES:
            self._passed.popitem(last=False)


_shared_decoder = Shared(_OPEN_VIDEOS, _Decoder, _Decoder.close)


def _rgb(frame: Any, at_least: tuple[int, int] | None) -> Picture:
    width, height = frame.width, frame.height
    if at_least is not None:
        # The longer side for both, because the picture may yet be turned.
        scale = min(1.0, max(at_least) / min(width, height))
        width, height = round(width * scale), round(height * scale)
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    # Telephones store what is upright to people sideways, and say how far to turn it.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def _before(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _created(text: str | None) -> float | None:
    try:
        created = parse_time(text) if text else 0.0
    except ValueError:
        return None
    return created if created > _EARLIEST else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
