import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.sources import SourceOptions, open_source

REST = "0 " * 17
LATITUDE, LONGITUDE = 49.015, 8.434


def oxts(latitude: float, longitude: float, yaw: float, accuracy: float = 0.05) -> str:
    """A line of 30 numbers, as the development kit describes it."""
    return f"{latitude} {longitude} 116.4 0.02 0.003 {yaw} {REST}{accuracy} 0.07 4 9 5 5 6"


def stamp(seconds: float) -> str:
    nanoseconds = round(seconds * 1e9)
    return f"2011-09-26 13:02:{nanoseconds // 10**9:02d}.{nanoseconds % 10**9:09d}"


def write_drive(folder: Path, *, cameras: tuple[str, ...] = ("image_00", "image_02"), rate: int = 1) -> Path:
    """Four pictures a tenth of a second apart, 30 ms after a pose; `rate` poses per picture."""
    assert len(oxts(0, 0, 0).split()) == 30
    for camera in cameras:
        (folder / camera / "data").mkdir(parents=True)
        (folder / camera / "timestamps.txt").write_text("".join(f"{stamp(10.03 + n / 10)}\n" for n in range(4)))
        for number in range(4):
            Image.new("L", (40, 30), number).save(folder / camera / "data" / f"{number:010d}.png")
    (folder / "oxts" / "data").mkdir(parents=True)
    (folder / "oxts" / "timestamps.txt").write_text("".join(f"{stamp(10 + n / 10 / rate)}\n" for n in range(5 * rate)))
    for number in range(5 * rate):
        line = oxts(LATITUDE + number / rate * 1e-5, LONGITUDE, math.radians(100 + 10 * number / rate))
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(line)
    return folder


@pytest.mark.parametrize(("name", "rate"), [("2011_09_26_drive_0001_sync", 1), ("2011_09_26_drive_0001_extract", 10)])
def test_pictures_lie_where_the_receiver_was_when_they_were_taken(tmp_path: Path, name: str, rate: int) -> None:
    source = open_source(write_drive(tmp_path / name, rate=rate))
    progress: list[int] = []
    pictures, skipped = source.scan(progress.append)
    assert source.name == name and not skipped and sum(progress) == 4
    assert [picture.id for picture in pictures] == [f"image_02/data/{number:010d}.png" for number in range(4)]
    assert np.diff([picture.timestamp for picture in pictures]) == pytest.approx(0.1, abs=1e-6)
    assert pictures[0].timestamp == pytest.approx(1317042130.03)
    assert [p.latitude for p in pictures] == pytest.approx(LATITUDE + 1e-5 * (np.arange(4) + 0.3), abs=1e-10)
    # Yaw 0 is east, counter-clockwise: 100 degrees look 10 degrees west of north.
    assert [p.heading_deg for p in pictures] == pytest.approx((350 - 10 * (np.arange(4) + 0.3)) % 360, abs=1e-4)
    assert {p.altitude for p in pictures} == {116.4}
    assert [p.load().max() for p in pictures] == [0, 1, 2, 3]


def test_cameras_are_chosen_by_name(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "a")
    both, _ = open_source(drive, options=SourceOptions(topics=("image_00", "image_02"), every_metres=1.5)).scan()
    assert [p.id[:8] for p in both] == ["image_00", "image_00", "image_02", "image_02"], "thinned camera by camera"
    with pytest.raises(UsageError, match="has no camera image_03; there are image_00, image_02"):
        open_source(drive, options=SourceOptions(topics=("image_03",)))
    grey = write_drive(tmp_path / "b", cameras=("image_01",))
    assert open_source(grey).scan()[0][0].id.startswith("image_01/")


def test_lost_frames_and_unsure_positions_are_named(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "a")
    stamps = drive / "image_02" / "timestamps.txt"
    lines = stamps.read_text().splitlines()
    stamps.write_text("\n".join([lines[0], "", *lines[2:]]))
    poses = drive / "oxts" / "data"
    (poses / "0000000004.txt").write_text(oxts(LATITUDE, LONGITUDE, 0, accuracy=20))
    (poses / "0000000002.txt").write_text("49.0 8.4")
    pictures, skipped = open_source(drive).scan()
    assert [p.id[-5:] for p in pictures] == ["0.png", "2.png"]
    reasons = {Path(one.image).name: one.reason for one in skipped}
    assert reasons == {
        "0000000001.png": "no time",
        "0000000003.png": "not taken between two positions of oxts",
        "0000000004.txt": "its position is sure to 20 m only",
        "0000000002.txt": "no time, or no latitude, longitude, altitude, roll, pitch and yaw",
    }
    with pytest.raises(DsformerError, match="none of its 5 positions can be used"):
        open_source(drive, options=SourceOptions(max_position_std=0.01)).scan()
    stamps.write_text("yesterday\n")
    with pytest.raises(DsformerError, match=r"image_02/timestamps\.txt: holds what is no time"):
        open_source(drive).scan()
