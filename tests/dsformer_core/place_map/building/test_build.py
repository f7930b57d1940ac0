"""Building a map of real pictures: what gets in, what is left out, and what happens when it goes wrong half-way."""

import os
import re
import shutil
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.localization.queries import Answer, localize_pictures
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.sources import Skipped, open_source
from tests.synthetic import ORIGIN, unit, write_map, write_picture, write_pictures
from tests.uncovered import uncovered_environment
from tests.warm_python import WarmCode


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor("gem_mobilenet_v2", "untrained", device="cpu", threads=1)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "building" in path.name or "replaced" in path.name]


def test_a_folder_becomes_a_map(tmp_path: Path, extractor: Extractor) -> None:
    source = open_source(write_pictures(tmp_path / "drive", 9))
    steps = []
    built = build_place_map(source, extractor, tmp_path / "town.map", batch_size=4, on_progress=steps.append)

    assert built.count == 9
    assert built.name == "town"
    assert built.ids == [f"{number:03d}.jpg" for number in range(9)]
    assert built.spacing == pytest.approx(5.0, abs=0.05)
    assert built.model_name == "gem_mobilenet_v2"
    assert built.weights_sha256 == extractor.weights_sha256
    assert str(built.zone) == "33N"
    np.testing.assert_allclose(built.heading_deg, 90.0)
    # East of nowhere: 13 degrees east is 2 degrees west of zone 33's middle, so grid north lies west of true north.
    np.testing.assert_allclose(np.degrees(built.yaw), np.degrees(built.yaw[0]), atol=0.01)
    assert -2.0 < np.degrees(built.yaw[0]) < -1.0
    assert [step.done for step in steps if step.step == "describing"] == list(range(1, 10))
    assert {step.total for step in steps if step.step == "describing"} == {9}
    with Image.open(built.thumbnail_path(3)) as thumbnail:
        assert thumbnail.size == (160, 120)
    own = extractor.extract_files(built.images)
    np.testing.assert_array_equal(built.search(own, k=1).indices[:, 0], np.arange(9))
    assert not leftovers(tmp_path)


def test_altitudes_of_two_kinds_are_not_mixed(tmp_path: Path, extractor: Extractor) -> None:
    """Two cameras, the first of which knows EXIF 3.0 and heights above the ellipsoid, 35 m from the sea level."""
    for number, (version, altitude) in enumerate([(b"0300", 75.0), (b"0232", 40.0), (b"0232", 41.0), (b"0232", None)]):
        path = write_picture(tmp_path / f"drive/{number}.jpg", latitude=55.7 + number * 1e-4)
        with Image.open(path) as picture:
            exif = picture.getexif()
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifVersion] = version
            if altitude is not None:
                gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
                gps.update({ExifTags.GPS.GPSAltitudeRef: b"\0", ExifTags.GPS.GPSAltitude: altitude})
            picture.save(path, exif=exif)
    built = build_place_map(open_source(tmp_path / "drive"), extractor, tmp_path / "a.map")
    assert built.altitude_reference == "sea level"
    np.testing.assert_array_equal(built.altitude, [np.nan, 40.0, 41.0, np.nan])
    assert built.datum.altitude == 40.5


def test_large_pictures_are_decoded_as_small_as_the_network_allows(tmp_path: Path, extractor: Extractor) -> None:
    """Decoded in full, noise of 3200 pixels gives another descriptor, and takes several times as long."""
    path = write_picture(tmp_path / "drive/large.jpg", latitude=55.7)
    exif = Image.open(path).getexif()
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3200, 3), np.uint8)
    Image.fromarray(noise).save(path, exif=exif)
    built = build_place_map(open_source(path.parent), extractor, tmp_path / "a.map", index="flat")
    np.testing.assert_allclose(built.descriptors, extractor.extract_files([path]), atol=1e-6)
    assert np.abs(built.descriptors - extractor.extract([noise])).max() > 1e-5
    with Image.open(built.thumbnail_path(0)) as thumbnail:
        assert thumbnail.size == (240, 180)
    ((_, answer),) = localize_pictures([path], extractor, built)
    assert isinstance(answer, Answer) and answer.matches.similarities[0, 0] == pytest.approx(1, abs=1e-6)


def test_pictures_that_cannot_be_used_are_listed_and_left_out(tmp_path: Path, extractor: Extractor) -> None:
    drive = write_pictures(tmp_path / "drive", 5)
    (drive / "001.jpg").write_bytes((drive / "001.jpg").read_bytes()[:900])
    (drive / "003.jpg").write_bytes(b"")
    write_picture(drive / "nowhere.jpg", latitude=None)
    skipped: list[Skipped] = []

    built = build_place_map(open_source(drive), extractor, tmp_path / "a.map", on_skipped=skipped.append)

    assert built.ids == ["000.jpg", "002.jpg", "004.jpg"]
    assert sorted(Path(one.image).name for one in skipped) == ["001.jpg", "003.jpg", "nowhere.jpg"]
    assert all(one.reason for one in skipped)
    assert PlaceMap.open(tmp_path / "a.map", verify="full").count == 3
    for row, name in enumerate(built.ids):
        with Image.open(built.thumbnail_path(row)) as thumbnail, Image.open(drive / name) as picture:
            difference = np.abs(np.asarray(thumbnail, float) - np.asarray(picture, float)).mean()
        assert difference < 5, f"thumbnail {row} is not of {name}"
    with pytest.raises(DsformerError, match=r"001\.jpg|003\.jpg|nowhere\.jpg"):
        build_place_map(open_source(drive), extractor, tmp_path / "b.map", strict=True)
    assert not (tmp_path / "b.map").exists()


def test_nothing_usable_is_an_error_and_leaves_nothing(tmp_path: Path, extractor: Extractor) -> None:
    write_picture(tmp_path / "drive/a.jpg", latitude=None)
    with pytest.raises(DsformerError, match=r"none of its 1 pictures can be used .*no position\); give"):
        build_place_map(open_source(tmp_path / "drive"), extractor, tmp_path / "a.map")
    broken = write_pictures(tmp_path / "broken", 1) / "000.jpg"
    broken.write_bytes(broken.read_bytes()[:900])
    with pytest.raises(DsformerError, match="none of its 1 pictures"):
        build_place_map(open_source(tmp_path / "broken"), extractor, tmp_path / "a.map")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "drive"]


def test_files_that_are_not_there_are_no_lack_of_gps(tmp_path: Path, extractor: Extractor) -> None:
    (tmp_path / "list.csv").write_text("path,latitude,longitude\nabsent.jpg,55.7,13.0\n")
    with pytest.raises(DsformerError, match=r"list: none of its 1 pictures can be used .*no such file\)$"):
        build_place_map(open_source(tmp_path / "list.csv"), extractor, tmp_path / "a.map")


def test_a_picture_too_small_to_show_a_place_is_skipped(tmp_path: Path, extractor: Extractor) -> None:
    drive = write_pictures(tmp_path / "drive", 2)
    for name, size in (("dot.png", (1, 1)), ("strip.png", (200, 31)), ("icon.png", (32, 32))):
        with Image.open(drive / "000.jpg") as picture:
            picture.resize(size).save(drive / name, exif=picture.getexif())
    skipped: list[Skipped] = []
    built = build_place_map(open_source(drive), extractor, tmp_path / "a.map", on_skipped=skipped.append)
    assert built.ids == ["000.jpg", "001.jpg", "icon.png"]
    assert [vars(one) for one in skipped] == [
        {"image": str(drive / "dot.png"), "reason": "1x1 pixels are too few to show a place", "count": 1},
        {"image": str(drive / "strip.png"), "reason": "200x31 pixels are too few to show a place", "count": 1},
    ]


@pytest.mark.parametrize("manifest", [True, False])
def test_a_damaged_picture_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extractor: Extractor, manifest: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    drive = write_pictures(tmp_path / "drive", 2)
    content = (drive / "001.jpg").read_bytes()
    (drive / "001.jpg").write_bytes(content[:-40])
    (drive / "list.csv").write_text("path,latitude,longitude\n000.jpg,55.7,13.0\n001.jpg,55.7001,13.0\n")
    skipped: list[Skipped] = []
    source = open_source(Path("drive/list.csv") if manifest else Path("drive"))
    build_place_map(source, extractor, tmp_path / "a.map", on_skipped=skipped.append)
    assert [one.image for one in skipped] == [str(drive / "001.jpg")]
    assert skipped[0].reason.startswith("damaged or cut short (")
    assert "001.jpg" not in skipped[0].reason


def test_two_zones_make_one_map(tmp_path: Path, extractor: Extractor) -> None:
    drive = tmp_path / "drive"
    for number, longitude in enumerate((11.9990, 11.9995, 12.0005)):
        write_picture(drive / f"{number}.jpg", latitude=50.0, longitude=longitude, seed=number)
    built = build_place_map(open_source(drive), extractor, tmp_path / "a.map")
    assert str(built.zone) == "32N"
    # A degree of longitude at 50 north is 71.7 km.
    np.testing.assert_allclose(np.linalg.norm(np.diff(built.utm, axis=0), axis=1), [35.8, 71.7], atol=0.5)


def test_a_map_may_straddle_the_antimeridian(tmp_path: Path, extractor: Extractor) -> None:
    drive = tmp_path / "drive"
    for number, longitude in enumerate((179.9995, -179.9995, 179.9985, -179.9985)):
        write_picture(drive / f"{number}.jpg", latitude=-17.0, longitude=longitude, seed=number)
    built = build_place_map(open_source(drive), extractor, tmp_path / "a.map")
    assert abs(built.datum.longitude) == pytest.approx(180, abs=1e-6)
    # A degree of longitude at 17 south is 106.5 km; the scale of the grid at its zone's edge is 1.0005.
    east = built.frame.to_local(built.utm)[:, 0]
    np.testing.assert_allclose(np.sort(east), [-159.8, -53.3, 53.3, 159.8], atol=0.2)


def test_a_picture_on_another_continent_is_named(tmp_path: Path, extractor: Extractor) -> None:
    drive = write_pictures(tmp_path / "drive", 3)
    write_picture(drive / "typo.jpg", latitude=-33.9, longitude=18.4)
    with pytest.raises(UsageError, match=r"typo\.jpg lies at -33.90000, 18.40000, more than 500 km"):
        build_place_map(open_source(drive), extractor, tmp_path / "a.map")


def test_what_is_there_is_replaced_only_when_asked_and_only_if_it_is_a_map(tmp_path: Path) -> None:
    old = write_map(tmp_path / "a.map", unit(np.ones((2, 512))), ORIGIN + np.zeros((2, 2)))
    with pytest.raises(UsageError, match="exists"):
        write_map(tmp_path / "a.map", unit(np.ones((3, 512))), ORIGIN + np.zeros((3, 2)))
    new = write_map(tmp_path / "a.map", unit(np.ones((3, 512))), ORIGIN + np.zeros((3, 2)), overwrite=True)
    assert new.count == 3
    # Who had the old map open still searches the old map.
    assert old.search(np.ones(512), k=9).indices.shape == (1, 2)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("no map")
    with pytest.raises(UsageError, match="not a place map"):
        write_map(tmp_path / "precious", unit(np.ones((3, 512))), ORIGIN + np.zeros((3, 2)), overwrite=True)
    assert (tmp_path / "precious/thesis.txt").exists()
    assert not leftovers(tmp_path)


def test_the_old_map_returns_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_map(tmp_path / "a.map", unit(np.ones((2, 512))), ORIGIN + np.zeros((2, 2)))
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if target == tmp_path / "a.map" and path.parent.name == ".a.map.building":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr("dsformer_core.staging._exchange", lambda *names: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_map(tmp_path / "a.map", unit(np.ones((3, 512))), ORIGIN + np.zeros((3, 2)), overwrite=True)
    assert PlaceMap.open(tmp_path / "a.map", verify="full").count == 2
    assert leftovers(tmp_path) == [".a.map.building"], "what was described is kept"


def test_a_failing_rebuild_leaves_the_old_map(tmp_path: Path, extractor: Extractor) -> None:
    drive = write_pictures(tmp_path / "drive", 3)
    build_place_map(open_source(drive), extractor, tmp_path / "a.map")
    (drive / "001.jpg").write_bytes(b"")
    with pytest.raises(DsformerError):
        build_place_map(open_source(drive), extractor, tmp_path / "a.map", strict=True, overwrite=True)
    assert PlaceMap.open(tmp_path / "a.map", verify="full").count == 3
    assert not leftovers(tmp_path)


def build_process(drive: Path, output: Path, before: str = "") -> WarmCode:
    """`dsformer map build` in a process of its own, after the statements `before`."""
    script = textwrap.dedent(before) + textwrap.dedent(f"""
        import sys
        from dsformer_core.cli.main import main
        sys.exit(main(["map", "build", "--images", {str(drive)!r}, "--output", {str(output)!r},
                       "--model", "gem_mobilenet_v2", "--weights", "untrained", "--batch-size", "1"]))
    """)
    return WarmCode(script, environment=uncovered_environment())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_says_what_it_keeps_and_goes_on(
    tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_pictures(tmp_path / "drive", 400)
    process = build_process(drive, tmp_path / "a.map")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob(".a.map.building/shards-*/*/*.parquet")):
        time.sleep(0.02)
    process.send_signal(number)
    _, words = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT, words
    assert "Traceback" not in words
    *_, kept, last = words.strip().splitlines()
    assert last == "dsformer: interrupted"
    assert re.fullmatch(r".*a\.map: (64|128|192|256|320) of 400 pictures are described and kept: --resume .*", kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.map.building", "drive"]

    again = ["map", "build", "--images", str(drive), "--output", str(tmp_path / "a.map")]
    again += ["--model", "gem_mobilenet_v2", "--weights", "untrained", "--batch-size", "1"]
    assert main(again) == 2
    assert "--resume goes on with it, --overwrite begins anew" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [100, 3000, 9000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """A limit on file size makes writes fail with an error as a full disk does, at different files of the map."""
    drive = write_pictures(tmp_path / "drive", 20)
    full = f"""
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import dsformer_core.extractor, dsformer_core.place_map
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    """
    process = build_process(drive, tmp_path / "a.map", full)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1, words
    assert "Traceback" not in words
    assert "a.map was not written: File too large; free some space" in words
    assert len(words.strip().splitlines()) == 2, "the announcement of untrained weights and one line"
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, extractor: Extractor) -> None:
    source = open_source(write_pictures(tmp_path / "drive", 2))
    with pytest.raises(UsageError, match="no such folder to write"):
        build_place_map(source, extractor, tmp_path / "nowhere" / "a.map")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk takes root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        process = build_process(write_pictures(tmp_path / "drive", 60), disk / "a.map")
        _, words = process.communicate(timeout=60)
        assert process.returncode == 1, words
        assert "a.map was not written: No space left on device; free some space" in words
        assert "Traceback" not in words
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)
