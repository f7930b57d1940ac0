"""Pictures of recordings: which are kept, and where, when and in which direction they were taken."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from scipy.spatial.transform import Rotation

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.sources import GeotaggedPicture, Skipped, SourceOptions, open_source
from dsformer_core.sources.local_frame import LocalFrame
from dsformer_core.sources.options import CameraYaw
from tests.recordings import FORMATS, LATITUDE, METRES_PER_DEGREE, START, longitude_after, recording, write_drive

EVERY = {"every_metres": 0.0}


def scan(path: Path, **options: Any) -> tuple[list[GeotaggedPicture], list[Skipped]]:
    return open_source(path, options=SourceOptions(**options)).scan()


def metres(pictures: list[GeotaggedPicture]) -> np.ndarray:
    """How far east of the first fix the pictures were taken."""
    return (np.array([picture.longitude for picture in pictures]) - longitude_after(0)) * METRES_PER_DEGREE


def headings(pictures: list[GeotaggedPicture]) -> np.ndarray:
    return np.array([picture.heading_deg for picture in pictures])


@pytest.mark.parametrize("form", FORMATS)
def test_pictures_lie_where_the_vehicle_was_when_they_were_taken(tmp_path: Path, form: str) -> None:
    progress: list[int] = []
    source = open_source(write_drive(tmp_path, form, speed=5), options=SourceOptions(**EVERY))
    pictures, skipped = source.scan(progress.append)
    assert source.name == "drive" and not skipped
    assert len(pictures) == sum(progress) == 51
    time = np.array([picture.timestamp for picture in pictures]) - START
    assert time == pytest.approx(np.arange(51) / 5, abs=1e-6)
    assert metres(pictures) == pytest.approx(5 * time, abs=1e-3)
    assert {picture.latitude for picture in pictures} == {LATITUDE}
    assert headings(pictures) == pytest.approx(90, abs=0.01)
    assert {(picture.altitude, picture.altitude_reference) for picture in pictures} == {(80.0, "ellipsoid")}
    assert len({picture.id for picture in pictures}) == 51
    assert pictures[7].id == "camera/image/compressed/1700000001.400000000"
    path = (tmp_path / ("drive.bag" if form == "ros1" else "drive")).as_posix()
    assert pictures[7].image == f"{path}#/camera/image/compressed@1700000001.400000000"
    assert [round(pictures[row].load().mean()) for row in (50, 5, 30)] == [10, 1, 6]


def test_by_default_a_picture_every_two_metres_or_thirty_degrees(tmp_path: Path) -> None:
    pictures, skipped = scan(write_drive(tmp_path, "mcap", speed=5.5))
    assert np.diff(metres(pictures)) == pytest.approx(2.2, abs=0.01), "of pictures 1.1 m apart every second"
    assert not skipped, "what is left out because it shows the same is no fault"


def test_standing_still_gives_one_picture(tmp_path: Path) -> None:
    pictures, _ = scan(write_drive(tmp_path, "mcap", speed=0))
    assert len(pictures) == 1
    assert math.isnan(pictures[0].heading_deg), "who stands goes nowhere"


def test_turning_on_the_spot_gives_a_picture_every_thirty_degrees(tmp_path: Path) -> None:
    with recording(tmp_path, "sqlite3") as recorder:
        for tick in range(37):
            recorder.fix(tick)
            recorder.imu(tick, math.radians(10 * tick))
            recorder.jpeg(tick)
    pictures, _ = scan(recorder.path, heading="imu")
    assert headings(pictures) == pytest.approx((90 - np.arange(0, 361, 30)) % 360, abs=1e-6)


def test_the_stamp_counts_and_not_when_the_message_was_received(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(11):
            recorder.fix(tick, longitude=longitude_after(tick))
        recorder.jpeg(5, stamp=2.5)
        recorder.jpeg(6, stamp=-START)
    pictures, _ = scan(recorder.path, **EVERY)
    assert metres(pictures) == pytest.approx([2.5, 6], abs=1e-3), "0 is no stamp"
    assert [round(picture.load().mean()) for picture in pictures] == [5, 6]


def test_nothing_is_guessed_beyond_the_fixes_or_across_a_gap(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for time in (2, 3, 8.5, 9):
            recorder.fix(time, longitude=longitude_after(time))
        for tick in range(12):
            recorder.jpeg(tick)
    pictures, (skipped,) = scan(recorder.path, **EVERY)
    assert [picture.timestamp - START for picture in pictures] == [2, 3, 9]
    assert skipped.image.endswith("/drive#/camera/image/compressed")
    assert skipped.reason == "9 of 12 pictures were not taken between two positions at most 5 s apart"
    assert skipped.count == 9
    bridged, _ = scan(recorder.path, **EVERY, max_gap=6)
    assert [picture.timestamp - START for picture in bridged] == list(range(2, 10))


def test_fixes_without_lock_or_too_unsure_are_refused_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(9):
            recorder.fix(tick, longitude=longitude_after(tick), std=3)
            recorder.jpeg(tick)
        recorder.fix(3.1, 10, 10, status=-1)
        recorder.fix(3.2, math.nan, 10)
        recorder.fix(3.3, 0, 0)
        recorder.fix(3.4, 10, 10, std=11)
        recorder.fix(3.5, 10, 10, std=math.nan)
    pictures, skipped = scan(recorder.path, **EVERY)
    assert metres(pictures) == pytest.approx(np.arange(9), abs=1e-3)
    assert not skipped
    unsure = "2 too unsure (by 11 m; --max-position-std is 10 m)"
    assert f"5 of 14 positions on /fix refused: 2 no usable position, {unsure}, 1 without lock" in caplog.text
    with pytest.raises(DsformerError, match=r"no position can be used: 14 of 14 positions on /fix refused") as caught:
        scan(recorder.path, max_position_std=2.0)
    assert "too unsure (by 3 to 11 m; --max-position-std is 2 m)" in str(caught.value)


def test_a_drive_across_the_date_line(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        recorder.fix(0, 10, 179.9999)
        recorder.fix(2, 10, -179.9999)
        recorder.jpeg(0.5)
    ((picture,), _) = scan(recorder.path)
    assert picture.longitude == pytest.approx(179.99995)
    assert picture.heading_deg == pytest.approx(90, abs=0.01)


# An optical frame that looks ahead: z of it is x of the body, x of it is to the right.
AHEAD = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def mount(recorder: Any, **degrees: float) -> None:
    """One message each: a body's frame turned to the left, and the optical frame in it."""
    for name, yaw in degrees.items():
        recorder.mounting(f"{name}_link", Rotation.from_euler("z", yaw, degrees=True).as_quat())
        recorder.mounting(f"{name}_optical", AHEAD.as_quat(), parent=f"/{name}_link")


@pytest.mark.parametrize("form", FORMATS)
def test_every_camera_looks_as_it_is_mounted(tmp_path: Path, form: str) -> None:
    with recording(tmp_path, form) as recorder:
        mount(recorder, left=90, rear=-170)
        for tick in range(6):
            recorder.fix(tick, longitude=longitude_after(3 * tick))
            recorder.jpeg(tick, topic="/left", frame="left_optical")
            recorder.jpeg(tick, topic="/rear", frame="/rear_optical")
            recorder.jpeg(tick, topic="/body", frame="left_link")
    pictures, _ = scan(recorder.path)
    looked = {topic: [p.heading_deg for p in pictures if p.id.startswith(topic)] for topic in ("left", "rear", "body")}
    assert looked["left"] == pytest.approx([0] * 6, abs=0.01) or looked["left"] == pytest.approx([360] * 6, abs=0.01)
    assert looked["rear"] == pytest.approx([260] * 6, abs=0.01)
    assert looked["body"] == pytest.approx(looked["left"]), "no optical frame: the body looks along its x"
    assert [p.timestamp for p in pictures] == sorted(p.timestamp for p in pictures)
    (left,) = scan(recorder.path, topics=("left",), camera_yaws=(CameraYaw("/left", -90.0),))[0][:1]
    assert left.heading_deg == pytest.approx(180, abs=0.01), "what somebody says counts more than tf"
    other = scan(recorder.path, topics=("rear",), base_frame="left_link")[0]
    assert headings(other) == pytest.approx(350, abs=0.01)
    with pytest.raises(UsageError, match=r"--base-frame wheel is not in /tf_static; its frames: base_link, left_link"):
        scan(recorder.path, base_frame="wheel")


def test_who_has_several_cameras_must_say_where_they_look(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(3):
            recorder.fix(tick, longitude=longitude_after(3 * tick))
            recorder.jpeg(tick, topic="/a", frame="a")
            recorder.jpeg(tick, topic="/b", frame="b")
    with pytest.raises(UsageError, match=r"how /a \(frame 'a'\) is mounted: give --camera-yaw /a=DEGREES"):
        scan(recorder.path)
    with pytest.raises(UsageError, match=r"--camera-yaw /c: its cameras are /a, /b"):
        scan(recorder.path, camera_yaws=(CameraYaw("/c", 0),))
    pictures, _ = scan(recorder.path, camera_yaws=(CameraYaw("a", 30), CameraYaw("b", -30)))
    assert sorted(headings(pictures).round()) == [60] * 3 + [120] * 3
    ahead, _ = scan(recorder.path, topics=("/a",))
    assert headings(ahead) == pytest.approx(90, abs=0.01)
    assert "/tf_static does not say how /a (frame 'a') is mounted: it is taken to look straight ahead" in caplog.text


POSES = ("nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")


@pytest.mark.parametrize("kind", POSES)
@pytest.mark.parametrize("form", ["mcap", "ros1"])
def test_poses_need_a_datum_and_then_are_where_geodesy_puts_them(tmp_path: Path, kind: str, form: str) -> None:
    places = [(0.0, 0.0, 0.0), (3000.0, 0.0, 1.0), (3000.0, -4000.0, 2.0), (-9000.0, 9000.0, 3.0)]
    with recording(tmp_path, form) as recorder:
        for tick, place in enumerate(places):
            recorder.pose(tick, place, yaw=math.radians(10 * tick), kind=kind, std=2)
            recorder.jpeg(tick)
    with pytest.raises(UsageError, match=rf"/odom \({kind}\) gives positions in a frame.*--datum LAT,LON"):
        scan(recorder.path)
    to_earth = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +inv +proj=topocentric +ellps=WGS84 +lon_0=151.2 +lat_0=-33.9 +h_0=20"
        " +step +inv +proj=cart +ellps=WGS84"
    )
    for turn in (90.0, 60.0):
        pictures, _ = scan(recorder.path, datum=LocalFrame(-33.9, 151.2, 20.0, turn), **EVERY)
        x, y, z = np.array(places).T
        angle = math.radians(90 - turn)
        east, north = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
        longitude, latitude, altitude = to_earth.transform(east, north, z)
        assert [p.latitude for p in pictures] == pytest.approx(latitude, abs=1e-9)
        assert [p.longitude for p in pictures] == pytest.approx(longitude, abs=1e-9)
        assert [p.altitude for p in pictures] == pytest.approx(altitude, abs=1e-3)
        assert headings(pictures) == pytest.approx(turn - 10 * np.arange(4), abs=1e-6), "odometry knows its heading"
    if kind != "geometry_msgs/msg/PoseStamped":
        with pytest.raises(DsformerError, match="4 too unsure"):
            scan(recorder.path, datum=LocalFrame(-33.9, 151.2), max_position_std=1.0)


def test_headings_come_from_where_somebody_says(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        recorder.mounting("imu_link", Rotation.from_euler("z", 90, degrees=True).as_quat())
        for tick in range(6):
            recorder.fix(tick, longitude=longitude_after(3 * tick))
            recorder.pose(tick, (0.0, 0.0, 0.0), yaw=math.radians(20))
            recorder.imu(tick, math.radians(130))
            recorder.imu(tick, 0.0, topic="/imu/data_raw", known=False)
            recorder.jpeg(tick)
    assert headings(scan(recorder.path)[0]) == pytest.approx(90, abs=0.01), "auto is motion where fixes are positions"
    assert headings(scan(recorder.path, heading="motion")[0]) == pytest.approx(90, abs=0.01)
    assert headings(scan(recorder.path, heading="odometry")[0]) == pytest.approx(70)
    assert headings(scan(recorder.path, heading="imu")[0]) == pytest.approx(50), "130 - 90 of the mounting"
    turned = scan(recorder.path, heading="odometry", datum=LocalFrame(0, 0, heading_deg=0.0))[0]
    assert headings(turned) == pytest.approx(340)


def test_a_sensor_may_be_mounted_upside_down(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        mounting = Rotation.from_euler("ZX", [30, 180], degrees=True)
        recorder.mounting("imu_link", mounting.as_quat())
        recorder.fix(0)
        recorder.jpeg(0)
        recorder.imu(0, 0.0, orientation=(Rotation.from_euler("z", 70, degrees=True) * mounting).as_quat())
    ((picture,), _) = scan(recorder.path, heading="imu")
    assert picture.heading_deg == pytest.approx(20)


def test_a_heading_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "mcap", seconds=1)
    with pytest.raises(DsformerError, match=r"--heading imu needs a topic of sensor_msgs/msg/Imu; its topics: /camera"):
        scan(path, heading="imu")
    with recording(tmp_path, "mcap", name="raw") as recorder:
        recorder.fix(0)
        recorder.jpeg(0)
        recorder.imu(0, 0.0, known=False)
    with pytest.raises(DsformerError, match=r"/imu/data gives no orientation"):
        scan(recorder.path, heading="imu")


def test_headings_go_the_short_way_round(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for time, heading in ((0, 350), (2, 10)):
            recorder.fix(time)
            recorder.imu(time, math.radians(90 - heading))
        recorder.jpeg(0.5)
    ((picture,), _) = scan(recorder.path, heading="imu")
    assert picture.heading_deg == pytest.approx(355)


def test_of_several_positions_a_satellite_fix_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(4):
            recorder.fix(tick, longitude=longitude_after(tick))
            recorder.fix(tick, 10, 10, topic="/gps_raw/fix")
            recorder.pose(tick, (0.0, 0.0, 0.0))
            recorder.jpeg(tick)
    pictures, _ = scan(recorder.path, **EVERY)
    assert metres(pictures) == pytest.approx(np.arange(4), abs=1e-3)
    assert "positions come from /fix (sensor_msgs/msg/NavSatFix), not from /gps_raw/fix, /odom" in caplog.text
    assert scan(recorder.path, positions="gps_raw/fix")[0][0].latitude == 10


def test_what_is_not_there_is_said_with_the_topics_that_are(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap", name="no_images") as recorder:
        recorder.fix(0)
    with pytest.raises(DsformerError, match=r"holds no images; its topics: /fix \(sensor_msgs/msg/NavSatFix\)$"):
        open_source(recorder.path)
    with recording(tmp_path, "ros1", name="no_positions") as recorder:
        recorder.jpeg(0)
        recorder.imu(0, 0)
    with pytest.raises(DsformerError, match=r"holds no positions .*its topics: /camera.*CompressedImage\), /imu/data"):
        open_source(recorder.path)
    path = write_drive(tmp_path, "mcap", seconds=1)
    with pytest.raises(UsageError, match=r"--topic /fix is of type sensor_msgs/msg/NavSatFix.*its topics: /camera/im"):
        open_source(path, options=SourceOptions(topics=("/fix",)))
    with pytest.raises(UsageError, match=r"has no topic /front \(--topic\); its topics: /camera/image/compressed"):
        open_source(path, options=SourceOptions(topics=("/front",)))
    with pytest.raises(UsageError, match=r"--positions camera/image/compressed is of type .*CompressedImage"):
        open_source(path, options=SourceOptions(positions="camera/image/compressed"))


def test_positions_of_another_time_are_said_with_both_spans(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(3):
            recorder.fix(tick)
            recorder.jpeg(tick, stamp=1000 + tick)
    spans = (
        r"images \(2023-11-14 22:30:00 to .*22:30:02 UTC\) and positions on /fix \(2023-11-14 22:13:20 to .*\) do not"
    )
    with pytest.raises(DsformerError, match=spans):
        scan(recorder.path)


def test_depth_and_twins_are_no_cameras(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey = np.full((8, 8), 5, np.uint8)
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(3):
            recorder.fix(tick, longitude=longitude_after(5 * tick))
            recorder.raw(tick, grey, "mono8", topic="/camera/image")
            recorder.jpeg(tick, topic="/camera/image/compressed")
            recorder.jpeg(tick, topic="/depth/compressedDepth")
            recorder.raw(tick, grey.astype(np.uint16), "16UC1", topic="/depth")
    caplog.set_level(logging.WARNING)
    pictures, _ = scan(recorder.path)
    assert {picture.id.rpartition("/")[0] for picture in pictures} == {"camera/image/compressed"}
    assert "/depth is left out: its images are 16UC1, which are not pictures" in caplog.text
    with pytest.raises(DsformerError, match="/depth: its images are 16UC1"):
        scan(recorder.path, topics=("/depth",))
    raw, _ = scan(recorder.path, topics=("/camera/image",))
    assert {picture.load().mean() for picture in raw} == {5.0}
