"""Videos with a GPX track: which frames are kept, where and when they were taken, and that each is the right one."""

import os
import pickle
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.pictures import PictureError
from dsformer_core.sources import SourceOptions, open_source
from dsformer_core.sources.options import CameraYaw
from dsformer_core.sources.videos import frames
from tests.recordings import LATITUDE, METRES_PER_DEGREE, longitude_after
from tests.videos import number_in, numbered, write_video

CREATED = "2026-05-01T12:00:00.000000Z"
START = datetime(2026, 5, 1, 12, tzinfo=timezone.utc).timestamp()


def write_track(
    path: Path, seconds: int, *, start: float = START, speed: float = 5.0, skip: tuple[int, ...] = ()
) -> Path:
    """A point a second, due east."""
    points = "".join(
        f'<trkpt lat="{LATITUDE}" lon="{longitude_after(speed * second):.9f}"><ele>17</ele>'
        f"<time>{datetime.fromtimestamp(start + second, timezone.utc):%Y-%m-%dT%H:%M:%SZ}</time></trkpt>"
        for second in range(seconds + 1)
        if second not in skip
    )
    path.write_text(
        '<?xml version="1.0"?><gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">'
        f'<trk><trkseg>{points}</trkseg></trk><wpt lat="1" lon="2"/></gpx>'
    )
    return path


def scan(path: Path, track: Path, **options: Any) -> Any:
    return open_source(path, options=SourceOptions(track=track, **options)).scan()


def test_frames_lie_where_the_track_was(tmp_path: Path) -> None:
    shown = write_video(tmp_path / "ride.mp4", 100, created=CREATED, uneven=True)
    track = write_track(tmp_path / "ride.gpx", 20)
    pictures, skipped = scan(tmp_path / "ride.mp4", track, every_metres=0.0)
    assert not skipped and len(pictures) == 100
    time = np.array([picture.timestamp for picture in pictures]) - START
    assert time == pytest.approx(shown, abs=1e-4)
    east = (np.array([picture.longitude for picture in pictures]) - longitude_after(0)) * METRES_PER_DEGREE
    assert east == pytest.approx(5 * time, abs=1e-2)
    assert [picture.heading_deg for picture in pictures] == pytest.approx([90] * 100, abs=0.1)
    assert {(picture.altitude, picture.altitude_reference) for picture in pictures} == {(17.0, "sea level")}
    assert pictures[0].id == "ride.mp4/00000.000" and pictures[0].image == f"{tmp_path}/ride.mp4#t=0.000"
    assert len({picture.id for picture in pictures}) == 100
    order = random.Random(0).sample(range(100), 25)
    assert [number_in(pictures[row].load()) for row in order] == order, "each is exactly the frame of its time"
    assert np.abs(pictures[9].load().astype(int) - numbered(9)).mean() < 4


def test_by_default_a_frame_every_two_metres(tmp_path: Path) -> None:
    write_video(tmp_path / "ride.mp4", 50, created=CREATED)
    pictures, _ = scan(
        tmp_path / "ride.mp4", write_track(tmp_path / "a.gpx", 20, speed=7), camera_yaws=(CameraYaw("", 90),)
    )
    east = (np.array([picture.longitude for picture in pictures]) - longitude_after(0)) * METRES_PER_DEGREE
    assert np.diff(east) == pytest.approx(2.1, abs=0.01)
    assert {round(picture.heading_deg) % 360 for picture in pictures} == {0}


def test_when_it_starts_is_said_by_somebody_or_by_the_file(tmp_path: Path) -> None:
    video, track = tmp_path / "ride.mp4", write_track(tmp_path / "a.gpx", 20)
    write_video(video, 20)
    with pytest.raises(UsageError, match=r"does not say when it starts \(creation_time\): give --start TIME"):
        scan(video, track)
    assert scan(video, track, start=START + 3)[0][0].timestamp == START + 3
    write_video(video, 20, created="2026-05-01T14:00:00Z")
    with pytest.raises(
        DsformerError, match=r"14:00:00 to .* UTC\) and .*12:00:00 to .*local time as UTC: give --time-of"
    ):
        scan(video, track)
    assert scan(video, track, time_offset=-7195.0)[0][0].timestamp == START + 5
    write_video(video, 20, created="1904-01-01T00:00:00Z")
    with pytest.raises(UsageError, match="give --start"):
        scan(video, track)


def test_frames_beyond_the_track_or_in_its_gaps_are_counted(tmp_path: Path) -> None:
    write_video(tmp_path / "ride.mp4", 120, created=CREATED)
    track = write_track(tmp_path / "a.gpx", 10, skip=(3, 4, 5, 6, 7))
    pictures, (skipped,) = scan(tmp_path / "ride.mp4", track, every_metres=0.0)
    # 0 to 2 and 8 to 10 seconds, both ends included.
    assert len(pictures) == 42
    assert skipped.reason == "78 of 120 frames are not between two points at most 5 s apart"


def test_frames_are_decoded_once_and_in_order_for_many_loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, track = tmp_path / "ride.mp4", write_track(tmp_path / "a.gpx", 20)
    write_video(video, 200, created=CREATED, keys=50)
    pictures, _ = pickle.loads(pickle.dumps(scan(video, track, every_metres=2.4)))
    assert len(pictures) == 40
    seeks: list[int] = []
    seek = frames._Decoder._seek

    def count(self: Any, stamp: int) -> None:
        seeks.append(stamp)
        seek(self, stamp)

    monkeypatch.setattr(frames._Decoder, "_seek", count)
    assert [number_in(picture.load(at_least=(40, 40))) for picture in pictures] == list(range(0, 200, 5))
    assert len(seeks) == 4, "to the first frame, and to every key frame that something lies before"
    with ThreadPoolExecutor(4) as executor:
        order = [row for start in range(0, 40, 4) for row in (start + 1, start, start + 3, start + 2)]
        seen = executor.map(lambda row: number_in(pictures[row].load()), order)
        assert list(seen) == [5 * row for row in order]


def test_memory_of_frames_that_were_passed_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_PASSED_BYTES", 2 * numbered(0).nbytes)
    video, track = tmp_path / "ride.mp4", write_track(tmp_path / "a.gpx", 20)
    write_video(video, 100, created=CREATED)
    pictures, _ = scan(video, track, every_metres=0.0)
    for row in (29, 3, 28, 60, 59):
        assert number_in(pictures[row].load()) == row
        assert len(frames._shared_decoder(pictures[0].load.func.__self__)._passed) <= 2


def test_frames_are_no_larger_than_needed_and_upright(tmp_path: Path) -> None:
    video, track = tmp_path / "ride.mp4", write_track(tmp_path / "a.gpx", 20)
    write_video(video, 20, created=CREATED)
    pictures, _ = scan(video, track)
    assert pictures[0].load().shape == (240, 320, 3)
    assert pictures[1].load(at_least=(60, 80)).shape == (80, 107, 3)
    data = video.read_bytes()
    one, whole = (1 << 16).to_bytes(4, "big"), (1 << 30).to_bytes(4, "big")
    plain = one + bytes(12) + one + bytes(12) + whole
    at = data.index(plain, data.index(b"tkhd"))
    # A quarter turn clockwise (ISO 14496-12, 8.3.2), as telephones that are held upright write it.
    turned = bytes(4) + one + bytes(4) + (-(1 << 16)).to_bytes(4, "big", signed=True) + bytes(16) + whole
    stored = number_in(pictures[3].load())
    video.write_bytes(data[:at] + turned + data[at + len(turned) :])
    upright = scan(video, track)[0][3].load()
    assert upright.shape == (320, 240, 3)
    assert number_in(np.rot90(upright)) == stored > 0


def test_a_fork_decodes_for_itself(tmp_path: Path) -> None:
    video, track = tmp_path / "ride.mp4", write_track(tmp_path / "a.gpx", 20)
    write_video(video, 60, created=CREATED)
    pictures, _ = scan(video, track, every_metres=0.0)
    for number in range(4):
        # As many as are kept open: the fork must not close them to make room.
        scan(shutil.copy(video, tmp_path / f"{number}.mp4"), track)[0][0].load()
    assert number_in(pictures[3].load()) == 3
    child = os.fork()
    if not child:
        try:
            good = [number_in(pictures[row].load()) for row in (40, 7, 59)] == [40, 7, 59]
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    assert number_in(pictures[4].load()) == 4
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_wrong_with_a_video_or_its_track_is_one_line(tmp_path: Path) -> None:
    video, track = tmp_path / "ride.mp4", tmp_path / "a.gpx"
    write_video(video, 10, created=CREATED)
    with pytest.raises(UsageError, match=r"ride\.mp4: .*give --track FILE\.gpx"):
        open_source(video)
    with pytest.raises(UsageError, match=r"a\.gpx: No such file"):
        scan(video, track)
    for text in ("no xml", "<html/>", ""):
        track.write_text(text)
        with pytest.raises(DsformerError, match=r"a\.gpx: is not a GPX file|has a position and a time"):
            scan(video, track)
    write_track(track, -1)
    with pytest.raises(DsformerError, match="none of its 0 track points"):
        scan(video, track)
    write_track(track, 20)
    with pytest.raises(UsageError, match=r"a video has one camera: give --camera-yaw DEGREES"):
        scan(video, track, camera_yaws=(CameraYaw("/front", 0),))
    data = video.read_bytes()
    video.write_bytes(data[:100])
    with pytest.raises(DsformerError, match=r"ride\.mp4: is no video that can be read"):
        scan(video, track)
    video.write_bytes(data)
    pictures, _ = scan(video, track)
    video.unlink()
    with pytest.raises(PictureError, match=r"ride\.mp4#t=\d\.\d+: cannot be decoded"):
        pictures[-1].load()
