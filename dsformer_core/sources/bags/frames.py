"""Pictures of a recording by topic and time, for loaders that ask for neighbours at about the same time.

Recordings are read in order: what lies between two pictures that are asked for is cheaper to pass over than to seek,
and what was passed is kept for a while, because loaders are not quite in order. A process opens a recording once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.image import image_to_cvimage

from dsformer_core.errors import DsformerError
from dsformer_core.image_messages import tight_image
from dsformer_core.pictures import Picture, PictureError, decode_picture
from dsformer_core.sources.bags.recording import Recording
from dsformer_core.sources.shared import Shared

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

# Nanoseconds; further ahead a new start is cheaper, where the recording has an index.
_READ_ON = 250_000_000
# Bytes of messages that were passed and may be asked for yet.
_PASSED_BYTES = 64 * 2**20
_OPEN_RECORDINGS = 4


def image_reference(path: Path, topic: str, received: int) -> str:
    """What a map stores of a picture in a recording: "/drives/a.mcap#/camera/image@1712345678.123456789".

    Args:
        path: of the recording.
        topic: as the recording spells it.
        received: nanoseconds since 1970 when the recorder received the message.
    """
    return f"{path.absolute().as_posix()}#{topic}@{received // 10**9}.{received % 10**9:09d}"


def load_frame(path: Path, topic: str, received: int, *, at_least: tuple[int, int] | None = None) -> Picture:
    """Decodes one picture. Safe to call from any thread.

    Args:
        path: of the recording.
        topic: as the recording spells it.
        received: nanoseconds since 1970 when the recorder received the message.
        at_least: see `read_picture`; raw images are as large as they are.

    Returns:
        HxWx3 uint8 RGB.

    Raises:
        PictureError: names the picture and says what is wrong.
    """
    name = image_reference(path, topic, received)
    try:
        frames = shared_frames(path)
        message, kind = frames.fetch(topic, received)
        if kind == COMPRESSED_IMAGE:
            return decode_picture(bytes(message.data), name, at_least=at_least)
        image = tight_image(message)
    except PictureError:
        raise
    except DsformerError as error:
        raise PictureError(f"{name}: {error}") from error
    to_rgb8: Callable[[Any, str], Any] = image_to_cvimage
    try:
        return to_rgb8(image, "rgb8")
    except Exception as error:  # OpenCV's own, about samples that passed the checks
        raise PictureError(f"{name}: {' '.join(str(error).split())}") from error


class Frames:
    """The messages of one recording by topic and time, from any thread."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet."""
        self._path = path
        self._lock = threading.RLock()
        self._recording: Recording | None = None
        self._topics: set[str] = set()
        self._passed: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._passed_bytes = 0
        self._rewind()

    def fetch(self, topic: str, received: int) -> tuple[Any, str]:
        """One message and its type.

        Raises:
            DsformerError: there is no such message, or the recording cannot be read.
        """
        with self._lock:
            recording = self._opened()
            data = self._passed.get((topic, received)) or self._read(recording, topic, received)
            return recording.deserialize(topic, data), recording.types[topic]

    @contextmanager
    def reading(self) -> Iterator[Recording]:
        """The recording, for one reader alone."""
        with self._lock:
            self._rewind()
            try:
                yield self._opened()
            finally:
                self._rewind()

    def close(self) -> None:
        """Closes the files; who asks for another message opens them again."""
        with self._lock:
            self._rewind()
            self._passed.clear()
            self._passed_bytes = 0
            if self._recording is not None:
                self._recording.close()
                self._recording = None

    def _opened(self) -> Recording:
        if self._recording is None:
            self._recording = Recording(self._path)
        return self._recording

    def _rewind(self, start: int = 0, messages: Iterator[tuple[str, int, bytes]] | None = None) -> None:
        self._position, self._messages = start, messages

    def _read(self, recording: Recording, topic: str, received: int) -> bytes:
        if topic not in recording.types:
            raise DsformerError(f"{self._path}: has no topic {topic}")
        if topic not in self._topics:
            self._topics.add(topic)
            self._rewind()
        far = recording.is_fast_to_seek and received - self._position > _READ_ON
        if self._messages is None or received < self._position or far:
            self._rewind(received, recording.messages(sorted(self._topics), received))
        assert self._messages is not None
        try:
            for found, time, data in self._messages:
                self._position = max(self._position, time)
                self._pass((found, time), data)
                if (found, time) == (topic, received):
                    return data
                if time > received:
                    break
        except DsformerError:
            # What comes after the damage may be good.
            self._rewind()
            raise
        raise DsformerError(f"{self._path}: the picture is no longer in the recording")

    def _pass(self, key: tuple[str, int], data: bytes) -> None:
        # Two messages received in one nanosecond cannot be told apart: the first counts.
        if key in self._passed:
            return
        self._passed[key] = data
        self._passed_bytes += len(data)
        while self._passed_bytes > _PASSED_BYTES and len(self._passed) > 1:
            self._passed_bytes -= len(self._passed.popitem(last=False)[1])


shared_frames = Shared(_OPEN_RECORDINGS, Frames, Frames.close)
"""The messages of a recording, by its path, for all threads of this process."""
