"""What comes back out of a map, and that a damaged one is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsformer_core.place_map import MapError, Matches, PlaceMap
from dsformer_core.place_map.format import folder_digest, read_description, write_description
from tests.synthetic import ORIGIN, unit, write_map


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    random = np.random.default_rng(0)
    utm = ORIGIN + random.uniform(-200, 200, (300, 2))
    yaw = np.where(random.random(300) < 0.2, np.nan, random.uniform(-np.pi, np.pi, 300))
    return write_map(
        tmp_path_factory.mktemp("maps") / "town.map", unit(random.normal(size=(300, 512))), utm, yaw, thumbnails=True
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 40), seed=st.integers(0, 1000), index=st.sampled_from(["flat_fp16", "flat"]))
def test_what_goes_in_comes_out(tmp_path: Path, count: int, seed: int, index: str) -> None:
    random = np.random.default_rng(seed)
    descriptors = unit(random.normal(size=(count, 512)))
    utm = ORIGIN + random.uniform(-1e4, 1e4, (count, 2))
    yaw = random.uniform(-np.pi, np.pi, count)
    yaw[random.random(count) < 0.3] = np.nan

    written = write_map(tmp_path / "a.map", descriptors, utm, yaw, index=index, overwrite=True)
    opened = PlaceMap.open(written.directory, verify="full")

    assert opened.count == len(opened) == count
    assert opened.ids == [f"{row:06d}.jpg" for row in range(count)]
    np.testing.assert_allclose(opened.utm, utm, atol=1e-3)
    np.testing.assert_allclose(opened.yaw, yaw, atol=1e-9)
    np.testing.assert_allclose(opened.descriptors, descriptors, atol=1e-3 if index == "flat_fp16" else 0)
    np.testing.assert_allclose(opened.frame.to_utm(opened.frame.to_local(utm)), utm)
    assert opened.calibration == written.calibration
    assert opened.spacing == written.spacing > 0


@pytest.mark.parametrize("index", ["flat_fp16", "flat"])
def test_search_is_exact(tmp_path: Path, index: str) -> None:
    random = np.random.default_rng(1)
    descriptors = unit(random.normal(size=(500, 512)))
    place_map = write_map(tmp_path / "a.map", descriptors, ORIGIN + random.uniform(0, 500, (500, 2)), index=index)
    queries = unit(random.normal(size=(7, 512)))

    matches = place_map.search(queries, k=20)

    exact = queries @ np.asarray(place_map.descriptors, np.float32).T
    np.testing.assert_array_equal(matches.indices, np.argsort(-exact, axis=1)[:, :20])
    np.testing.assert_allclose(matches.similarities, -np.sort(-exact, axis=1)[:, :20], atol=1e-6)
    assert matches.indices.dtype == np.int64
    assert matches.similarities.dtype == np.float32


def test_equal_similarities_come_in_the_order_of_rows(tmp_path: Path) -> None:
    same = np.tile(unit(np.ones((1, 512))), (6, 1))
    place_map = write_map(tmp_path / "a.map", same, ORIGIN + np.arange(12.0).reshape(6, 2))
    np.testing.assert_array_equal(place_map.search(same[0], k=6).indices, [[0, 1, 2, 3, 4, 5]])


def test_a_small_map_gives_all_it_has(place_map: PlaceMap) -> None:
    assert place_map.search(np.asarray(place_map.descriptors[:3], np.float32), k=1000).indices.shape == (3, 300)


def test_matches_are_taken_query_by_query(place_map: PlaceMap) -> None:
    matches = place_map.search(np.asarray(place_map.descriptors[:3], np.float32), k=5)
    assert len(matches) == 3
    assert [len(one) for one in matches] == [1, 1, 1]
    assert isinstance(matches[-1], Matches)
    assert matches[-1].indices[0, 0] == 2
    with pytest.raises(IndexError):
        matches[3]


@pytest.mark.parametrize(
    ("queries", "k"),
    [(np.ones((2, 3)), 5), (np.full((1, 512), np.nan), 5), (np.ones((1, 512)), 0), (np.ones((1, 2, 512)), 5)],
)
def test_queries_that_cannot_be_searched_are_refused(place_map: PlaceMap, queries: np.ndarray, k: int) -> None:
    with pytest.raises(ValueError, match=r"queries|k is"):
        place_map.search(queries, k=k)


def test_no_queries_no_matches(place_map: PlaceMap) -> None:
    assert place_map.search(np.empty((0, 512)), k=5).indices.shape == (0, 5)


def test_another_model_or_other_weights_are_refused(place_map: PlaceMap) -> None:
    place_map.check_model("gem_mobilenet_v2", "0" * 64)
    with pytest.raises(MapError, match="built with gem_mobilenet_v2, not dsformer_resnet50"):
        place_map.check_model("dsformer_resnet50", "0" * 64)
    with pytest.raises(MapError, match=r"weights 000000000000 .* these are ffffffffffff"):
        place_map.check_model("gem_mobilenet_v2", "f" * 64)


_MEMORY = """
import re, sys
from pathlib import Path
from dsformer_core.place_map import PlaceMap
import numpy as np

def own_kilobytes():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

# The libraries' own memory is no question of the map's size.
PlaceMap.open(sys.argv[1])
before = own_kilobytes()
place_map = PlaceMap.open(sys.argv[1], verify="full")
opened = own_kilobytes()
place_map.search(np.full((1, 512), 512**-0.5, np.float32))
print(opened - before, own_kilobytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell what memory a process owns")
@pytest.mark.parametrize(("index", "while_searching"), [("flat", 12), ("flat_fp16", 16 + 12)])
def test_descriptors_stay_on_disk(tmp_path: Path, index: str, while_searching: int) -> None:
    count = 16_384
    descriptors = unit(np.random.default_rng(0).standard_normal((count, 512), np.float32))
    utm = ORIGIN + np.column_stack([np.arange(count) * 3.0, np.zeros(count)])
    write_map(tmp_path / "a.map", descriptors, utm, index=index)

    done = subprocess.run([sys.executable, "-c", _MEMORY, tmp_path / "a.map"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    opened, searched = (int(kilobytes) / 1024 for kilobytes in done.stdout.split())
    assert opened < 12, "opening read the descriptors into memory"
    assert searched < while_searching


def copy(place_map: PlaceMap, folder: Path) -> Path:
    return Path(shutil.copytree(place_map.directory, folder / "copy.map"))


@pytest.mark.parametrize("name", ["map.yaml", "references.parquet", "descriptors.npy"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "empty", "flipped"])
def test_a_damaged_file_is_named(place_map: PlaceMap, tmp_path: Path, name: str, fault: str) -> None:
    directory = copy(place_map, tmp_path)
    path = directory / name
    content = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "empty":
        path.write_bytes(b"")
    else:
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
    with pytest.raises(MapError, match=name) as caught:
        PlaceMap.open(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", ["flat_fp16", "flat"])
@pytest.mark.parametrize(("device", "expected"), [("cpu", []), ("cuda", [0]), ("cuda:1", [1]), ("cuda:7", [])])
def test_only_the_gpu_that_was_asked_for_gets_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str, device: str, expected: list[int]
) -> None:
    """FAISS as it is on a machine with two GPUs, as far as who gets what; the search itself stays on the CPU."""
    used: list[int] = []

    def to_gpu(resources: object, gpu: int, index: faiss.Index) -> faiss.Index:
        used.append(gpu)
        return index

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", to_gpu, raising=False)
    random = np.random.default_rng(1)
    place_map = write_map(
        tmp_path / "a.map", unit(random.normal(size=(9, 512))), ORIGIN + np.arange(18).reshape(9, 2), index=index
    )
    place_map.search(place_map.descriptors, k=1)
    assert used == []
    place_map.search_on(device)
    np.testing.assert_array_equal(place_map.search(place_map.descriptors, k=1).indices[:, 0], np.arange(9))
    assert used == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_goes_unnoticed(place_map: PlaceMap, tmp_path: Path, data: st.DataObject) -> None:
    directory = tmp_path / "copy.map"
    if not directory.exists():
        copy(place_map, tmp_path)
    names = ["map.yaml", "references.parquet", "descriptors.npy", "thumbnails/00000/00000007.jpg"]
    path = directory / data.draw(st.sampled_from(names))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    try:
        path.write_bytes(content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :])
        with pytest.raises(MapError):
            PlaceMap.open(directory, verify="full")
    finally:
        path.write_bytes(content)


def test_a_lost_thumbnail_is_found_by_the_full_check_only(place_map: PlaceMap, tmp_path: Path) -> None:
    directory = copy(place_map, tmp_path)
    (directory / "thumbnails/00000/00000007.jpg").unlink()
    assert PlaceMap.open(directory).thumbnail_path(7) is None
    with pytest.raises(MapError, match="thumbnails"):
        PlaceMap.open(directory, verify="full")


def rewrite(directory: Path, **changes: object) -> None:
    write_description(directory / "map.yaml", read_description(directory) | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format version 99, this program reads version 1: update dsformer"),
        ({"count": 299}, "descriptors.npy"),
        ({"index": {"kind": "quantum"}}, "'quantum'"),
        ({"spacing": float("nan")}, "nan m apart"),
        ({"datum": {"latitude": 200.0, "longitude": 0.0, "altitude": 0.0}}, "does not describe a map"),
        ({"calibration": {}}, "does not describe a map"),
        ({"utm_zone": "99N"}, "does not describe a map"),
        ({"utm_zone": 33}, r"utm_zone is 33, not of type str"),
        ({"format": "1"}, r"format is '1', not of type int"),
        ({"datum": {"latitude": "north", "longitude": 0, "altitude": 0}}, r"datum\.latitude is 'north'"),
        ({"datum": {"latitude": 0.0, "longitude": 0.0}}, r"datum\.altitude is missing"),
        ({"spacing": True}, r"spacing is True"),
        ({"files": []}, r"files is \[\], not a mapping"),
        ({"files": {}}, r"files\.references\.parquet is missing"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(place_map: PlaceMap, tmp_path: Path, changes: dict, message: str) -> None:
    directory = copy(place_map, tmp_path)
    rewrite(directory, **changes)
    with pytest.raises(MapError, match=message) as caught:
        PlaceMap.open(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/dev/zero", "/etc/hostname", "../other.map/map.yaml", "notes.txt", "", "."])
def test_only_files_of_a_map_are_looked_at(place_map: PlaceMap, tmp_path: Path, name: str) -> None:
    directory = copy(place_map, tmp_path)
    rewrite(directory, files=read_description(directory)["files"] | {name: "0" * 64})
    with pytest.raises(MapError, match=rf"map\.yaml lists '{name}', which is no file of a place map"):
        PlaceMap.open(directory, verify="full")


@pytest.mark.parametrize("stand_in", ["device", "pipe", "folder", "link"])
@pytest.mark.parametrize("name", ["map.yaml", "references.parquet", "descriptors.npy"])
def test_what_stands_in_for_a_file_is_refused(place_map: PlaceMap, tmp_path: Path, name: str, stand_in: str) -> None:
    directory = copy(place_map, tmp_path)
    path = directory / name
    content = path.read_bytes()
    path.unlink()
    if stand_in == "device":
        path.symlink_to("/dev/zero")
    elif stand_in == "pipe":
        os.mkfifo(path)
    elif stand_in == "folder":
        path.mkdir()
    else:
        (tmp_path / "private").write_bytes(content)
        path.symlink_to(tmp_path / "private")
    with pytest.raises(MapError, match=rf"{name} is (no file|not what belongs there), or a link to something else"):
        PlaceMap.open(directory)


def test_a_thumbnail_does_not_lead_to_other_files(place_map: PlaceMap, tmp_path: Path) -> None:
    directory = copy(place_map, tmp_path)
    shutil.copytree(directory / "thumbnails/00000", tmp_path / "private")
    shutil.rmtree(directory / "thumbnails/00000")
    (directory / "thumbnails/00000").symlink_to(tmp_path / "private")
    assert PlaceMap.open(directory).thumbnail_path(7) is None
    (directory / "thumbnails/00000").unlink()
    (directory / "thumbnails/00000").mkdir()
    (directory / "thumbnails/00000/00000007.jpg").symlink_to("/etc/hostname")
    assert PlaceMap.open(directory).thumbnail_path(7) is None


def test_thumbnails_that_no_checksum_covers_are_not_shown(place_map: PlaceMap, tmp_path: Path) -> None:
    directory = copy(place_map, tmp_path)
    files = read_description(directory)["files"]
    rewrite(directory, files={name: digest for name, digest in files.items() if name != "thumbnails"})
    assert PlaceMap.open(directory).thumbnail_path(7) is None


def test_a_map_of_links_such_as_colcon_makes_is_one(place_map: PlaceMap, tmp_path: Path) -> None:
    directory = tmp_path / "install/town.map"
    for path in place_map.directory.rglob("*"):
        if path.is_file():
            link = directory / path.relative_to(place_map.directory)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    opened = PlaceMap.open(directory, verify="full")
    assert opened.thumbnail_path(7) == directory / "thumbnails/00000/00000007.jpg"


def test_a_folder_that_is_no_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"map\.yaml is missing"):
        PlaceMap.open(tmp_path)
    with pytest.raises(MapError, match="no such place map"):
        PlaceMap.open(tmp_path / "nowhere")
    (tmp_path / "town.map").write_text("a file")
    with pytest.raises(MapError, match=r"town\.map is a file") as caught:
        PlaceMap.open(tmp_path / "town.map")
    assert caught.value.exit_status == 2


def test_pickles_are_never_loaded(place_map: PlaceMap, tmp_path: Path) -> None:
    directory = copy(place_map, tmp_path)
    np.save(directory / "descriptors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    from dsformer_core.place_map.format import file_digest

    files = read_description(directory)["files"] | {"descriptors.npy": file_digest(directory / "descriptors.npy")}
    rewrite(directory, files=files)
    with pytest.raises(MapError, match=r"descriptors\.npy cannot be read"):
        PlaceMap.open(directory)


def test_the_description_is_plain_yaml(place_map: PlaceMap) -> None:
    description = yaml.safe_load((place_map.directory / "map.yaml").read_text())
    assert description["count"] == 300
    assert description["utm_zone"] == "33N"
    assert description["files"]["thumbnails"] == folder_digest(place_map.directory / "thumbnails")
