"""Written drives: exact in their EXIF data, readable by the ordinary folder source, whole when interrupted."""

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsformer_core.geodesy import UtmZone, grid_convergence, heading_to_yaw, to_utm, wrap_angle
from dsformer_core.sample_world import CONDITIONS, Camera, CameraPose, Town, make_town, render, write_drive
from dsformer_core.sample_world.writing import exif_of
from dsformer_core.sources import open_source

SMALL = Camera(96, 64)


def check_against_truth(picture, pose: CameraPose, town: Town) -> None:
    """Position to a millimetre, heading to a thousandth of a degree, altitude and time."""
    utm = to_utm(picture.latitude, picture.longitude, town.zone)
    assert np.linalg.norm(utm - pose.utm) < 0.001
    convergence = grid_convergence(picture.latitude, picture.longitude, town.zone)
    assert abs(np.degrees(wrap_angle(heading_to_yaw(picture.heading_deg, convergence) - pose.yaw))) < 0.001
    assert picture.altitude == pytest.approx(town.altitude + pose.height, abs=0.001)


def test_a_drive_goes_through_the_folder_source(town: Town, tmp_path: Path) -> None:
    poses = town.drive(2, spacing=12.0, count=11)
    paths = write_drive(town, poses, tmp_path / "new/drive", CONDITIONS["dusk"], 2, camera=SMALL, workers=1)
    assert len(poses) == len(paths)
    pictures, skipped = open_source(tmp_path / "new/drive").scan()
    assert not skipped
    assert [picture.id for picture in pictures] == [path.name for path in paths]
    for picture, pose in zip(pictures, poses, strict=True):
        check_against_truth(picture, pose, town)
        assert picture.load().shape == (64, 96, 3)
    gaps = np.diff([picture.timestamp for picture in pictures])
    assert gaps == pytest.approx(12.0 / 8.0, abs=0.01)
    taken = Image.open(paths[0]).getexif().get_ifd(0x8769)[0x9003]
    assert datetime.strptime(taken, "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc).year == 2025


def test_processes_write_what_one_would(town: Town, tmp_path: Path) -> None:
    poses = town.drive(0, count=9)

    def write(name: str, workers: int) -> list[Path]:
        seen: list[int] = []
        paths = write_drive(
            town, poses, tmp_path / name, CONDITIONS["daylight"], 1,
            camera=SMALL, workers=workers, on_progress=seen.append,
        )  # fmt: skip
        assert sum(seen) == len(poses)
        return paths

    many, one = write("many", 2), write("one", 1)
    assert [p.read_bytes() for p in many] == [p.read_bytes() for p in one]
    decoded = np.asarray(Image.open(one[4]), int)
    assert np.abs(decoded - render(town, poses[4], CONDITIONS["daylight"], SMALL, 1)).mean() < 6


@pytest.mark.parametrize(
    ("zone", "utm"),
    [("33N", (412_000.0, 5_543_000.0)), ("56S", (334_000.0, 6_252_000.0)), ("18N", (230_000.0, 12_000.0))],
)
def test_exif_is_exact_in_every_hemisphere(town: Town, tmp_path: Path, zone: str, utm: tuple[float, float]) -> None:
    place = make_town(town.seed, 120.0, zone=UtmZone.parse(zone), utm=utm, altitude=-3.5)
    poses = place.drive(1, count=2)
    write_drive(place, poses, tmp_path, CONDITIONS["daylight"], camera=Camera(32, 24), workers=1)
    pictures, _ = open_source(tmp_path).scan()
    for picture, pose in zip(pictures, poses, strict=True):
        check_against_truth(picture, pose, place)


@settings(max_examples=60, deadline=None)
@given(st.floats(200_000, 800_000), st.floats(10_000, 9_000_000), st.floats(-np.pi, np.pi))
def test_every_heading_fits_a_compass(town: Town, easting: float, northing: float, yaw: float) -> None:
    pose = CameraPose(easting, northing, yaw)
    gps = exif_of(town, pose, pose.utm).get_ifd(0x8825)
    assert 0 <= float(gps[17]) < 360
    assert gps[16] == "T"
    assert all(0 <= float(part) < 60 for key in (2, 4) for part in gps[key][1:])


def test_gps_noise_moves_what_is_written_and_not_what_is_seen(town: Town, tmp_path: Path) -> None:
    poses = town.drive(0, spacing=2.0, count=24)
    for name, noise in (("exact", 0.0), ("noisy", 3.0)):
        write_drive(
            town, poses, tmp_path / name, CONDITIONS["daylight"], camera=Camera(16, 16), gps_noise=noise, workers=1
        )
    pictures, _ = open_source(tmp_path / "noisy").scan()
    utm = np.array([to_utm(p.latitude, p.longitude, town.zone) for p in pictures])
    errors = utm - [pose.utm for pose in poses]
    assert 1.5 < errors.std() < 4.5
    first = [np.asarray(Image.open(tmp_path / name / "000003.jpg")) for name in ("exact", "noisy")]
    assert np.array_equal(*first)


def test_a_disk_that_fills_up_leaves_whole_pictures_only(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    real = Path.write_bytes

    def full_after_three(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 3:
            real(path, data[:100])
            raise OSError(28, "No space left on device", str(path))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_after_three)
    with pytest.raises(OSError, match="No space left"):
        write_drive(town, town.drive(0, count=6), tmp_path, CONDITIONS["daylight"], camera=SMALL, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]
    for path in tmp_path.iterdir():
        Image.open(path).load()
