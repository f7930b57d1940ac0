"""Maps that are searched by codes, damaged, or with files that belong to something else."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from dsformer_core.place_map import MapError, PlaceMap
from dsformer_core.place_map.format import file_digest, read_description, write_description
from tests.binary_maps import places, spots
from tests.synthetic import write_map

OWN_FILES = ["index.faiss", "thresholds.npy"]


@pytest.fixture(scope="module")
def by_signs(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    directory = tmp_path_factory.mktemp("maps") / "signs.map"
    return write_map(directory, places(2_000), spots(2_000), index="binary")


def copy(place_map: PlaceMap, folder: Path) -> Path:
    return Path(shutil.copytree(place_map.directory, folder / "copy.map", dirs_exist_ok=True))


def refused(directory: Path, message: str) -> None:
    with pytest.raises(MapError, match=message) as caught:
        PlaceMap.open(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OWN_FILES)
@pytest.mark.parametrize("fault", ["missing", "truncated", "empty", "link"])
def test_a_damaged_file_is_named(by_signs: PlaceMap, tmp_path: Path, name: str, fault: str) -> None:
    directory = copy(by_signs, tmp_path)
    path = directory / name
    content = path.read_bytes()
    path.unlink()
    if fault == "link":
        (tmp_path / "private").write_bytes(content)
        path.symlink_to(tmp_path / "private")
    elif fault != "missing":
        path.write_bytes(content[: len(content) // 2] if fault == "truncated" else b"")
    refused(directory, name)


def replaced(directory: Path, name: str, write: Callable[[Path], Any]) -> None:
    """Another file in its place, with the right checksum."""
    write(directory / name)
    description = read_description(directory)
    description["files"][name] = file_digest(directory / name)
    write_description(directory / "map.yaml", description)


def index_of(count: int, bits: int = 512, kind: Any = faiss.IndexBinaryFlat) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        index = kind(bits)
        index.add(np.zeros((count, bits // 8), np.uint8))
        faiss.write_index_binary(index, str(path))

    return write


def float_index(path: Path) -> None:
    faiss.write_index(faiss.IndexFlatIP(512), str(path))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("index.faiss", index_of(1_999), r"holds 1999 codes of 512 bits instead of 2000 of 512"),
        ("index.faiss", index_of(2_000, bits=256), r"holds 2000 codes of 256 bits instead of 2000 of 512"),
        ("index.faiss", index_of(2_000, kind=faiss.IndexBinaryHNSW), r"holds a IndexBinaryHNSW"),
        ("index.faiss", float_index, r"index\.faiss cannot be read"),
        ("index.faiss", lambda path: path.write_bytes(b"IBxF"), r"index\.faiss cannot be read"),
        ("index.faiss", lambda path: path.write_bytes(path.read_bytes()[:-1]), r"index\.faiss cannot be read"),
        ("index.faiss", lambda path: path.write_bytes(b"\xff" * 64), r"index\.faiss cannot be read"),
        ("index.faiss", lambda path: path.write_bytes(b""), r"index\.faiss cannot be read"),
        ("thresholds.npy", lambda path: np.save(path, np.zeros(511, np.float32)), r"thresholds\.npy holds float32"),
        ("thresholds.npy", lambda path: np.save(path, np.zeros(512)), r"thresholds\.npy holds float64"),
        ("thresholds.npy", lambda path: np.save(path, np.full(512, np.nan, np.float32)), "finite"),
        ("thresholds.npy", lambda path: np.save(path, np.array([{}], object)), r"thresholds\.npy cannot be read"),
        ("thresholds.npy", lambda path: path.write_bytes(b"PK\x03\x04"), r"thresholds\.npy cannot be read"),
    ],
)
def test_files_that_belong_to_something_else_are_refused(
    by_signs: PlaceMap, tmp_path: Path, name: str, write: Callable[[Path], Any], message: str
) -> None:
    directory = copy(by_signs, tmp_path)
    replaced(directory, name, write)
    refused(directory, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": "dreams"}, r"index\.codes is 'dreams'"),
        ({"codes": ["signs"]}, r"index\.codes is \['signs'\]"),
        ({"candidates": 0}, r"index\.candidates is 0"),
        ({"candidates": True}, r"index\.candidates is True"),
        ({"candidates": "many"}, r"index\.candidates is 'many'"),
        ({"kind": "flat"}, r"lists 'index\.faiss', which is no file of a place map"),
        ({"kind": "ivf"}, r"index of the kind 'ivf', this program knows flat, flat_fp16, binary, ivf_pq, hnsw"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    by_signs: PlaceMap, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    directory = copy(by_signs, tmp_path)
    description = read_description(directory)
    description["index"] |= changes
    write_description(directory / "map.yaml", description)
    refused(directory, message)


def test_a_map_of_a_later_version_says_so_whatever_files_it_has(by_signs: PlaceMap, tmp_path: Path) -> None:
    directory = copy(by_signs, tmp_path)
    description = read_description(directory)
    (directory / "index.faiss").rename(directory / "lists.ivf")
    description["files"]["lists.ivf"] = description["files"].pop("index.faiss")
    description["index"] = {"kind": "ivf", "lists": 64}
    write_description(directory / "map.yaml", description)
    refused(directory, r"index of the kind 'ivf', this program knows .*: update dsformer")


@pytest.mark.parametrize("name", OWN_FILES)
def test_a_file_that_no_checksum_covers_is_not_read(by_signs: PlaceMap, tmp_path: Path, name: str) -> None:
    directory = copy(by_signs, tmp_path)
    description = read_description(directory)
    del description["files"][name]
    write_description(directory / "map.yaml", description)
    refused(directory, rf"files\.{re.escape(name)} is missing")


def test_maps_from_before_there_were_kinds_are_searched_as_they_were(tmp_path: Path) -> None:
    """They say "flat", and hold float16 or float32."""
    known = places(300)
    for index, dtype in (("flat_fp16", "float16"), ("flat", "float32")):
        directory = write_map(tmp_path / f"{index}.map", known, spots(300), index=index).directory
        before = PlaceMap.open(directory).search(known[:20], k=5)
        description = read_description(directory)
        assert description["index"]["kind"] == index
        write_description(directory / "map.yaml", description | {"index": {"kind": "flat"}})
        old = PlaceMap.open(directory, verify="full")
        assert (old.index_kind, str(old.descriptors.dtype)) == (index, dtype)
        np.testing.assert_array_equal(old.search(known[:20], k=5).indices, before.indices)
        np.testing.assert_array_equal(old.search(known[:20], k=5).similarities, before.similarities)
