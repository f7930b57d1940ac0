"""Folders of pictures as people have them: nested, mixed, hidden, broken."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.pictures import PictureError
from dsformer_core.sources import open_source
from dsformer_core.sources.folder import find_pictures

AT_NAME = "@0386700.00@6173300.00@33@U@@@@@180@@@@@@.jpg"


def save(path: Path, latitude: float | None = 55.7, longitude: float = 13.2, colour="red", **options) -> Path:
    """A small picture with its position in EXIF."""
    exif = Image.Exif()
    exif[0x0131] = "test"  # Pillow writes no block into a PNG whose first directory is empty
    if latitude is not None:
        exif.get_ifd(0x8825).update(
            {
                1: "N" if latitude >= 0 else "S",
                2: (abs(latitude), 0.0, 0.0),
                3: "E" if longitude >= 0 else "W",
                4: (abs(longitude), 0.0, 0.0),
            }
        )
    for tag, value in options.items():
        exif[{"orientation": 0x0112}[tag]] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), colour).save(path, exif=exif)
    return path


def test_pictures_come_in_natural_order_with_relative_ids(tmp_path):
    names = ["a/2.jpg", "a/10.JPG", "b/1.png", "img9.jpg", "img10.jpeg"]
    for name in reversed(names):
        save(tmp_path / name)
    progress = []
    pictures, skipped = open_source(tmp_path).scan(progress.append)
    assert [picture.id for picture in pictures] == names
    assert not skipped and sum(progress) == 5
    assert pictures[0].image == (tmp_path / "a/2.jpg").as_posix()
    assert pictures[0].latitude == pytest.approx(55.7) and pictures[0].longitude == pytest.approx(13.2)
    assert open_source(tmp_path).name == tmp_path.name


def test_hidden_and_other_files_are_passed_over(tmp_path):
    save(tmp_path / "seen.jpg")
    save(tmp_path / ".hidden.jpg")
    save(tmp_path / ".thumbnails/1.jpg")
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures, skipped = open_source(tmp_path).scan()
    assert [picture.id for picture in pictures] == ["seen.jpg"] and not skipped


def test_orientation_is_honoured_when_loading(tmp_path):
    save(tmp_path / "a.jpg", orientation=6)
    ((picture,), _) = open_source(tmp_path).scan()
    assert picture.load().shape == (6, 4, 3)


def test_exif_and_at_names_in_one_folder_below_a_folder_with_at(tmp_path):
    folder = tmp_path / "me@home @1@2@"
    save(folder / "exif.jpg")
    save(folder / AT_NAME, None)
    pictures, skipped = open_source(folder).scan()
    assert not skipped
    named, tagged = pictures
    assert named.id == AT_NAME and named.heading_deg == 180 and np.isnan(named.altitude)
    assert named.latitude == pytest.approx(55.69, abs=0.02) and named.longitude == pytest.approx(13.2, abs=0.02)
    assert tagged.latitude == pytest.approx(55.7)


def test_utm_without_a_zone_needs_one(tmp_path):
    save(tmp_path / "@0386700.00@6173300.00@.jpg", None)
    pictures, skipped = open_source(tmp_path).scan()
    assert not pictures and "no zone" in skipped[0].reason
    pictures, skipped = open_source(tmp_path, zone=UtmZone.parse("33N")).scan()
    assert pictures[0].latitude == pytest.approx(55.69, abs=0.02) and not skipped


@pytest.mark.parametrize("zone", [None, UtmZone(33, True)])
def test_an_at_name_that_is_no_position_leaves_it_to_exif(tmp_path, zone):
    save(tmp_path / "photo@12@34.jpg")
    save(tmp_path / "@100000000@100000000@33@U@.jpg")
    pictures, skipped = open_source(tmp_path, zone=zone).scan()
    assert not skipped
    assert [(picture.latitude, picture.longitude) for picture in pictures] == [pytest.approx((55.7, 13.2))] * 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("easting", ["386700", "1e8", "-1e12"])
@pytest.mark.parametrize("northing", ["1e8", "-1e12", "1.2e7"])
def test_utm_that_is_nowhere_is_listed(tmp_path, easting, northing):
    save(tmp_path / f"@{easting}@{northing}@33@U@.jpg", None)
    _, (skipped,) = open_source(tmp_path).scan()
    assert "not on Earth or not of zone 33N" in skipped.reason


def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path):
    save(tmp_path / "0.jpg")
    save(tmp_path / "1.jpg", None)
    save(tmp_path / "2.jpg", 0.0, 0.0)
    save(tmp_path / "3.jpg", 95.0)
    save(tmp_path / "4.jpg", 88.0)
    (tmp_path / "5.jpg").touch()
    (tmp_path / "6.jpg").write_text("text")
    (tmp_path / "7.HEIC").touch()
    pictures, skipped = open_source(tmp_path).scan()
    assert [picture.id for picture in pictures] == ["0.jpg"]
    reasons = {Path(item.image).name: item.reason for item in skipped}
    expected = {
        "1.jpg": "no position",
        "2.jpg": "0, 0",
        "3.jpg": "out of range",
        "4.jpg": "too near a pole",
        "5.jpg": "empty",
        "6.jpg": "not a picture",
        "7.HEIC": "convert it to JPEG",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name]


def test_names_that_are_no_text_are_listed_as_far_as_they_are(tmp_path):
    save(tmp_path / "å.jpg")
    for name in (b"g\xe5ta.jpg", b"g\xe5ta.heic"):
        (tmp_path / os.fsdecode(name)).touch()
    source = open_source(tmp_path)
    pictures, skipped = source.scan()
    found = source.locate()
    assert [picture.id for picture in pictures] == found.ids.to_pylist() == ["å.jpg"]
    assert {item.image: item.reason for item in skipped} == {
        f"{tmp_path}/g\ufffdta.jpg": "its name is not UTF-8: rename it",
        f"{tmp_path}/g\ufffdta.heic": ".heic files are not read: convert it to JPEG",
    }
    assert set(found.skipped) == set(skipped)


def test_a_truncated_picture_fails_only_when_loaded(tmp_path):
    path = save(tmp_path / "a.jpg")
    Image.effect_noise((300, 300), 90).save(path, exif=Image.open(path).getexif())
    path.write_bytes(path.read_bytes()[:-3000])
    ((picture,), skipped) = open_source(tmp_path).scan()
    assert not skipped
    with pytest.raises(PictureError, match=r"a\.jpg: damaged or cut short"):
        picture.load()


def test_links_are_followed_and_circles_are_not(tmp_path):
    save(tmp_path / "elsewhere/a.jpg")
    folder = tmp_path / "drive"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    pictures, _ = open_source(folder).scan()
    assert [picture.id for picture in pictures] == ["linked/a.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_listed(tmp_path):
    save(tmp_path / "a.jpg")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    _, skipped = open_source(tmp_path).scan()
    assert skipped[0].image == str(closed) and "Permission" in skipped[0].reason


def test_folders_without_pictures_and_paths_without_anything(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DsformerError, match=r"holds no pictures.*\.jpg"):
        open_source(tmp_path)
    with pytest.raises(UsageError, match=r"missing: no such file or folder"):
        open_source(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"notes\.txt: give a folder of pictures, or a manifest"):
        open_source(tmp_path / "notes.txt")


def test_a_relative_folder(tmp_path, monkeypatch):
    save(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    source = open_source(".")
    ((picture,), _) = source.scan()
    assert source.name == tmp_path.name
    assert picture.id == "a.jpg" and picture.image == (tmp_path / "a.jpg").as_posix()


def test_files_and_folders_given_to_a_command(tmp_path):
    for name in ("drive/10.jpg", "drive/9.jpg", "drive/._9.jpg", "drive/a/1.png", "drive/.trash/2.jpg", "lone.jpg"):
        save(tmp_path / name)
    found = find_pictures([tmp_path / "lone.jpg", tmp_path / "drive"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "lone.jpg", "drive/9.jpg", "drive/10.jpg", "drive/a/1.png",
    ]  # fmt: skip
    assert [picture.image for picture in open_source(tmp_path / "drive").scan()[0]] == [
        path.as_posix() for path in found[1:]
    ]


@pytest.mark.parametrize("chunk", [2, 1000])
@pytest.mark.parametrize("zone", [None, UtmZone(33, True)])
def test_columns_hold_what_a_scan_finds(tmp_path, monkeypatch, zone, chunk):
    monkeypatch.setattr("dsformer_core.sources.folder._CHUNK", chunk)
    folder = tmp_path / "me@home @1@2@"
    for name in ("9.jpg", "10.jpg", "a/b/exif.png", "photo@12@34.jpg", f"a/{AT_NAME}", "@0386700.00@6173300.00@.jpg"):
        save(folder / name)
    for name in ("@0386700.00@-1.00@33@U@.jpg", "@0386700.00@9900000.00@33@U@.jpg", "@1e9@1@33@U@.jpg", "none.jpg"):
        save(folder / name, None)
    (folder / AT_NAME).touch()
    (folder / "b.HEIC").touch()
    source = open_source(folder, zone=zone)
    pictures, skipped = source.scan()
    pictures.sort(key=lambda picture: picture.id)
    seen: list[int] = []
    found = source.locate(seen.append)
    assert sum(seen) == 11
    assert found.ids.to_pylist() == [picture.id for picture in pictures] and len(pictures) == 8
    for name in ("latitude", "longitude", "heading_deg"):
        np.testing.assert_array_equal(getattr(found, name), [getattr(picture, name) for picture in pictures])
    assert sorted(item.image for item in found.skipped) == sorted(item.image for item in skipped)
    assert set(found.skipped) == set(skipped)


def test_columns_of_names_need_neither_files_nor_an_object_each(tmp_path, monkeypatch):
    """Of the 3.4 million panoramas of SF-XL, objects would take gigabytes."""
    count, chunk = 4000, 250
    monkeypatch.setattr("dsformer_core.sources.folder._CHUNK", chunk)
    for part in range(count // chunk):
        (tmp_path / f"{part}").mkdir()
        for row in range(chunk):
            (tmp_path / f"{part}" / f"@{386700 + part:010.2f}@{6173300 + row:010.2f}@33@U@@@@@180@.jpg").touch()
    monkeypatch.setattr("dsformer_core.sources.folder.read_tags", None)
    source = open_source(tmp_path)
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    try:
        found = source.locate()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.ids) == count
    assert (kept + pa.total_allocated_bytes() - arrow) / count < 150
    assert peak / count < 300


def test_real_photographs(shared):
    folder = shared / "data" / "lund"
    if not folder.is_dir():
        pytest.skip("no photographs beside this checkout")
    pictures, skipped = open_source(folder).scan()
    assert len(pictures) == 29 and not skipped
    assert all(55.69 < picture.latitude < 55.71 and 13.19 < picture.longitude < 13.21 for picture in pictures)
    assert pictures[0].load().shape == (768, 1024, 3)
    assert len({(picture.latitude, picture.longitude) for picture in pictures[-3:]}) == 1
