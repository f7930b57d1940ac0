"""Recordings as recorders leave them: split, compressed, cut short, with types that nobody knows."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode
from rosbags.typesys import get_types_from_msg

from dsformer_core.errors import DsformerError
from dsformer_core.sources import SourceOptions, open_source
from tests.recordings import longitude_after, recording, write_drive

ZSTD = CompressionFormat.ZSTD


def brightnesses(path: Path) -> list[int]:
    """What the pictures of a drive show: the second each was taken in."""
    pictures, skipped = open_source(path, options=SourceOptions(every_metres=0.0)).scan()
    assert not skipped
    return [round(picture.load().mean()) for picture in pictures]


WHOLE = [tick // 5 for tick in range(51)]


@pytest.mark.parametrize(
    ("form", "compression"),
    [
        ("sqlite3", (CompressionMode.MESSAGE, ZSTD)),
        ("sqlite3", (CompressionMode.FILE, ZSTD)),
        ("mcap", (CompressionMode.FILE, ZSTD)),
        ("mcap", (CompressionMode.STORAGE, ZSTD)),
        ("ros1", (Writer1.CompressionFormat.LZ4,)),
        ("ros1", (Writer1.CompressionFormat.BZ2,)),
    ],
)
def test_compressed_recordings(tmp_path: Path, form: str, compression: Any) -> None:
    assert brightnesses(write_drive(tmp_path, form, compression=compression)) == WHOLE


@pytest.mark.parametrize("form", ["sqlite3", "mcap"])
def test_a_recorder_that_was_killed_leaves_no_metadata(tmp_path: Path, form: str) -> None:
    path = write_drive(tmp_path, form)
    (path / "metadata.yaml").unlink()
    assert brightnesses(path) == WHOLE
    (file,) = path.iterdir()
    assert brightnesses(file) == WHOLE, "one file of a recording is one, too"


@pytest.mark.parametrize("metadata", [True, False])
def test_a_recording_in_several_files(tmp_path: Path, metadata: bool) -> None:
    folder = tmp_path / "whole"
    folder.mkdir()
    for number, first in enumerate((0, 4, 8)):
        with recording(tmp_path, "mcap", name=f"part{number}") as recorder:
            for tick in range(first, first + 4):
                recorder.fix(tick, longitude=longitude_after(3 * tick))
                recorder.jpeg(tick)
        # The tenth comes after the ninth, and not after the first.
        shutil.copy(recorder.path / f"part{number}.mcap", folder / f"whole_{number + 8}.mcap")
    if metadata:
        text = (recorder.path / "metadata.yaml").read_text()
        names = "\n".join(f"  - whole_{number}.mcap" for number in (8, 9, 10))
        text = text.replace("  - part2.mcap", names)
        assert names in text
        (folder / "metadata.yaml").write_text(text)
    assert brightnesses(folder) == list(range(12))


def without_index(path: Path) -> Path:
    """The same MCAP file without its summary, as some recorders write it."""
    data = path.read_bytes()
    (summary,) = struct.unpack_from("<Q", data, len(data) - 28)
    path.write_bytes(data[:summary] + b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0) + data[-8:])
    return path


def test_mcap_without_an_index_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "mcap")
    assert brightnesses(without_index(path / "drive.mcap")) == WHOLE


@pytest.mark.parametrize(("form", "suffix"), [("mcap", "mcap"), ("sqlite3", "db3"), ("ros1", "bag")])
def test_a_file_that_was_cut_short_is_named_with_what_helps(tmp_path: Path, form: str, suffix: str) -> None:
    path = write_drive(tmp_path, form)
    file = path if form == "ros1" else path / f"drive.{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    help_by_form = {"mcap": "`mcap recover`", "sqlite3": r"`sqlite3 FILE \.recover`", "ros1": ""}
    with pytest.raises(DsformerError, match=rf"drive\.{suffix}: .*{help_by_form[form]}") as caught:
        open_source(file).scan()
    assert "\n" not in str(caught.value)
    file.write_bytes(b"")
    with pytest.raises(DsformerError, match=rf"drive\.{suffix}: cannot be read"):
        open_source(file)


def test_a_ros1_recording_without_index_is_to_be_reindexed(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "ros1")
    data = path.read_bytes()
    at = data.index(b"index_pos=") + len(b"index_pos=")
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    with pytest.raises(DsformerError, match=r"drive\.bag: .*`rosbag reindex` mends it"):
        open_source(path)


def test_compression_that_nothing_here_undoes_is_said(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "sqlite3", compression=(CompressionMode.MESSAGE, ZSTD))
    metadata = path / "metadata.yaml"
    text = metadata.read_text()
    metadata.write_text(text.replace("compression_format: zstd", "compression_format: lz4"))
    with pytest.raises(
        DsformerError, match=r"'lz4' is not supported\): rosbags cannot decompress it.*ros2 bag convert"
    ):
        open_source(path)
    metadata.unlink()
    with pytest.raises(DsformerError, match=r"messages are compressed and there is no metadata.yaml: `ros2 bag re"):
        open_source(path).scan()
    path = write_drive(tmp_path, "sqlite3", name="file", compression=(CompressionMode.FILE, ZSTD))
    (path / "metadata.yaml").unlink()
    with pytest.raises(DsformerError, match=r"files are compressed and there is no metadata.yaml: unzstd them"):
        open_source(path)


@pytest.mark.parametrize(("module", "named"), [("backports.zstd", "backports"), ("lz4.frame", "lz4")])
def test_a_library_that_is_missing_is_named_with_how_to_get_it(tmp_path: Path, module: str, named: str) -> None:
    path = write_drive(tmp_path, "mcap", seconds=1)
    program = (
        f"import sys; sys.modules['{module}'] = None\n"
        "from dsformer_core.sources import open_source\n"
        f"try: open_source({str(path)!r})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.startswith(f"DsformerError {path}: needs {named}")
    assert run.stdout.endswith("which is not installed: pip install 'dsformer_ros[bags]'\n")


def test_types_that_nobody_knows_do_not_matter(tmp_path: Path) -> None:
    with recording(tmp_path, "mcap") as recorder:
        kind = "acme_msgs/msg/Secret"
        recorder.store.register(get_types_from_msg("int32 a\nint32[3] b", kind))
        for tick in range(4):
            recorder.write("/secret", kind, recorder.type(kind)(a=1, b=np.zeros(3, np.int32)), tick)
            recorder.fix(tick, longitude=longitude_after(3 * tick))
            recorder.jpeg(tick)
    file = recorder.path / "drive.mcap"
    # Somebody's definition that no parser understands.
    data = file.read_bytes()
    assert data.count(b"int32 a") >= 1
    file.write_bytes(data.replace(b"int32 a", b"int?? a"))
    assert brightnesses(recorder.path) == [0, 1, 2, 3]


def test_topics_without_a_slash(tmp_path: Path) -> None:
    with recording(tmp_path, "ros1") as recorder:
        for tick in range(4):
            recorder.fix(tick, longitude=longitude_after(3 * tick), topic="gps/fix")
            recorder.jpeg(tick, topic="front")
    options = SourceOptions(topics=("/front",), positions="/gps/fix")
    pictures, _ = open_source(recorder.path, options=options).scan()
    assert [round(picture.load().mean()) for picture in pictures] == [0, 1, 2, 3]
    assert pictures[0].id.startswith("front/") and "#front@" in pictures[0].image


def test_a_recording_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "ros1", seconds=2)
    assert len(brightnesses(path)) == 11
    path.unlink()
    assert len(brightnesses(write_drive(tmp_path, "ros1", seconds=4))) == 21


def test_a_damaged_message_costs_its_picture_only(tmp_path: Path) -> None:
    with recording(tmp_path, "sqlite3") as recorder:
        for tick in range(5):
            recorder.fix(tick, longitude=longitude_after(3 * tick))
            if tick != 2:
                recorder.jpeg(tick)
            else:
                connection = recorder._connections["/camera/image/compressed"]
                recorder._writer.write(connection, 1_700_000_002 * 10**9, b"\0\1\0\0\7")
    pictures, (skipped,) = open_source(recorder.path).scan()
    assert [round(picture.load().mean()) for picture in pictures] == [0, 1, 3, 4]
    assert skipped.reason == "1 messages are damaged"
