"""Which source a path stands for, which options belong to it, and several as one."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from dsformer_core.cli.main import build_parser, main
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.sources import KINDS, SourceOptions, open_source, open_sources
from dsformer_core.sources.kinds import FOR_ALL, kind_of
from dsformer_core.sources.local_frame import LocalFrame
from dsformer_core.sources.options import CameraYaw, option
from tests.recordings import write_drive
from tests.synthetic import write_picture, write_pictures


def test_every_option_belongs_to_a_kind_or_to_all() -> None:
    owned = FOR_ALL.union(*(kind.options for kind in KINDS))
    assert owned == {field.name for field in fields(SourceOptions)}
    assert not any(kind.options & FOR_ALL for kind in KINDS)


def test_every_example_is_a_command_line() -> None:
    parser = build_parser()
    for kind in KINDS:
        assert kind.examples
        for example in kind.examples:
            parser.parse_args(["map", "build", *example.split(), "--output", "a", "--model", "dsformer_tiny"])


def test_a_kind_is_known_by_its_layout(tmp_path: Path) -> None:
    for path in ("list.csv", "a.MP4", "b.mcap", "c.bag", "d.db3"):
        (tmp_path / path).touch()
    for path in ("pictures", "bag", "drive/oxts/data", "drive/image_01/data"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "bag" / "bag_0.db3.zstd").touch()
    expected = {
        "list.csv": "manifest",
        "a.MP4": "video",
        "b.mcap": "bag",
        "c.bag": "bag",
        "d.db3": "bag",
        "bag": "bag",
        "drive": "KITTI drive",
        "pictures": "folder",
    }
    assert {name: kind_of(tmp_path / name).name for name in expected} == expected


def test_a_folder_of_bags_or_videos_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "run1").mkdir()
    with pytest.raises(DsformerError, match="holds no pictures, nor does any folder below it"):
        open_source(tmp_path)
    (tmp_path / "run1" / "run1_0.mcap").touch()
    with pytest.raises(UsageError, match=r"holds no pictures, but bags or videos: name them, --images .*/\*"):
        open_source(tmp_path)


def test_options_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 1)
    with pytest.raises(UsageError, match=r"pictures: --topic is for a bag or a KITTI drive; this is a folder"):
        open_source(folder, options=SourceOptions(topics=("/a",)))
    bag = write_drive(tmp_path, "mcap", seconds=1)
    with pytest.raises(UsageError, match=r"drive: --zone is for a manifest or a folder; this is a bag"):
        open_source(bag, zone=UtmZone.parse("33N"))
    with pytest.raises(UsageError, match=r"--track is for a video; this is a bag or a folder"):
        open_sources([bag, folder], SourceOptions(track=Path("a.gpx")))
    pictures, _ = open_sources([bag, folder], SourceOptions(zone=UtmZone.parse("33N"), every_metres=0.0)).scan()
    assert len(pictures) == 7, "each option is for those that it applies to"


def test_several_sources_are_one(tmp_path: Path) -> None:
    monday, tuesday = tmp_path / "x/monday", tmp_path / "tuesday"
    for folder, names in ((monday, ("1.jpg", "2.jpg")), (tuesday, ("2.jpg", "3.jpg", "monday/2.jpg"))):
        for name in names:
            write_picture(folder / name, latitude=55.7)
    source = open_sources([monday, tuesday])
    pictures, _ = source.scan()
    assert source.name == "monday + tuesday"
    assert [picture.id for picture in pictures] == [
        "1.jpg",
        "monday/monday/2.jpg",
        "tuesday/2.jpg",
        "3.jpg",
        "monday/2.jpg",
    ]
    assert [picture.source for picture in pictures] == ["monday"] * 2 + ["tuesday"] * 3
    shutil.copytree(monday, tmp_path / "y/monday")
    again, _ = open_sources([monday, tmp_path / "y/monday"]).scan()
    assert [picture.id for picture in again] == ["1-monday/1.jpg", "1-monday/2.jpg", "2-monday/1.jpg", "2-monday/2.jpg"]
    with pytest.raises(UsageError, match="monday is given twice: once is enough"):
        open_sources([monday, tmp_path / "y/../x/monday"])
    (alone,) = open_sources([write_pictures(tmp_path / "one", 1)]).scan()[0]
    assert alone.source == ""
    with pytest.raises(UsageError, match="no source is given"):
        open_sources([])


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"max_gap": 0.0}, "--max-gap is 0: it must be more than 0"),
        ({"max_position_std": float("nan")}, "--max-position-std is nan: it must be more than 0"),
        ({"fov": 200.0}, "--fov is 200: it must be at most 180"),
        ({"views": 0}, "--views is 0: it must be 1 to 360"),
        ({"heading": "compass"}, "--heading 'compass' is not one of auto, motion, odometry, imu"),
        ({"panoramas": "some"}, "--panoramas 'some' is not one of all, detect"),
        ({"start": 1.0, "time_offset": 2.0}, "--start and --time-offset exclude each other"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        SourceOptions(**values)  # type: ignore[arg-type]


def test_angles_and_datums_as_people_write_them() -> None:
    assert CameraYaw.parse("/left/image=90") == CameraYaw("/left/image", 90.0)
    assert CameraYaw.parse("-90") == CameraYaw("", -90.0)
    assert LocalFrame.parse("-33.9,151.2, 20,0") == LocalFrame(-33.9, 151.2, 20.0, 0.0)
    for text in ("left", "/left=", "/left=left", "/left=400"):
        with pytest.raises(UsageError, match="camera yaw"):
            CameraYaw.parse(text)
    for text in ("", "55.7", "a,b", "1,2,3,4,5"):
        with pytest.raises(UsageError, match=r"is not LAT,LON\[,ALT\[,HEADING\]\]"):
            LocalFrame.parse(text)
    with pytest.raises(UsageError, match="latitude 95"):
        LocalFrame.parse("95,10")
    assert option("camera_yaws") == "--camera-yaw"


def test_the_command_lists_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "sources"]) == 0
    assert "pip install 'dsformer_ros[bags]'" in capsys.readouterr().out
    assert main(["map", "sources", "--json"]) == 0
    kinds = json.loads(capsys.readouterr().out)
    assert [kind["name"] for kind in kinds] == [kind.name for kind in KINDS]
    assert all(kind["examples"] and kind["what"] and kind["needs"] for kind in kinds)


def test_a_partition_of_pictures_that_are_no_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_drive(tmp_path, "mcap", seconds=1)
    assert main(["cluster", "build", "--images", str(bag), "--output", str(tmp_path / "a.partition")]) == 2
    assert capsys.readouterr().err == f"dsformer: {bag}: is a bag; training needs pictures that are files\n"
