"""A recording is enough to replay a drive: its odometry is read as the node would take it, by the pictures' stamps."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.evaluation.sequence_odometry import choose_odometry, recorded_odometry
from dsformer_core.localization.fusion import tracker
from dsformer_core.localization.fusion.odometry import Odometry
from dsformer_core.localization.fusion.replay import Drive, ask_fused, describe_drive, made_odometry
from dsformer_core.place_map import PlaceMap
from dsformer_core.sources import SourceOptions, open_source
from dsformer_core.sources.local_frame import LocalFrame
from dsformer_core.sources.options import CameraYaw
from tests.recordings import FORMATS, START, jpeg_of, longitude_after, recording, write_drive
from tests.synthetic import ORIGIN, ArrayExtractor, unit, write_map

NO_OPTIONS = SourceOptions()
TWIST = (0.0, 0.0, math.sin(0.25), math.cos(0.25))


def write_odometry(folder: Path, form: str, **topics: int) -> Path:
    """A recording with a fix, and so many messages of odometry on each topic."""
    with recording(folder, form) as recorder:
        recorder.fix(0.0)
        for topic, count in topics.items():
            for tick in range(count):
                recorder.pose(tick, (2.0 * tick, 0.0, 0.0), topic=f"/{topic}")
    return recorder.path


@pytest.mark.parametrize("form", FORMATS)
def test_poses_come_by_their_headers_with_their_covariances(tmp_path: Path, form: str) -> None:
    with recording(tmp_path, form) as recorder:
        recorder.fix(0.0)
        for tick in range(4):
            recorder.pose(0.1 * tick, (tick, -tick, 9.0), 0.5, std=0.1 * tick, received=100.0 + tick)
    found = recorded_odometry(recorder.path)
    assert found.words == f"{recorder.path}:/odom"
    assert found.moves is not None and found.covariances is not None
    assert found.moves[:, 0] - START == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-6)
    assert found.moves[:, 1:] == pytest.approx(np.array([[tick, -tick, 0.5] for tick in range(4)]))
    assert np.isnan(found.covariances[0]).all(), "all zero is how ROS says that it is unknown"
    assert found.covariances[3] == pytest.approx(0.09 * np.eye(3))


@pytest.mark.parametrize("form", FORMATS)
def test_what_the_node_does_not_use_is_left_out_and_counted(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    with recording(tmp_path, form) as recorder:
        recorder.pose(0, (0.0, 0.0, 0.0))
        recorder.pose(1, (math.nan, 0.0, 0.0))
        recorder.pose(2, (2.0, 0.0, 0.0), orientation=(0, 0, 0, 0))
        recorder.pose(3, (3.0, 0.0, 0.0), orientation=(0, 0, 0.5, 0.5))
        recorder.pose(4, (4.0, 0.0, 0.0), orientation=TWIST, std=math.nan)
        recorder.pose(5000, (4.5, 0.0, 0.0), received=4.5)
        recorder.pose(5, (5.0, 0.0, 0.0), frame="elsewhere")
    found = recorded_odometry(recorder.path)
    assert found.moves is not None and found.covariances is not None
    assert np.isnan(found.moves[2, 1:]).all(), "another frame begins"
    assert np.delete(found.moves[:, 1], 2).tolist() == [0, 4, 5], "a pose whose covariance makes no sense is still one"
    assert found.moves[1, 3] == pytest.approx(0.5)
    assert np.isnan(found.covariances).all()
    left_out, frame = caplog.messages
    assert "4 of 7 messages are left out; of the first, its pose has numbers that are not finite" in left_out
    assert frame == f"{found.words}: its frame was 'odom' and is 'elsewhere': another odometry begins there"


def test_a_pause_is_no_broken_stamp(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in (0, 1, 500, 501):
            recorder.pose(tick, (tick, 0.0, 0.0))
    moves = recorded_odometry(recorder.path).moves
    assert moves is not None and moves[:, 1].tolist() == [0, 1, 500, 501]


@pytest.mark.parametrize("recorder_knew", [True, False])
def test_a_clock_that_was_not_set_at_first_tells_nothing_of_the_drive(
    tmp_path: Path, recorder_knew: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Two stamps of 1970, as of a driver before NTP; and a last one hours ahead, which nothing confirms."""
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(2):
            stamp = 5 + tick - START
            recorder.pose(stamp, (0.0, 0.0, 0.0), received=tick if recorder_knew else stamp)
        for tick in range(2, 6):
            recorder.pose(tick, (tick, 0.0, 0.0))
        recorder.pose(10_000, (6.0, 0.0, 0.0), received=6.0)
    found = recorded_odometry(recorder.path)
    assert found.moves is not None and found.moves[:, 0].max() == START + 5
    assert np.isnan(found.moves[2, 1]) == recorder_knew
    left_out, *jumps = caplog.messages
    assert "1 of 7 messages are left out; of the first, a stamp lies 9995.0 s from those before it" in left_out
    assert len(jumps) == recorder_knew and all("its stamps jump by +1.7e+09 s: another time" in one for one in jumps)
    with pytest.raises(DsformerError, match=r"\(2023-11-14 22:13:22 to 2023-11-14 22:13:25 UTC\) and the drive's pic"):
        found.check(drive_at(START - 1000 + np.arange(3.0)))
    caplog.clear()
    found.check(drive_at(START - 2 + np.arange(8.0)))
    assert caplog.messages == [f"{found.words}: it tells nothing of 3 of 8 pictures: no message is within 1 s of them"]


def test_what_a_clock_told_that_was_ahead_is_not_mixed_with_what_it_tells_when_right(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(10):
            recorder.pose(tick if tick < 6 else tick - 4, (tick, 0.0, 0.0), received=float(tick))
    moves = recorded_odometry(recorder.path).moves
    assert moves is not None
    assert (moves[:, 0] - START).tolist() == [0, 1, 2, 3, 3, 4, 5], "two messages say that time jumped"
    assert np.delete(moves[:, 1], 3).tolist() == [0, 1, 2, 7, 8, 9] and np.isnan(moves[3, 1])


@pytest.mark.parametrize("form", FORMATS)
def test_of_several_topics_one_is_named(tmp_path: Path, form: str) -> None:
    path = write_odometry(tmp_path, form, odom=3, wheels=2)
    with pytest.raises(UsageError, match=rf"odometry on /odom, /wheels: say which, --odometry {path}:/odom$"):
        recorded_odometry(path)
    for name in ("/wheels", "wheels"):
        found = choose_odometry(f"{path}:{name}", [path], NO_OPTIONS)
        assert found.words == f"{path}:/wheels" and found.moves is not None and len(found.moves) == 2
    with pytest.raises(UsageError, match=r"has no topic /legs \(--odometry\); its topics: /fix .*, /odom .*, /wheels"):
        recorded_odometry(path, "/legs")
    with pytest.raises(UsageError, match=r"--odometry /fix is of type sensor_msgs/msg/NavSatFix, which holds no odom"):
        recorded_odometry(path, "/fix")


@pytest.mark.parametrize("form", FORMATS)
def test_a_recording_without_odometry_says_what_it_holds(tmp_path: Path, form: str) -> None:
    path = write_drive(tmp_path, form, seconds=1)
    with pytest.raises(DsformerError, match=r"holds no odometry .*; its topics: /camera/image/compressed .*, /fix"):
        choose_odometry(str(path), [path], NO_OPTIONS)


def test_odometry_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        recorder.pose(1, (math.inf, 0.0, 0.0))
    with pytest.raises(DsformerError, match=r"/odom: no odometry can be used: its pose has numbers that are not fin"):
        recorded_odometry(recorder.path)


def test_a_recordings_own_odometry_is_the_default_where_it_is_the_only_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "pictures").mkdir()
    one = write_odometry(tmp_path / "one", "mcap", odom=3)
    two = write_odometry(tmp_path / "two", "mcap", odom=3, wheels=2)
    none = write_drive(tmp_path, "mcap", seconds=1)
    assert choose_odometry(None, [one], NO_OPTIONS).words == f"{one}:/odom"
    datum = LocalFrame.parse("55.7,13.2")
    for drives, options, kidnap in (
        ([one], NO_OPTIONS, True),
        ([one], SourceOptions(positions="odom", datum=datum), False),
        ([one, none], NO_OPTIONS, False),
        ([none], NO_OPTIONS, False),
        ([tmp_path / "pictures"], NO_OPTIONS, False),
    ):
        made = choose_odometry(None, drives, options, kidnap=kidnap)
        assert made.moves is None and made.words == "made of the drive's positions"
    assert not caplog.messages
    assert choose_odometry(None, [two], NO_OPTIONS).moves is None
    assert "/odom, /wheels" in caplog.text and f"--odometry {two}:/odom takes one" in caplog.text
    nothing = choose_odometry("none", [one], NO_OPTIONS, kidnap=True)
    assert nothing.words == "none" and nothing.moves is not None and nothing.moves.shape == (0, 4)
    assert choose_odometry("made", [one], NO_OPTIONS).moves is None


def test_odometry_that_is_the_drives_truth_is_not_taken_unasked(tmp_path: Path) -> None:
    """It would tell the map's errors as if wheels never slipped."""
    with recording(tmp_path, "mcap") as recorder:
        recorder.pose(0, (0.0, 0.0, 0.0))
    options = SourceOptions(datum=LocalFrame.parse("55.7,13.2"))
    assert choose_odometry(None, [recorder.path], options).moves is None
    assert choose_odometry(str(recorder.path), [recorder.path], options).moves is not None


@pytest.mark.parametrize(
    ("topic", "frame", "taken"),
    [
        ("/odometry/gps", "map", False),
        ("/odometry/filtered/global", "/map", False),
        ("/odom", "robot/utm", False),
        ("/odom", "World", False),
        ("/odom", "earth", False),
        ("/odometry/gps", "", False),
        ("/odometry/Global", "", False),
        ("/odom", "", True),
        ("/odom", "robot/odom", True),
        ("/odometry/gps", "odom", True),
        ("/slam", "map_start", True),
    ],
)
def test_odometry_that_may_be_made_of_positions_is_taken_when_asked_for(
    tmp_path: Path, topic: str, frame: str, taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with recording(tmp_path, "sqlite3") as recorder:
        recorder.fix(0.0)
        recorder.pose(0, (0.0, 0.0, 0.0), topic=topic, frame=frame)
    path = recorder.path
    assert (choose_odometry(None, [path], NO_OPTIONS).moves is not None) == taken
    why = f"{path}: the odometry on {topic} (frame '{frame}') may be made of positions, and is not taken: "
    assert caplog.messages == ([] if taken else [f"{why}--odometry {path}:{topic} takes it"])
    assert choose_odometry(f"{path}:{topic}", [path], NO_OPTIONS).moves is not None


def test_tables_and_what_is_none(tmp_path: Path) -> None:
    table = tmp_path / "wheels:left.csv"
    table.write_text("stamp,x,y,yaw\n1,2,3,0.5\n")
    found = choose_odometry(str(table), [], NO_OPTIONS)
    assert found.words == str(table) and found.covariances is None and found.moves is not None
    assert found.moves.tolist() == [[1, 2, 3, 0.5]]
    for asked, why in (
        (str(tmp_path / "none.csv"), "there is no such file; --odometry takes a CSV file"),
        ("/odom", "there is no such file"),
        (str(tmp_path / "none.mcap") + ":/odom", "there is no such file"),
        (str(tmp_path), "is no recording: --odometry takes"),
        (f"{table}:/odom", "is no recording: --odometry takes"),
    ):
        with pytest.raises(UsageError, match=why):
            choose_odometry(asked, [], NO_OPTIONS)
    with pytest.raises(UsageError, match="another order"):
        choose_odometry(str(table), [], NO_OPTIONS, kidnap=True)


def drive_at(stamps: np.ndarray) -> Drive:
    return Drive(stamps, np.zeros((len(stamps), 2)), np.zeros(len(stamps)), [])


def test_odometry_of_another_time_is_said_with_both_spans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = recorded_odometry(write_odometry(tmp_path, "mcap", odom=5))
    spans = r"\(2023-11-14 22:13:20 to .*22:13:24 UTC\) and the drive's pictures \(2023-11-14 22:30:00 to .*\) do not"
    with pytest.raises(DsformerError, match=spans):
        found.check(drive_at(START + 1000 + np.arange(3.0)))
    found.check(drive_at(START + np.arange(5.0)))
    assert not caplog.messages
    found.check(drive_at(START + np.arange(10.0)))
    assert caplog.messages == [f"{found.words}: it tells nothing of 4 of 10 pictures: no message is within 1 s of them"]
    choose_odometry("made", [], NO_OPTIONS).check(drive_at(START + np.arange(10.0)))


def street(folder: Path, yaw: float) -> tuple[PlaceMap, Drive]:
    """600 m of street due east, whose references look along `yaw`, and a later drive along it, looking the same way."""
    random, count = np.random.default_rng(0), 120
    steps = random.normal(size=(count, 256))
    views = unit(np.array([sum(0.75**lag * steps[max(0, row - lag)] for lag in range(10)) for row in range(count)]))
    utm = ORIGIN + np.column_stack([5.0 * np.arange(count), np.zeros(count)])
    place_map = write_map(folder / "street.map", views, utm, np.full(count, yaw))
    seen = unit(views + 1.8 * unit(random.normal(size=views.shape)))
    return place_map, Drive(np.arange(float(count)), utm, np.zeros(count), list(place_map.search(seen, k=80)))


def test_a_camera_that_looks_left_does_not_drive_left(tmp_path: Path) -> None:
    place_map, drive = street(tmp_path, math.pi / 2)
    odometry = made_odometry(drive)
    mounted = Drive(drive.stamps, drive.utm, drive.yaw, drive.matches, mountings=np.full(len(drive), math.pi / 2))
    assert {number for number, _ in mounted.cameras()} == {0}
    ahead, left = (ask_fused(place_map, one, odometry) for one in (drive, mounted))
    assert left.localized.mean() > 0.8 and not left.false.any()
    assert np.median(left.error) < 3, "and not further than a picture is from its reference"
    assert np.median(ahead.error) > 10


def test_nothing_is_known_of_the_movement_between_two_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_map, drive = street(tmp_path, 0.0)
    odometry = made_odometry(drive)
    half = len(odometry) // 2
    begins = np.insert(odometry, half, [odometry[half, 0], math.nan, math.nan, math.nan], axis=0)
    kept: list[Odometry] = []
    monkeypatch.setattr(tracker, "Odometry", lambda config: kept.append(Odometry(config)) or kept[-1])
    for moves in (odometry, begins):
        ask_fused(place_map, drive, moves)
    unsaid, said = (one.between(odometry[half - 1, 0], odometry[half, 0]) for one in kept)
    assert [move.known for move in unsaid] == [True]
    assert [move.known for move in said] == [False]
    assert len(kept[0]) == len(kept[1]) == len(odometry)


def test_covariances_count(tmp_path: Path) -> None:
    place_map, drive = street(tmp_path, 0.0)
    odometry = made_odometry(drive)
    unknown = np.full((len(odometry), 3, 3), np.nan)
    unsure = np.arange(len(odometry))[:, None, None] * 20.0 * np.eye(3)
    sure = ask_fused(place_map, drive, odometry)
    assert np.array_equal(ask_fused(place_map, drive, odometry, covariances=unknown).std, sure.std, equal_nan=True)
    assert np.nanmedian(ask_fused(place_map, drive, odometry, covariances=unsure).std) > np.nanmedian(sure.std)


def test_a_recordings_cameras_come_with_their_mountings(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(6):
            recorder.fix(tick, longitude=longitude_after(5 * tick))
            recorder.jpeg(tick, topic="/front/compressed")
            recorder.jpeg(tick, topic="/left/compressed")
    yaws = CameraYaw("/front/compressed", 0.0), CameraYaw("/left/compressed", 90.0)
    source: Any = open_source(recorder.path, options=SourceOptions(camera_yaws=yaws))
    place_map = write_map(tmp_path / "some.map", unit(np.eye(12)), ORIGIN + 10.0 * np.arange(12)[:, None])
    drive = describe_drive(source, ArrayExtractor(unit(np.eye(12))), place_map)  # type: ignore[arg-type]
    assert sorted(drive.cameras()) == [(0, 0.0)] * 6 + [(1, math.pi / 2)] * 6
    assert np.ptp(drive.yaw) < 1e-3, "the vehicle drives east, wherever its cameras look"


def test_a_recording_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`map build`, `evaluate --sequence` and `map calibrate`, of a recording with fixes, pictures and odometry."""
    random = np.random.default_rng(1)
    with recording(tmp_path, "mcap") as recorder:
        for tick in range(32):
            recorder.fix(tick, longitude=longitude_after(20 * tick))
            picture = np.kron(random.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            recorder.jpeg(tick + 0.01, jpeg_of_array(picture))
            for part in range(5):
                recorder.pose(tick + part / 5, (20 * (tick + part / 5), 0.0, 0.0))
        recorder.fix(32, longitude=longitude_after(20 * 32))
    drive, town = str(recorder.path), str(tmp_path / "town.map")
    assert main(["map", "build", "--images", drive, "--output", town, "--model", "dsformer_tiny"]) == 0
    capsys.readouterr()
    evaluate = ["evaluate", "--sequence", drive, "--map", town]
    assert main([*evaluate, "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["pictures"] == 32 and own["odometry"] == f"{drive}:/odom"
    assert own["fused"]["availability"] > 0.5 and own["fused"]["false_fixes"] == 0
    assert main([*evaluate, "--odometry", f"{drive}:odom", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == own
    assert main([*evaluate, "--kidnap", "1"]) == 0
    assert "odometry: made of the drive's positions" in capsys.readouterr().out
    assert main(["map", "calibrate", town, "--queries", drive, "--dry-run"]) == 0
    assert f"odometry: {drive}:/odom; the map is left as it is" in " ".join(capsys.readouterr().out.split())
    away = tmp_path / "away.csv"
    pictures = [f"{name},55.9,13.2" for name in write_pictures_of(tmp_path / "away", 30)]
    away.write_text("\n".join(["path,latitude,longitude", *pictures]))
    before = (tmp_path / "town.map" / "map.yaml").read_bytes()
    assert main(["map", "calibrate", town, "--queries", str(away)]) == 1
    assert "no picture of the drive was taken within 25 m of a reference" in capsys.readouterr().err
    assert (tmp_path / "town.map" / "map.yaml").read_bytes() == before
    assert main(["evaluate", "--sequence", str(away), "--map", town]) == 0
    assert "30 of 30 pictures were taken more than 25 m from any" in " ".join(capsys.readouterr().err.split())
    for picture in (tmp_path / "away").iterdir():
        picture.write_bytes(b"no picture, which shows when it is described")
    assert main(["map", "calibrate", town, "--queries", str(away)]) == 1
    assert "within 25 m of a reference" in capsys.readouterr().err, "it is said before"
    assert main(["evaluate", "--sequence", str(away), "--map", town]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.index("30 of 30 pictures were taken more than 25 m from any") < said.index("0 can be used")
    for wrong in (
        [*evaluate, "--odometry", f"{drive}:/legs"],
        [*evaluate, "--odometry", drive, "--kidnap", "1"],
        ["evaluate", "--database", town, "--queries", town, "--datum", "55.7,13.2"],
        ["map", "calibrate", town, "--queries", drive, "--odometry", f"{drive}:/legs"],
        ["map", "calibrate", town, "--forget", "--odometry", "made"],
        ["map", "calibrate", town, "--queries", town],
        ["evaluate", "--sequence", town, "--map", town],
        [*evaluate, "--radius", "5"],
        [*evaluate, "--cache", str(tmp_path)],
    ):
        assert main(wrong) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("module", ["evaluate", "map.calibrate", "sequence"])
def test_each_command_loads_before_the_others(module: str) -> None:
    """Each imports arguments of the other."""
    done = subprocess.run([sys.executable, "-c", f"import dsformer_core.cli.{module}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def write_pictures_of(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(jpeg_of(number))
    return [f"{folder.name}/{number}.jpg" for number in range(count)]


def jpeg_of_array(pixels: np.ndarray) -> bytes:
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
