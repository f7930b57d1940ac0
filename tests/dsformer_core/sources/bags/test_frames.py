"""Pictures out of recordings: of every encoding, from many threads and processes, each read once."""

import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dsformer_core.pictures import PictureError
from dsformer_core.sources import SourceOptions, open_source
from dsformer_core.sources.bags import frames
from dsformer_core.sources.bags.recording import Recording
from dsformer_core.sources.options import CameraYaw
from tests.recordings import FORMATS, START, jpeg_of, longitude_after, recording, write_drive

_rows, _columns = np.mgrid[0:48, 0:64]
PICTURE = np.stack([4 * _rows, 3 * _columns, 255 - 2 * _rows - _columns], axis=-1).astype(np.uint8)


def mosaic(order: str) -> np.ndarray:
    """What a sensor sees through colour filters: those at (0,0), (0,1), (1,0), (1,1)."""
    seen = np.empty(PICTURE.shape[:2], np.uint8)
    for position, colour in enumerate(order):
        y, x = divmod(position, 2)
        seen[y::2, x::2] = PICTURE[y::2, x::2, "rgb".index(colour)]
    return seen


GREY = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)
RAW = {
    "rgb8": PICTURE,
    "bgr8": PICTURE[..., ::-1],
    "bgra8": np.dstack([PICTURE[..., ::-1], GREY]),
    "mono8": GREY,
    "mono16": GREY.astype(np.uint16) * 257,
    "bayer_rggb8": mosaic("rggb"),
    "bayer_gbrg16": mosaic("gbrg").astype(np.uint16) * 257,
}


@pytest.mark.parametrize("form", ["mcap", "ros1"])
def test_raw_images_of_every_kind(tmp_path: Path, form: str) -> None:
    with recording(tmp_path, form) as recorder:
        for time, (encoding, pixels) in enumerate(RAW.items()):
            recorder.fix(time, longitude=longitude_after(9 * time))
            recorder.raw(time, pixels, encoding, padding=time % 3 * 4)
    pictures, _ = open_source(recorder.path).scan()
    for picture, encoding in zip(pictures, RAW, strict=True):
        seen = picture.load(at_least=(8, 8))
        assert seen.dtype == np.uint8 and seen.shape == PICTURE.shape
        expected = np.dstack([GREY] * 3) if encoding.startswith("mono") else PICTURE
        # Between the samples of a mosaic colours are interpolated, but not beyond its edge.
        assert np.abs(seen.astype(int) - expected)[2:-2, 2:-2].max() <= 4, encoding


def test_a_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        recorder.fix(0)
        recorder.jpeg(0, jpeg_of(7, (640, 480)))
    ((picture,), _) = open_source(recorder.path).scan()
    assert picture.load().shape == (480, 640, 3)
    assert picture.load(at_least=(200, 200)).shape == (240, 320, 3)


def test_what_cannot_be_decoded_is_named_as_the_map_names_it(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for time, data in enumerate((b"no picture", jpeg_of(7)[:-200], b"")):
            recorder.fix(time, longitude=longitude_after(9 * time))
            recorder.jpeg(time, data)
    pictures, _ = open_source(recorder.path).scan()
    for picture, reason in zip(pictures, ("not a picture", "cut short", "empty"), strict=True):
        with pytest.raises(PictureError, match=reason) as caught:
            picture.load()
        assert str(caught.value).startswith(picture.image + ": ")
    with pytest.raises(PictureError, match="the picture is no longer in the recording"):
        frames.load_frame(recorder.path, "/camera/image/compressed", 5)
    with pytest.raises(PictureError, match="has no topic /other"):
        frames.load_frame(recorder.path, "/other", 5)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Receives the time of every message that is read from now on."""
    read: list[int] = []
    messages = Recording.messages

    def count(self: Recording, *arguments: Any) -> Any:
        for topic, time, data in messages(self, *arguments):
            read.append(time)
            yield topic, time, data

    monkeypatch.setattr(Recording, "messages", count)
    return read


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("threads", [1, 4])
def test_loaders_that_are_nearly_in_order_read_every_message_once(
    tmp_path: Path, form: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recording(tmp_path, form) as recorder:
        for tick in range(200):
            recorder.fix(tick / 10, longitude=longitude_after(1.25 * tick))
            for camera in ("/a", "/b"):
                recorder.jpeg(tick / 10, jpeg_of(tick), topic=camera)
    pictures, _ = open_source(recorder.path, options=SourceOptions(camera_yaws=(CameraYaw("", 0.0),))).scan()
    assert len(pictures) == 200
    read = counted(monkeypatch)
    # A loader may be a few pictures behind the others.
    order = [row for block in range(0, 200, 4) for row in random.Random(block).sample(range(block, block + 4), 4)]
    with ThreadPoolExecutor(threads) as executor:
        seen = list(executor.map(lambda row: round(pictures[row].load().mean()), order))
    assert seen == [round((pictures[row].timestamp - START) * 10) for row in order]
    # Each camera's first picture starts anew; everything else goes on.
    assert len(read) <= 420


@pytest.mark.parametrize("form", ["sqlite3", "mcap"])
def test_what_lies_between_distant_pictures_is_not_read(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_drive(tmp_path, form, seconds=40, speed=0.5)
    pictures, _ = open_source(path).scan()
    assert len(pictures) == pytest.approx(10, abs=1)
    read = counted(monkeypatch)
    assert [round(picture.load().mean()) for picture in pictures] == [int(p.timestamp - START) for p in pictures]
    assert len(read) == len(pictures), "of 201 pictures"
    assert round(pictures[3].load().mean()) == int(pictures[3].timestamp - START), "also backwards"


def test_memory_of_what_was_passed_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_PASSED_BYTES", 5000)
    path = write_drive(tmp_path, "ros1", seconds=20)
    pictures, _ = open_source(path, options=SourceOptions(every_metres=0.0)).scan()
    shared = frames.shared_frames(path)
    for row in (100, 0, 50, 49, 51):
        assert round(pictures[row].load().mean()) == row // 5
        assert sum(map(len, shared._passed.values())) == shared._passed_bytes <= 5000


def test_other_processes_read_for_themselves(tmp_path: Path) -> None:
    """A fork has its parent's files and with them its place in each: it must not use them."""
    pictures, _ = open_source(write_drive(tmp_path, "ros1", seconds=20)).scan()
    pictures = pickle.loads(pickle.dumps(pictures))
    pictures[0].load()
    child = os.fork()
    if not child:
        try:
            good = all(round(p.load().mean()) == int(p.timestamp - START) for p in pictures[::-1])
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    here = [round(picture.load().mean()) == int(picture.timestamp - START) for picture in pictures]
    assert os.waitpid(child, 0)[1] == 0
    assert all(here)


def test_many_recordings_are_not_all_kept_open(tmp_path: Path) -> None:
    sources = [open_source(write_drive(tmp_path, "mcap", name=f"d{number}", seconds=1)) for number in range(6)]
    found = [source.scan()[0][0] for source in sources]
    assert len(frames.shared_frames) <= 4
    assert [round(picture.load().mean()) for picture in found] == [0] * 6
