"""`dsformer cluster`: what a person types and sees."""

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
from PIL import Image

from dsformer_core.cli.main import main
from dsformer_core.clustering import Partition
from dsformer_core.geodesy import UtmZone, to_latlon
from dsformer_core.sources import FolderSource
from tests.uncovered import uncovered_environment

from .conftest import CORNER, City, town

ZONE = UtmZone(10, True)


@pytest.fixture(scope="module")
def streets() -> City:
    return town(30.0, (0.0, 80.0), passes=6, length=150.0)


@pytest.fixture
def positions(tmp_path: Path, streets: City) -> Path:
    path = tmp_path / "city.npz"
    np.savez(path, utm=streets.utm, heading_deg=streets.headings_deg)
    return path


def write_named_images(folder: Path, streets: City, size: tuple[int, int]) -> Path:
    """Images that say in '@' names where they were taken; they are all the same few pixels."""
    folder.mkdir()
    Image.new("RGB", size, "grey").save(folder / ".one.jpg")
    content = (folder / ".one.jpg").read_bytes()
    for row, ((east, north), heading) in enumerate(zip(streets.utm, streets.headings_deg, strict=True)):
        name = f"@{east:010.2f}@{north:010.2f}@10@S@@@p{row:05d}@@{heading:.0f}@@@@@@.jpg"
        (folder / name).write_bytes(content)
    return folder


def test_positions_become_a_partition(
    tmp_path: Path, positions: Path, capsys: pytest.CaptureFixture[str], streets: City
) -> None:
    output = tmp_path / "city.partition"
    arguments = ["cluster", "build", "--positions", str(positions), "--output", str(output), "--zone", "10N"]
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    opened = Partition.open(output)
    assert answer["statistics"]["classes"] == opened.class_count > 10
    assert answer["grid"]["classes"] > 10
    assert answer["locations"] == len(streets.utm)
    assert opened.kind == "panoramas"
    assert opened.zone == ZONE
    assert opened.config.to_dict()["direction"] == "headings"

    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--groups", "3", "--min-distance", "25"]) == 0
    assert Partition.open(output).groups == 3
    assert "squares" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["npy", "csv", "parquet"])
def test_other_files_of_positions(tmp_path: Path, suffix: str, streets: City) -> None:
    path = tmp_path / f"city.{suffix}"
    table = pa.table({"easting": streets.utm[:, 0], "northing": streets.utm[:, 1]})
    if suffix == "npy":
        np.save(path, streets.utm)
    elif suffix == "csv":
        pa_csv.write_csv(table, path)
    else:
        pa_parquet.write_table(table, path)
    assert main(["cluster", "build", "--positions", str(path), "--output", str(tmp_path / "a")]) == 0
    assert Partition.open(tmp_path / "a").class_count > 10


def test_panoramas_by_their_names(
    tmp_path: Path, streets: City, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Millions of panoramas are not made an object each.
    monkeypatch.setattr(FolderSource, "scan", None)
    folder = write_named_images(tmp_path / "@panoramas", streets, (65, 10))
    assert main(["cluster", "build", "--images", str(folder), "--output", str(tmp_path / "a")]) == 0
    opened = Partition.open(tmp_path / "a")
    assert opened.kind == "panoramas"
    assert opened.zone == ZONE
    assert opened.images_root == folder
    assert set(opened.table["angle"].to_pylist()) == {0, 90}
    for record in opened.table.slice(0, 50).to_pylist():
        east, north, *_, heading = np.array(record["image"].split("@"))[[1, 2, 9]].astype(float)
        assert (folder / record["image"]).is_file()
        assert (record["easting"], record["northing"]) == pytest.approx((east, north), abs=1e-4)
        assert record["heading_deg"] == heading
    capsys.readouterr()


@pytest.mark.parametrize(
    ("said", "size", "expected"),
    [
        ([], (65, 10), "panoramas"),
        ([], (64, 48), "pictures"),
        (["--kind", "panoramas"], (20, 10), "panoramas"),
        (["--kind", "pictures"], (20, 10), "pictures"),
        (["--kind", "panoramas"], (64, 48), "64 x 48 pixels are no panorama of a full turn"),
        ([], (20, 10), "say --kind panoramas or --kind pictures"),
        ([], (62, 19), "say --kind panoramas or --kind pictures"),
    ],
)
def test_shape_and_kind_must_go_together(
    tmp_path: Path,
    streets: City,
    said: list[str],
    size: tuple[int, int],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An equirectangular panorama is twice as wide as high; so are some pictures."""
    folder = write_named_images(tmp_path / "images", streets, size)
    # The first says nothing about the others.
    (folder / min(path.name for path in folder.glob("@*"))).write_bytes(b"")
    status = main(["cluster", "build", "--images", str(folder), "--output", str(tmp_path / "a"), *said])
    if " " not in expected:
        assert status == 0
        assert Partition.open(tmp_path / "a").kind == expected
        return
    assert status == 2
    message = capsys.readouterr().err.strip()
    assert expected in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "a").exists()


def test_images_that_cannot_be_read_have_no_kind_unless_it_is_said(
    tmp_path: Path, streets: City, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_named_images(tmp_path / "images", streets, (64, 48))
    for path in folder.glob("@*"):
        path.write_bytes(b"")
    arguments = ["cluster", "build", "--images", str(folder), "--output", str(tmp_path / "a")]
    assert main(arguments) == 1
    said = capsys.readouterr().err.strip()
    assert "0 bytes" in said and "--kind" in said
    assert len(said.splitlines()) == 1
    assert main([*arguments, "--kind", "panoramas"]) == 0


def test_pictures_of_a_car_by_a_manifest(tmp_path: Path, streets: City) -> None:
    latitude, longitude = to_latlon(streets.utm, ZONE)
    (tmp_path / "drive").mkdir()
    Image.new("RGB", (16, 12)).save(tmp_path / "drive" / "0.jpg")
    content = (tmp_path / "drive" / "0.jpg").read_bytes()
    names = [f"drive/{row}.jpg" for row in range(len(latitude))]
    for name in names:
        (tmp_path / name).write_bytes(content)
    pa_csv.write_csv(
        pa.table({"path": names, "latitude": latitude, "longitude": longitude, "heading_deg": streets.headings_deg}),
        tmp_path / "drive.csv",
    )
    arguments = ["--images", str(tmp_path / "drive.csv"), "--output", str(tmp_path / "a")]
    assert main(["cluster", "build", *arguments]) == 0
    opened = Partition.open(tmp_path / "a")
    assert opened.kind == "pictures"
    assert opened.config.to_dict()["direction"] == "surroundings"
    # Everybody looks ahead, so nobody looks across the street, and each class looks one way.
    assert set(opened.table["angle"].to_pylist()) == {90}
    keys = opened.table.select(["group", "class"]).to_pylist()
    headings = opened.table["heading_deg"].to_numpy()
    for key in {tuple(key.values()) for key in keys}:
        own = headings[[tuple(other.values()) == key for other in keys]]
        turn = np.mod(own - own[0] + 180, 360) - 180
        assert np.abs(turn).max() < 45
    assert (opened.images_root / opened.table["image"][0].as_py()).is_file()


def test_the_grid_and_its_settings(tmp_path: Path, positions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cluster", "build", "--positions", str(positions), "--partition", "grid"]
    assert main([*arguments, "--output", str(tmp_path / "a"), "--cell-size", "20"]) == 0
    assert Partition.open(tmp_path / "a").method == "grid"
    capsys.readouterr()
    assert main([*arguments, "--output", str(tmp_path / "b"), "--radius", "5"]) == 2
    assert "--radius does not apply to --partition grid" in capsys.readouterr().err


def test_info_compares_with_the_grid(tmp_path: Path, positions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "build", "--positions", str(positions), "--output", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    assert main(["cluster", "info", str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    for words in ("classes", "images kept", "squares of 15 m", "class size, median"):
        assert words in printed
    assert main(["cluster", "info", str(tmp_path / "a"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert 0 < answer["statistics"]["share"] <= 1
    assert 0 < answer["grid"]["share"] <= 1


def test_info_says_where_headings_could_not_show_streets(
    tmp_path: Path, positions: Path, streets: City, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "bare.npy", streets.utm)
    for source in (positions, tmp_path / "bare.npy"):
        output = tmp_path / source.stem
        assert main(["cluster", "build", "--positions", str(source), "--output", str(output), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        classes = answer["statistics"]["classes"]
        assert answer["classes_with_headings"] == (classes if source == positions else 0)
        assert main(["cluster", "info", str(output)]) == 0
        assert (f"of {classes} classes by their surroundings" in capsys.readouterr().out) == (source != positions)


@pytest.mark.parametrize("kind", ["panoramas", "pictures"])
def test_squares_beside_squares_are_the_same(
    tmp_path: Path, positions: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comparison is of partitions alone: splitting by heading and the least size of a class befall both."""
    arguments = ["--positions", str(positions), "--output", str(tmp_path / "a"), "--kind", kind]
    assert main(["cluster", "build", *arguments, "--partition", "grid", "--min-images", "6", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["grid"] == answer["statistics"]


def test_view_is_one_page(
    tmp_path: Path, positions: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("folium")
    build = ["cluster", "build", "--positions", str(positions), "--output", str(tmp_path / "a.partition")]
    assert main([*build, "--zone", "10N"]) == 0
    assert main(["cluster", "view", str(tmp_path / "a.partition")]) == 0
    page = (tmp_path / "a.html").read_text()
    opened = Partition.open(tmp_path / "a.partition")
    for group in range(opened.groups):
        assert f"group {group}" in page
    assert "group 0, class 0: " in page
    assert 'src="http' not in page
    # Large partitions are drawn by their classes alone.
    monkeypatch.setattr("dsformer_core.clustering.view.MOST_IMAGES", 10)
    assert main(["cluster", "view", str(tmp_path / "a.partition"), "--output", str(tmp_path / "b.html")]) == 0
    assert (tmp_path / "b.html").stat().st_size < len(page)

    assert main([*build, "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["cluster", "view", str(tmp_path / "a.partition")]) == 2
    assert "--zone" in capsys.readouterr().err


def latlon(count: int) -> np.ndarray:
    return np.array([37.77, -122.42]) + np.random.default_rng(0).uniform(0, 0.05, (count, 2))


def with_nan() -> np.ndarray:
    utm = town(0.0).utm
    utm[3] = np.nan
    return utm


@pytest.mark.parametrize(
    ("utm", "words"),
    [
        (np.empty((0, 2)), "empty"),
        (with_nan(), "row 3"),
        (CORNER + np.arange(20.0).reshape(10, 2), "too few"),
        (np.repeat([CORNER], 50, axis=0), "the same"),
        (latlon(100), "latitude and longitude"),
        (CORNER + np.random.default_rng(0).uniform(0, 1e4, (100, 2)), "too sparse"),
    ],
)
@pytest.mark.parametrize("method", ["blocks", "grid"])
def test_bad_positions_are_one_line(
    tmp_path: Path, utm: np.ndarray, words: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if method == "grid" and words == "too few":
        utm = utm[:5]
    np.save(tmp_path / "bad.npy", utm)
    arguments = ["--positions", str(tmp_path / "bad.npy"), "--output", str(tmp_path / "a"), "--partition", method]
    assert main(["cluster", "build", *arguments]) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npy"]


@pytest.mark.parametrize("method", ["blocks", "grid"])
def test_what_is_too_sparse_is_told_the_options_that_help(
    tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", CORNER + np.random.default_rng(0).uniform(0, 1e4, (100, 2)))
    arguments = ["cluster", "build", "--positions", str(tmp_path / "a.npy"), "--output", str(tmp_path / "a")]
    assert main([*arguments, "--partition", method]) == 1
    advised = re.findall(r"--[a-z-]+", capsys.readouterr().err)
    assert advised
    # Each of them is one that this method takes.
    assert main([*arguments, "--partition", method, *(word for flag in advised for word in (flag, "7"))]) == 1
    assert "too sparse" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["info", "view", "extract"])
def test_a_partition_that_is_not_there_is_the_calls_mistake(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [] if verb == "info" else ["--output", str(tmp_path / "out")]
    assert main(["cluster", verb, str(tmp_path / "nowhere"), *output]) == 2
    assert "nowhere: no such partition" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", b"", "cannot be read"),
        ("a.npy", b"\x93NUMPY", "cannot be read"),
        ("a.csv", b"x,y\n1,2\n", "lacks the columns easting, northing"),
        ("a.csv", b"easting,northing\na,b\n", "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.txt", b"1 2", "positions come as"),
    ],
)
def test_bad_files_are_one_line(
    tmp_path: Path, name: str, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    arguments = ["--positions", str(tmp_path / name), "--output", str(tmp_path / "out")]
    assert main(["cluster", "build", *arguments]) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"heading_deg": np.zeros(3)}, "headings have shape (3,)"),
        ({"heading_deg": np.array(["north"] * 480)}, "headings are not numbers"),
        ({"utm": np.array(5.0)}, "positions have shape ()"),
        ({"utm": np.full((480, 2), np.inf)}, "480 positions are not finite"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_arrays_are_one_line_before_anything_is_reckoned(
    tmp_path: Path, streets: City, arrays: dict[str, np.ndarray], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a zone, headings are turned to the grid's north, which takes sound positions and as many headings."""
    np.savez(tmp_path / "a.npz", **{"utm": streets.utm[:480], **arrays})
    arguments = ["--positions", str(tmp_path / "a.npz"), "--zone", "10N", "--output", str(tmp_path / "out")]
    assert main(["cluster", "build", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1


def test_an_object_array_is_not_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", utm=np.array([[{}, {}]], dtype=object))
    arguments = ["--positions", str(tmp_path / "a.npz"), "--output", str(tmp_path / "out")]
    assert main(["cluster", "build", *arguments]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_pictures_without_headings_are_one_line(
    tmp_path: Path, streets: City, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", streets.utm)
    arguments = ["--positions", str(tmp_path / "a.npy"), "--output", str(tmp_path / "out"), "--kind", "pictures"]
    assert main(["cluster", "build", *arguments]) == 2
    assert "no picture has a heading" in capsys.readouterr().err


# --- faults ---


def build_process(positions: Path, output: Path, before: str = "") -> subprocess.Popen[str]:
    """`dsformer cluster build` in a process of its own, after the statements `before`."""
    script = textwrap.dedent(before) + textwrap.dedent(f"""
        import sys
        from dsformer_core.cli.main import main
        sys.exit(main(["cluster", "build", "--positions", {str(positions)!r}, "--output", {str(output)!r}]))
    """)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=uncovered_environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, positions: Path, number: signal.Signals) -> None:
    """Stopped at the last moment: both files are written and wait to take their place."""
    waits = """
        import pathlib, time, dsformer_core.staging as staging
        def sync(folder):
            (folder.parent / "waiting").touch()
            time.sleep(60)
        staging._sync_tree = sync
    """
    process = build_process(positions, tmp_path / "a", waits)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "waiting").exists():
        time.sleep(0.02)
    assert list(tmp_path.glob(".a.building-*/partition.yaml"))
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT, said
    assert said.strip() == "dsformer: interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["city.npz", "waiting"]


def test_ctrl_c_while_clustering_ends_it(tmp_path: Path) -> None:
    # A city of parallel streets that takes a while.
    random = np.random.default_rng(0)
    np.save(tmp_path / "city.npy", CORNER + random.uniform(0, 3000, (400_000, 2)))
    starts = """
        import pathlib
        from dsformer_core.clustering import blocks
        cut = blocks.strips
        def strips(*arguments):
            pathlib.Path("STARTED").touch()
            return cut(*arguments)
        blocks.strips = strips
    """.replace("STARTED", str(tmp_path / "started"))
    process = build_process(tmp_path / "city.npy", tmp_path / "a", starts)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "started").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT, said
    assert said.strip() == "dsformer: interrupted"
    assert not list(tmp_path.glob("*a.building*"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("limit", [100, 8000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, positions: Path, limit: int) -> None:
    """A limit on file size makes writes fail with an error as a full disk does."""
    full = f"""
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import dsformer_core.clustering.peaks, dsformer_core.clustering.headings
        from dsformer_core.clustering import partition
        written = partition._table
        def table(*arguments):
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
            return written(*arguments)
        partition._table = table
    """
    process = build_process(positions, tmp_path / "a", full)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "a was not written: File too large; free some space" in said
    assert len(said.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["city.npz"]
