import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest
import yaml

from dsformer_core.cli.main import main
from dsformer_core.clustering.config import BlockClusteringConfig
from dsformer_core.clustering.group import Group
from dsformer_core.clustering.partition import Partition, write_partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.pictures import read_picture
from dsformer_core.training.data import Draw, open_training_data
from dsformer_core.training.data.extract import extract_subset
from tests.compass_panoramas import write_panorama
from tests.uncovered import uncovered_environment

SIZE = (48, 48)
STREET = 64
"""Panoramas of a street whose extraction, two pictures of each, is interrupted."""
COMMAND = [sys.executable, "-c", "import sys; from dsformer_core.cli.main import main; sys.exit(main())"]
COMMAND += ["cluster", "extract"]


def extract(partition: Path, output: Path, **options: object) -> object:
    return extract_subset(Partition.open(partition), output, **{"size": (96, 96), "workers": 1, **options})


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, **options)


def contents(subset: Path) -> dict[str, bytes]:
    return {path.relative_to(subset).as_posix(): path.read_bytes() for path in subset.rglob("*.jpg")}


@pytest.mark.parametrize("aspect", ["keep", "squeeze"])
def test_a_subset_gives_the_pictures_that_the_partition_gives(shared_town: Path, tmp_path: Path, aspect: str) -> None:
    extract(shared_town, tmp_path / "subset", aspect=aspect)
    direct = open_training_data(shared_town, size=SIZE, aspect=aspect)
    stored = open_training_data(tmp_path / "subset", size=SIZE, aspect=aspect)
    assert stored.partition["config"] == direct.partition["config"]
    for direct_views, stored_views in zip(direct.groups, stored.groups, strict=True):
        for direct_view, stored_view in zip(direct_views, stored_views, strict=True):
            assert stored_view.name == direct_view.name
            assert np.array_equal(stored_view.starts, direct_view.starts)
            for label in range(len(direct_view)):
                for random in range(5):
                    ours, theirs = stored_view[Draw(label, random)][0], direct_view[Draw(label, random)][0]
                    difference = (ours.int() - theirs.int()).abs().float()
                    assert difference.mean() < 2 and difference.max() < 16


def test_a_panorama_in_two_classes_has_a_picture_in_each(shared_town: Path, tmp_path: Path) -> None:
    extraction = extract(shared_town, tmp_path / "subset")
    table = pa_parquet.read_table(tmp_path / "subset" / "classes.parquet").to_pylist()
    pictures = [row["picture"] for row in table if row["row"] == 0]
    assert pictures == [
        "0/0/000000/000000000.jpg",
        "0/90/000000/000000000.jpg",
        "1/0/000001/000000000.jpg",
        "1/90/000001/000000000.jpg",
    ]
    assert len({(tmp_path / "subset" / picture).read_bytes() for picture in pictures}) == 4
    assert len(contents(tmp_path / "subset")) == len(table) == extraction.pictures == extraction.written == 42


def test_given_again_it_writes_only_what_is_missing(shared_town: Path, tmp_path: Path) -> None:
    subset = tmp_path / "subset"
    extract(shared_town, subset)
    before = contents(subset)
    stamps = {path: path.stat().st_mtime_ns for path in subset.rglob("*.jpg")}
    gone = subset / "0/90/000001/000000005.jpg"
    gone.unlink()
    extraction = extract(shared_town, subset)
    assert (extraction.written, extraction.pictures) == (1, 42)
    assert contents(subset) == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items() if path != gone)


def write_long_street(folder: Path, count: int) -> Path:
    """Enough panoramas for an extraction to be interrupted."""
    utm = np.column_stack([380_000 + np.arange(count) * 0.1, np.full(count, 6_170_000.0)])
    names = [f"{number:04d}.jpg" for number in range(count)]
    first = write_panorama(folder / "street" / names[0], 3328, 512, 0).read_bytes()
    for name in names[1:]:
        (folder / "street" / name).write_bytes(first)
    point = utm[:1] + np.array([0, 15])
    write_partition(
        folder / "street.partition", [Group([np.arange(count)], utm[:1], point, point)], utm=utm,
        config=BlockClusteringConfig(), images=names, images_root="../street", headings_deg=np.zeros(count),
    )  # fmt: skip
    return folder / "street.partition"


def wait_until(condition: object, seconds: float = 150) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def lives(process_group: int) -> bool:
    try:
        os.killpg(process_group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_extraction_that_was_killed_goes_on_where_it_stopped(tmp_path: Path, number: signal.Signals) -> None:
    partition, subset = write_long_street(tmp_path, STREET), tmp_path / "subset"
    process = subprocess.Popen(
        [*COMMAND, str(partition), "--output", str(subset), "--workers", "2"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert wait_until(lambda: len(list(subset.rglob("*.jpg"))) >= 8 or process.poll() is not None)
    with pytest.raises(DsformerError, match="subset: another run is writing these pictures; wait for it"):
        extract(partition, subset, size=(512, 512))
    process.send_signal(number)
    _, messages = process.communicate()
    assert "Traceback" not in messages
    assert wait_until(lambda: not lives(process.pid)), "no process stays behind"
    written = contents(subset)
    assert 8 <= len(written) < 2 * STREET
    with pytest.raises(DsformerError, match=r"is not complete: give `dsformer cluster extract"):
        open_training_data(subset, size=SIZE)

    stamps = {path: path.stat().st_mtime_ns for path in subset.rglob("*.jpg")}
    extraction = extract(partition, subset, size=(512, 512))
    assert (extraction.pictures, extraction.written) == (2 * STREET, 2 * STREET - len(written))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    for path in stamps:
        assert read_picture(path).shape == (512, 512, 3)
    assert not list(subset.rglob("*.part"))


def workers_of(parent: int) -> list[int]:
    """The spawned children of a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent_of_it = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent_of_it == parent and "spawn_main" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended in the meantime
    return found


def test_a_process_that_died_is_said_so(tmp_path: Path) -> None:
    """As the kernel ends one when memory runs out."""
    partition, subset = write_long_street(tmp_path, STREET), tmp_path / "subset"
    process = subprocess.Popen(
        [*COMMAND, str(partition), "--output", str(subset), "--workers", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert wait_until(lambda: len(list(subset.rglob("*.jpg"))) >= 2 or process.poll() is not None)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, messages = process.communicate()
    assert process.returncode == 1
    assert "died, perhaps for want of memory" in messages and "Traceback" not in messages


def test_unreadable_panoramas_are_listed_and_left_out(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partition = Partition.open(town)
    images = partition.table.to_pylist()
    bad = {images[0]["image"]} | {row["image"] for row in images if (row["group"], row["class"]) == (1, 0)}
    for name in bad:
        (partition.images_root / name).write_bytes(b"no picture")
    arguments = [str(town), "--output", str(tmp_path / "subset"), "--size", "96", "--workers", "1"]
    assert main(["cluster", "extract", *arguments]) == 0
    assert "5 images could not be read, which leaves 1 classes empty" in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "subset" / "unreadable.csv").open()))
    assert {row["image"] for row in rows} == bad
    assert all("not a picture that can be read" in row["reason"] for row in rows)
    data = open_training_data(tmp_path / "subset", size=SIZE)
    assert [[len(view) for view in views] for views in data.groups] == [[3, 3], [1, 1]]
    for views in data.groups:
        for view in views:
            assert all(view.path(record).exists() for record in range(view.picture_count))

    # A panorama that was repaired is taken in the next time.
    whole = next(row["image"] for row in images if row["image"] not in bad)
    for name in bad:
        (partition.images_root / name).write_bytes((partition.images_root / whole).read_bytes())
    assert extract(town, tmp_path / "subset").unreadable == {}
    assert not (tmp_path / "subset" / "unreadable.csv").exists()


def test_nothing_readable_is_an_error(town: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "panoramas").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DsformerError, match=r"none of the 20 images below .*panoramas can be read: .*empty, 0 bytes"):
        extract(town, tmp_path / "subset")


def test_a_full_disk_is_said_in_one_line_and_what_is_there_is_whole(town: Path, tmp_path: Path) -> None:
    """A limit on the size of files acts like a full disk for pictures beyond it."""
    subset = tmp_path / "subset"

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1200, resource.RLIM_INFINITY))

    options = {"preexec_fn": small_files, "env": uncovered_environment()}
    done = command(town, "--output", subset, "--size", 96, "--workers", 1, **options)
    assert done.returncode == 1
    assert "free some space and give the command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(subset.rglob("*.part"))
    assert not yaml.safe_load((subset / "subset.yaml").read_text())["complete"]
    assert extract(town, subset).pictures == 42


def test_another_subset_is_not_mixed_in(town: Path, tmp_path: Path) -> None:
    subset = tmp_path / "subset"
    extract(town, subset)
    before = contents(subset)
    with pytest.raises(UsageError, match="holds pictures of another size"):
        extract(town, subset, size=(64, 64))
    with pytest.raises(UsageError, match="holds pictures of another aspect"):
        extract(town, subset, aspect="squeeze")
    with pytest.raises(UsageError, match="holds pictures of another partition"):
        extract(write_long_street(tmp_path, 2), subset)
    with pytest.raises(UsageError, match="exists and is not a subset"):
        extract(town, town)
    assert not (town / "lock").exists()
    assert contents(subset) == before
    with pytest.raises(UsageError, match="was extracted with aspect keep: train with that, not with squeeze"):
        open_training_data(subset, size=SIZE, aspect="squeeze")


def test_one_that_was_killed_before_it_described_itself_goes_on(shared_town: Path, tmp_path: Path) -> None:
    (tmp_path / "subset").mkdir()
    (tmp_path / "subset" / "lock").touch()
    assert extract(shared_town, tmp_path / "subset").written == 42


def test_a_partition_built_again_with_the_same_classes_goes_on_with_its_subset(town: Path, tmp_path: Path) -> None:
    extract(town, tmp_path / "subset")
    path = town / "partition.yaml"
    description = yaml.safe_load(path.read_text()) | {"input_sha256": "as other versions reckon it"}
    path.write_text(yaml.safe_dump(description))
    assert extract(town, tmp_path / "subset").written == 0
    assert open_training_data(tmp_path / "subset", size=SIZE).partition["input_sha256"] == description["input_sha256"]
    path.write_text(yaml.safe_dump(description | {"utm_zone": "32N"}))
    with pytest.raises(UsageError, match="holds pictures of another partition"):
        extract(town, tmp_path / "subset")


@pytest.mark.parametrize("damage", ["classes.parquet", "subset.yaml", "picture"])
def test_a_damaged_subset_is_refused(town: Path, tmp_path: Path, damage: str) -> None:
    subset = tmp_path / "subset"
    extract(town, subset)
    if damage == "picture":
        (subset / "0").rename(subset / "moved")
    else:
        (subset / damage).write_bytes((subset / damage).read_bytes()[:30])
    with pytest.raises(DsformerError, match=r"missing|does not describe|of another kind") as error:
        open_training_data(subset, size=SIZE)
    assert "\n" not in str(error.value)


def test_small_pictures_are_not_enlarged_in_silence(
    shared_town: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extract(shared_town, tmp_path / "subset")
    assert open_training_data(tmp_path / "subset", size=(128, 128)).groups[0][0][Draw(0, 0)][0].shape == (3, 128, 128)
    assert "pictures of 96x96 are enlarged to 128x128" in caplog.text


def test_the_command_says_what_it_made_and_what_was_wrong(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "panoramas").rename(tmp_path / "moved")
    done = command(town, "--output", tmp_path / "subset", "--size", 64, "--images", tmp_path / "moved")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == f"{tmp_path}/subset: 42 pictures of 5 classes, 42 written now"
    again = ["cluster", "extract", str(town), "--output", str(tmp_path / "subset"), "--size"]
    assert main([*again, "64", "--images", str(tmp_path / "moved"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pictures"], report["written"], report["unreadable"]) == (42, 0, {})
    assert main([*again, "4"]) == 2
    assert "--size 4: at least 16" in capsys.readouterr().err


def test_moved_panoramas_are_said_to_be_missing(town: Path, tmp_path: Path) -> None:
    (tmp_path / "panoramas").rename(tmp_path / "moved")
    with pytest.raises(DsformerError, match="panoramas: no such folder"):
        extract(town, tmp_path / "subset")
    assert not (tmp_path / "subset").exists()


@pytest.mark.parametrize(("folder", "words"), [("nowhere", "nowhere: no such folder"), (".", "jpg is missing")])
def test_a_wrong_folder_of_images_is_the_calls_mistake_not_the_partitions(
    town: Path, tmp_path: Path, folder: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as error:
        extract(town, tmp_path / "subset", images_root=tmp_path / folder)
    assert "partition.yaml" not in str(error.value)
    assert not (tmp_path / "subset").exists()
