"""What was altered in an index, its description or its descriptors is refused or gives no wrong answer."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.described import Described
from dsformer_core.place_map import MapError, PlaceMap
from dsformer_core.place_map.format import read_description, write_description
from dsformer_core.place_map.indexes.faiss_files import faiss
from dsformer_core.place_map.indexes.hnsw import HnswIndex
from dsformer_core.place_map.indexes.index import (
    INDEX_KINDS,
)
from dsformer_core.place_map.indexes.inverted_lists import inverted_file
from dsformer_core.place_map.indexes.ivf_pq import IvfPqIndex
from tests.indexed_maps import COUNT, DIMENSION, KINDS, TRAINED, places, stored
from tests.synthetic import ORIGIN, unit


def copy(place_map: PlaceMap, folder: Path) -> Path:
    return Path(shutil.copytree(place_map.directory, folder / "copy.map"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_byte_goes_unnoticed(maps: dict[str, PlaceMap], tmp_path: Path, kind: str) -> None:
    """Two hundred of each kind, spread over its files by their sizes' roots, so that small ones get some."""
    directory, random = copy(maps[kind], tmp_path), np.random.default_rng(len(kind))
    names = sorted(path.name for path in directory.iterdir())
    share = np.sqrt([(directory / name).stat().st_size for name in names])
    for name in random.choice(names, 200, p=share / share.sum()):
        path = directory / name
        with path.open("r+b") as file:
            at = int(random.integers(0, path.stat().st_size))
            file.seek(at)
            before = file.read(1)
            file.seek(at)
            file.write(bytes([before[0] ^ int(random.integers(1, 256))]))
            file.flush()
            with pytest.raises(MapError, match=str(name)) as caught:
                PlaceMap.open(directory, verify="full")
            assert "\n" not in str(caught.value)
            file.seek(at)
            file.write(before)
    PlaceMap.open(directory, verify="full")


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_that_nobody_looked_for_gives_no_wrong_answer(
    maps: dict[str, PlaceMap], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As of descriptors that are too large to be read whenever they are opened."""
    monkeypatch.setattr("dsformer_core.place_map.checks.HASHED_WHEN_OPENED", 1_000)
    directory, random = copy(maps[kind], tmp_path), np.random.default_rng(len(kind))
    known = np.asarray(maps[kind].descriptors, np.float32)
    queries = unit(known[::12] + 0.3 * unit(random.normal(size=(100, DIMENSION))))
    ways: list[dict[str, Any]] = [{}, {"near": ORIGIN, "radius": 1_000.0}]
    before = [maps[kind].search(queries, k=5, **way) for way in ways]
    path, size = directory / "descriptors.npy", maps[kind].descriptors.itemsize
    whole = path.read_bytes()
    head = len(whole) - COUNT * DIMENSION * size
    # The first is the highest of an exponent, which turns a tenth into thousands.
    places_of_bits = [(COUNT // 2 * DIMENSION * size + size - 1, 6)]
    places_of_bits += [(int(random.integers(COUNT * DIMENSION * size)), int(random.integers(8))) for _ in range(4)]
    refused = []
    for at, bit in places_of_bits:
        altered = bytearray(whole)
        altered[head + at] ^= 1 << bit
        path.write_bytes(altered)
        place_map = PlaceMap.open(directory)
        assert place_map.unread == ("descriptors.npy",)
        for way, good in zip(ways, before, strict=True):
            try:
                found = place_map.search(queries, k=5, **way)
            except MapError as error:
                assert re.fullmatch(r".*descriptors\.npy holds other .*`dsformer map verify --deep .*", str(error))
                refused.append((at, bit))
                continue
            others = (good.indices[:, 0] != at // (DIMENSION * size)) & (found.indices[:, 0] != good.indices[:, 0])
            # Two that were as good as equal may change places.
            np.testing.assert_allclose(found.similarities[others, 0], good.similarities[others, 0], atol=0.05)
    assert refused[:2] == places_of_bits[:1] * 2


def test_what_is_altered_while_it_is_searched_is_refused(maps: dict[str, PlaceMap], tmp_path: Path) -> None:
    """Of a map that was whole when it was opened."""
    directory = copy(maps["binary"], tmp_path)
    place_map = PlaceMap.open(directory, verify="full")
    query = np.asarray(place_map.descriptors[:1], np.float32)
    for number in (np.nan, np.inf, 100.0):
        with (directory / "descriptors.npy").open("r+b") as file:
            file.seek(-2 * COUNT * DIMENSION, os.SEEK_END)
            file.write(np.full(DIMENSION, number, np.float16).tobytes())
        for way in ({}, {"near": ORIGIN, "radius": 1_000.0}):
            if np.isnan(number):
                assert 0 not in place_map.search(query, k=5, **way).indices
            with pytest.raises(MapError, match=r"descriptors\.npy holds other descriptors than were written"):
                place_map.search(query, k=COUNT, **way)


@pytest.mark.parametrize("kind", TRAINED)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": 5}, r"index\.factory is 5"),
        ({"effort": 0}, r"index\.effort is 0"),
        ({"effort": True}, r"index\.effort is True"),
        ({"recall": "high"}, r"index\.recall is 'high'"),
        ({"recall": 2.0}, r"index\.recall is 2\.0"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    maps: dict[str, PlaceMap], tmp_path: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    directory = copy(maps[kind], tmp_path)
    description = read_description(directory)
    description["index"] |= changes
    write_description(directory / "map.yaml", description)
    with pytest.raises(MapError, match=message):
        PlaceMap.open(directory)


@pytest.mark.parametrize("kind", TRAINED)
@pytest.mark.parametrize("what", ["others", "fewer", "longer", "cut", "noise", "empty"])
def test_an_index_of_something_else_is_refused(tmp_path: Path, maps: dict[str, PlaceMap], kind: str, what: str) -> None:
    """Its checksum would be right, were it in `map.yaml`."""
    mapped, fields = maps[kind].descriptors, maps[kind].index.details()
    content = (maps[kind].directory / "index.faiss").read_bytes()
    path = tmp_path / "index.faiss"
    if what == "others":
        faiss.write_index(faiss.index_factory(DIMENSION, "LSH"), str(path))
    elif what == "fewer":
        mapped = mapped[:-1]
    elif what == "longer":
        mapped = np.zeros((COUNT, DIMENSION + 8), np.float16)
    else:
        path.write_bytes({"cut": content[:-100], "noise": b"\xff" * 500, "empty": b""}[what])
    if what in ("fewer", "longer"):
        path.write_bytes(content)
        mapped = stored(tmp_path, mapped)
    with pytest.raises(MapError, match=r"index\.faiss") as caught:
        INDEX_KINDS[kind].open(tmp_path, fields, mapped).search(Described(places(1)), 3)
    assert "\n" not in str(caught.value)


def _in_another_file(index: Any, folder: Path) -> None:
    """Lists as FAISS keeps them beside an index, in a file that the index names."""
    ivf = inverted_file(index)
    elsewhere = faiss.OnDiskInvertedLists(ivf.nlist, ivf.code_size, str(folder / "elsewhere"))
    for number in range(ivf.nlist):
        size = ivf.invlists.list_size(number)
        elsewhere.add_entries(number, size, ivf.invlists.get_ids(number), ivf.invlists.get_codes(number))
    elsewhere.this.disown()
    ivf.replace_invlists(elsewhere, True)


def _named(row: int) -> Callable[[Any, Path], None]:
    """Lists in which every reference is the same one."""

    def change(index: Any, folder: Path) -> None:
        ivf = inverted_file(index)
        for number in range(ivf.nlist):
            if size := ivf.invlists.list_size(number):
                faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size)[:] = row

    return change


@pytest.mark.parametrize("lists", ["memory", "disk"])
@pytest.mark.parametrize("change", [_in_another_file, _named(0), _named(-7), _named(COUNT)])
def test_lists_of_anything_but_each_reference_once_are_refused(
    maps: dict[str, PlaceMap], tmp_path: Path, lists: str, change: Callable[[Any, Path], None]
) -> None:
    """Their checksum would be right, were it in `map.yaml`; a file that is named in there is not opened."""
    index = faiss.read_index(str(maps["ivf_pq"].directory / "index.faiss"))
    change(index, tmp_path)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    (tmp_path / "elsewhere").unlink(missing_ok=True)
    fields = maps["ivf_pq"].index.details() | {"lists": lists}
    with pytest.raises(MapError, match=r"index\.faiss holds lists of other than 1200 references"):
        IvfPqIndex.open(tmp_path, fields, maps["ivf_pq"].descriptors)


def test_links_that_lead_out_of_the_map_are_refused(maps: dict[str, PlaceMap], tmp_path: Path) -> None:
    directory = maps["hnsw"].directory
    graph = faiss.read_index(str(directory / "index.faiss"), faiss.IO_FLAG_SKIP_STORAGE)
    faiss.rev_swig_ptr(graph.hnsw.neighbors.data(), 1)[0] = COUNT
    faiss.write_index(graph, str(tmp_path / "index.faiss"), faiss.IO_FLAG_SKIP_STORAGE)
    index = HnswIndex.open(tmp_path, maps["hnsw"].index.details(), maps["hnsw"].descriptors)
    with pytest.raises(MapError, match=r"links that lead out of the map|index\.faiss cannot be read"):
        index.search(Described(places(1)), 3)


# Codes of a network, whatever the index


def test_verify_says_what_it_did_not_read(
    maps: dict[str, PlaceMap], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dsformer_core.place_map.checks.HASHED_WHEN_OPENED", 1_000)
    directory = copy(maps["flat_fp16"], tmp_path)
    content = bytearray((directory / "descriptors.npy").read_bytes())
    content[-1] ^= 1
    (directory / "descriptors.npy").write_bytes(content)
    assert main(["map", "verify", str(directory)]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "every checksum agrees but that of descriptors.npy, which was not read: --deep does" in words
    assert main(["map", "verify", "--deep", str(directory)]) == 1
    assert "descriptors.npy was altered" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("kind", KINDS)
def test_descriptors_that_are_cut_off_while_the_map_is_open_end_nothing(
    maps: dict[str, PlaceMap], tmp_path: Path, kind: str
) -> None:
    """In a process of its own: without a look at the file, the system would end it."""
    directory = copy(maps[kind], tmp_path)
    script = (
        "import os, sys, numpy as np\n"
        "from dsformer_core.errors import DsformerError\n"
        "from dsformer_core.place_map import PlaceMap\n"
        "place_map = PlaceMap.open(sys.argv[1])\n"
        "os.truncate(place_map.directory / 'descriptors.npy', 4096)\n"
        "query = np.eye(1, place_map.descriptor_dim)\n"
        "try:\n"
        "    found = place_map.search(query, 5)\n"
        "except DsformerError as error:\n"
        "    print(error)\n"
        "else:\n"
        "    print('searched' if np.isfinite(found.similarities).all() else 'wrong')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(directory)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    held_in_memory = kind in ("ivf_pq", "hnsw", "binary")
    assert "was cut off while it was in use" in ended.stdout or (held_in_memory and ended.stdout == "searched\n")
