"""What every kind of index promises, asked of each in the same words."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.cli.map.index_arguments import INDEX_KINDS as OFFERED
from dsformer_core.cli.map.index_arguments import amount_of_memory
from dsformer_core.errors import UsageError
from dsformer_core.extractor import Described
from dsformer_core.place_map import IndexRequest, MapError, PlaceMap
from dsformer_core.place_map.faiss_files import faiss
from dsformer_core.place_map.flat_index import FlatIndex, HalfFlatIndex
from dsformer_core.place_map.format import read_description, write_description
from dsformer_core.place_map.hnsw_index import HnswIndex
from dsformer_core.place_map.index import (
    DEFAULT_INDEX,
    INDEX_KINDS,
    MOST_CODES,
    MOST_COMPARED,
    Index,
    check_request,
    choose_index,
    storage_of,
    write_index,
)
from dsformer_core.place_map.inverted_lists import inverted_file, write_inverted_file
from dsformer_core.place_map.ivf_pq_index import IvfPqIndex
from tests.synthetic import ORIGIN, unit, write_map

KINDS = list(INDEX_KINDS)
TRAINED = ["ivf_pq", "hnsw"]
DIMENSION = 64
COUNT = 1_200
# Trained in a tenth of the time that the default takes.
FACTORIES = {"ivf_pq": "IVF16,PQ8"}


def places(count: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    """Descriptors of ten views of each place."""
    random = np.random.default_rng(seed)
    middles = unit(random.normal(size=(max(1, count // 10), dimension)))
    views = middles[random.integers(0, len(middles), count)]
    return unit(views + 0.7 * unit(random.normal(size=(count, dimension))))


def stored(folder: Path, descriptors: np.ndarray, kind: str = "hnsw") -> np.ndarray:
    np.save(folder / "descriptors.npy", descriptors.astype(INDEX_KINDS[kind].storage))
    return np.load(folder / "descriptors.npy", mmap_mode="r")


def written(folder: Path, descriptors: np.ndarray, request: IndexRequest) -> Index:
    mapped = stored(folder, descriptors, request.kind)
    index = INDEX_KINDS[request.kind]
    fields = index.write(folder, mapped, None, request)
    index.files(fields)
    return index.open(folder, fields, mapped)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PlaceMap]:
    folder, descriptors = tmp_path_factory.mktemp("maps"), places(COUNT)
    utm = ORIGIN + np.random.default_rng(1).uniform(-500, 500, (COUNT, 2))
    requests = {kind: IndexRequest(kind, factory=FACTORIES.get(kind)) for kind in KINDS}
    return {kind: write_map(folder / f"{kind}.map", descriptors, utm, index=requests[kind]) for kind in KINDS}


def test_the_command_line_offers_every_kind() -> None:
    assert ("auto", *INDEX_KINDS) == OFFERED
    assert DEFAULT_INDEX == "auto"


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_comparing_all_finds(maps: dict[str, PlaceMap], kind: str) -> None:
    place_map = maps[kind]
    assert place_map.index_kind == kind
    known = np.asarray(place_map.descriptors, np.float32)
    queries = unit(known[::12] + 0.3 * unit(np.random.default_rng(2).normal(size=(100, DIMENSION))))
    exact = np.argsort(-queries @ known.T, axis=1)[:, :20]
    matches = place_map.search(queries, k=20)
    assert (matches.indices[:, 0] == exact[:, 0]).mean() >= (1 if INDEX_KINDS[kind].is_exact else 0.97)
    assert (
        np.mean([np.isin(first[:5], found).mean() for first, found in zip(exact, matches.indices, strict=True)]) > 0.9
    )
    similar = np.einsum("qd,qkd->qk", queries, known[matches.indices])
    np.testing.assert_allclose(matches.similarities, similar, atol=1e-5)
    assert (np.diff(matches.similarities) <= 0).all()
    alone = place_map.search(queries[3], k=20)
    np.testing.assert_array_equal(alone.indices[0], matches.indices[3])


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_found_where_all_are_asked_for(maps: dict[str, PlaceMap], kind: str) -> None:
    query = np.asarray(maps[kind].descriptors[:1], np.float32)
    rows = maps[kind].search(query, k=2 * COUNT).indices[0]
    assert sorted(rows.tolist()) == list(range(COUNT)) and rows[0] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_map_of_few_references_can_have_any_index(tmp_path: Path, kind: str, count: int) -> None:
    """Or another one, where it cannot be trained."""
    descriptors = places(count)
    place_map = write_map(
        tmp_path / "a.map", descriptors, ORIGIN + np.arange(2.0 * count).reshape(count, 2), index=kind
    )
    assert place_map.index_kind == ("flat_fp16" if count < INDEX_KINDS[kind].fewest else kind)
    assert place_map.search(descriptors, k=50).indices.shape == (count, count)
    assert place_map.search(descriptors, k=1).indices[:, 0].tolist() == list(range(count))


@pytest.mark.parametrize("kind", TRAINED)
def test_references_that_are_all_the_same_are_found(tmp_path: Path, kind: str) -> None:
    index = written(tmp_path, np.tile(places(1), (COUNT, 1)), IndexRequest(kind, factory=FACTORIES.get(kind)))
    similarities, rows = index.search(Described(places(1)), 30)
    assert len(set(rows[0].tolist())) == 30 and (similarities > 0.999).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_references_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever the number of threads; of more chunks than threads."""
    monkeypatch.setattr("dsformer_core.place_map.inverted_lists.CHUNK_BYTES", 250 * 4 * DIMENSION)
    digests = set()
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        folder.mkdir()
        mapped = stored(folder, places(2_000), kind)
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        try:
            fields, files = write_index(
                INDEX_KINDS[kind], folder, mapped, None, IndexRequest(kind, factory=FACTORIES.get(kind))
            )
        finally:
            faiss.omp_set_num_threads(before)
        assert {path.name for path in folder.iterdir()} == {"descriptors.npy", *files}
        digests.add((str(fields), *(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files)))
    assert len(digests) == 1


def test_a_hundred_thousand_references(tmp_path: Path) -> None:
    """Random ones, which no list holds together: the effort is found that reaches the wanted recall nevertheless."""
    descriptors = places(100_000)
    request = IndexRequest("ivf_pq", factory="IVF128,PQ8", recall=0.9)
    index = written(tmp_path, descriptors, request)
    assert isinstance(index, IvfPqIndex) and index.recall >= 0.9 and index.effort < 128
    queries = unit(descriptors[::1_000] + 0.3 * unit(np.random.default_rng(2).normal(size=(100, DIMENSION))))
    _, rows = index.search(Described(queries), 1)
    exact = np.argmax(queries @ np.load(tmp_path / "descriptors.npy").astype(np.float32).T, axis=1)
    assert (rows[:, 0] == exact).mean() > 0.85
    again = IvfPqIndex.open(tmp_path, index.details() | {"lists": "disk"}, np.load(tmp_path / "descriptors.npy", "r"))
    np.testing.assert_array_equal(again.search(Described(queries), 5)[1], index.search(Described(queries), 5)[1])


@pytest.mark.parametrize("factory", ["IVF16,PQ8", "IVF900,PQ8", "PCA32,IVF16,PQ8", "IVF16,SQ8", "RR32,IVF16,PQ8"])
def test_the_file_of_lists_is_what_faiss_writes(tmp_path: Path, factory: str) -> None:
    """With most lists full, and with most of them empty."""
    known = places(COUNT).astype(np.float16)
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    ivf = inverted_file(index)
    ivf.cp.min_points_per_centroid = 1
    if hasattr(ivf, "pq"):
        ivf.pq.cp.min_points_per_centroid, ivf.do_polysemous_training = 1, False
    index.train(known.astype(np.float32)[:1_000])
    part = known[:20] if "900" in factory else known
    write_inverted_file(tmp_path / "index.faiss", index, part, threads=2)
    index.add(part.astype(np.float32))
    assert (tmp_path / "index.faiss").read_bytes() == faiss.serialize_index(index).tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["index.faiss"]


@pytest.mark.parametrize("kind", TRAINED)
def test_a_full_disk_is_an_os_error_and_leaves_no_scraps(tmp_path: Path, kind: str) -> None:
    (tmp_path / "index.faiss").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        INDEX_KINDS[kind].write(
            tmp_path, stored(tmp_path, places(COUNT)), None, IndexRequest(kind, effort=1, factory=FACTORIES.get(kind))
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["descriptors.npy", "index.faiss"]


def test_a_graph_is_kept_without_the_descriptors(tmp_path: Path) -> None:
    index = written(tmp_path, places(COUNT, dimension=512), IndexRequest("hnsw", effort=32))
    assert (tmp_path / "index.faiss").stat().st_size < COUNT * 330
    assert isinstance(index, HnswIndex)
    (tmp_path / "index.faiss").unlink()
    assert index.search(Described(places(1, dimension=512)), 5)[1].shape == (1, 5), "the map that was opened"


def test_effort_and_candidates_are_what_was_asked_for(tmp_path: Path) -> None:
    index = written(tmp_path, places(COUNT), IndexRequest("ivf_pq", candidates=7, effort=3))  # and what it is by itself
    assert isinstance(index, IvfPqIndex) and (index.candidates, index.effort) == (7, 3)
    graph = written(tmp_path, places(COUNT), IndexRequest("hnsw", factory="HNSW8,SQfp16", effort=33))
    assert graph.details() | {"recall": 0} == {"factory": "HNSW8,SQfp16", "effort": 33, "recall": 0}


def test_more_recall_costs_more_effort(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    descriptors = unit(np.random.default_rng(0).normal(size=(COUNT, DIMENSION)))
    efforts = []
    for recall in (0.5, 0.99):
        index = written(tmp_path, descriptors, IndexRequest("ivf_pq", recall=recall, factory=FACTORIES["ivf_pq"]))
        assert isinstance(index, IvfPqIndex) and index.recall >= recall
        efforts.append(index.effort)
    assert efforts[0] < efforts[1]
    with caplog.at_level(logging.WARNING):
        written(tmp_path, descriptors, IndexRequest("ivf_pq", candidates=1, effort=1, factory=FACTORIES["ivf_pq"]))
    assert "altered references" in caplog.text


# Which index


@pytest.mark.parametrize(
    ("request_", "count", "kind"),
    [
        (IndexRequest(), 1, "flat_fp16"),
        (IndexRequest(), MOST_COMPARED, "flat_fp16"),
        (IndexRequest(), MOST_COMPARED + 1, "binary"),
        (IndexRequest(), MOST_CODES, "binary"),
        (IndexRequest(), MOST_CODES + 1, "ivf_pq"),
        (IndexRequest(recall=1.0), 10 * MOST_CODES, "flat_fp16"),
        (IndexRequest(memory_limit=50_000_000), MOST_COMPARED, "binary"),
        (IndexRequest(memory_limit=5_000_000), MOST_COMPARED, "ivf_pq"),
        (IndexRequest("hnsw"), 10, "hnsw"),
        (IndexRequest("ivf_pq"), 10, "flat_fp16"),
        (IndexRequest("flat"), 10 * MOST_CODES, "flat"),
    ],
)
def test_the_choice(request_: IndexRequest, count: int, kind: str) -> None:
    index, why = choose_index(request_, count, 512, has_codes=False)
    assert index.kind == kind
    assert why.startswith(kind) and "\n" not in why
    assert storage_of(request_) == index.storage


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "hsnw"}, r"there is no index 'hsnw'; did you mean hnsw\?"),
        ({"kind": "flat", "candidates": 5}, r"'flat' .* has no candidates .*binary, ivf_pq"),
        ({"kind": "binary", "factory": "IVF4,PQ8"}, r"'binary' has no factory"),
        ({"kind": "flat_fp16", "effort": 3}, r"'flat_fp16' has no effort"),
        ({"factory": "IVF4,PQ8"}, r"say of which kind it is \(ivf_pq, hnsw\)"),
        ({"kind": "hnsw", "recall": 1.0}, r"may miss references"),
        ({"candidates": 0}, r"candidates = 0: there must be 1 or more"),
        ({"memory_limit": 0}, r"memory_limit = 0"),
        ({"effort": True}, r"effort = True"),
        ({"recall": 0.0}, r"recall = 0\.0"),
        ({"recall": float("nan")}, r"recall = nan"),
        ({"factory": " "}, r"factory is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_request(IndexRequest(**fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (IndexRequest("ivf_pq", factory="HNSW32"), "is no inverted file"),
        (IndexRequest("ivf_pq", factory="IVF5000,PQ8"), "needs 5000 references to be trained, and there are 1200"),
        (IndexRequest("ivf_pq", factory="IVF4,PQ7"), "is no index of 64 numbers"),
        (IndexRequest("ivf_pq", factory="nonsense"), r"is no index of 64 numbers \(could not parse"),
        (IndexRequest("ivf_pq", factory="IVF4,PQ8x4fs"), "cannot be written out of core"),
        (IndexRequest("hnsw", factory="HNSW32"), "is no graph over float16"),
        (IndexRequest("hnsw", factory="IVF4,PQ8"), "is no graph over float16"),
        (IndexRequest("ivf_pq", memory_limit=60_000), "memory for 117 of them: 0.2MB are enough"),
    ],
)
def test_an_index_that_cannot_be_had_is_one_line(tmp_path: Path, request_: IndexRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        written(tmp_path, places(COUNT), request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["flat", "flat_fp16", "binary", "hnsw"])
def test_what_does_not_fit_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=rf"'{kind}' of 1,000,000 references needs .*[MG]B .* take 'ivf_pq'"):
        choose_index(IndexRequest(kind, memory_limit=30_000_000), 1_000_000, 512, has_codes=False)


@pytest.mark.parametrize(
    ("request_", "count", "said", "unsaid"),
    [
        (IndexRequest(memory_limit=2), 30, "an index of 30 references", "binary"),
        (IndexRequest("ivf_pq", memory_limit=2), 30, "an index of 30 references", "ivf_pq"),
        (IndexRequest("flat", memory_limit=2), 30, "an index 'flat' of 30 references", "ivf_pq"),
        (IndexRequest(memory_limit=5_000_000, recall=1.0), 100_000, "an exact index of 100,000 references", "ivf_pq"),
        (IndexRequest("hnsw", memory_limit=5_000_000), 100_000, "an index 'hnsw' of 100,000 references", "binary"),
    ],
)
def test_what_would_fit_is_said(request_: IndexRequest, count: int, said: str, unsaid: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_index(request_, count, 128, has_codes=False)
    words = str(caught.value)
    assert words.startswith(f"{said} needs ") and f"is {request_.memory_limit:,} bytes" in words
    assert unsaid not in words
    assert ("a recall below 1" in words) == (request_.recall == 1)
    # Who does as it says gets an index.
    found = re.search(r"raise it to (\S+?B)\b", words)
    assert found
    choose_index(replace(request_, memory_limit=amount_of_memory(found[1])), count, 128, has_codes=False)


def test_lists_that_do_not_fit_stay_on_disk(tmp_path: Path) -> None:
    index = written(
        tmp_path, places(5_000), IndexRequest("ivf_pq", factory="IVF32,PQ16", memory_limit=140_000, effort=4)
    )
    assert index.details()["lists"] == "disk"
    small = written(tmp_path, places(5_000), IndexRequest("ivf_pq", factory="IVF32,PQ16", effort=4))
    assert small.details()["lists"] == "memory"


_PEAK = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from dsformer_core.place_map import IndexRequest
from dsformer_core.place_map.ivf_pq_index import IvfPqIndex

def held(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
stored = np.load(folder / "descriptors.npy", mmap_mode="r")
before = held("VmRSS")
fields = IvfPqIndex.write(folder, stored, None, IndexRequest("ivf_pq", 20, limit, factory="IVF64,PQ16", effort=4))
print(held("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell what memory a process had")
def test_making_lists_keeps_to_the_memory_limit(tmp_path: Path) -> None:
    """Widened, the descriptors alone are twice as many bytes as there may be."""
    count, limit = 100_000, 100 * 2**20
    descriptors = np.lib.format.open_memmap(tmp_path / "descriptors.npy", "w+", np.float16, (count, 512))
    for start in range(0, count, 20_000):
        descriptors[start : start + 20_000] = np.random.default_rng(start).standard_normal((20_000, 512), np.float32)
    descriptors.flush()
    done = subprocess.run([sys.executable, "-c", _PEAK, tmp_path, str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 20 < float(done.stdout) < limit / 2**20, "MiB more than before"


# Damage


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


def test_codes_of_a_hash_branch_are_kept_beside_any_index(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (10, 64), np.uint8)
    for index in (FlatIndex, HalfFlatIndex, HnswIndex):
        fields, files = write_index(index, tmp_path, stored(tmp_path, places(10), index.kind), codes, IndexRequest())
        assert "codes.npy" in files and fields["kind"] == index.kind
        np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), codes)
    _, files = write_index(INDEX_KINDS["binary"], tmp_path, stored(tmp_path, places(10)), codes, IndexRequest())
    assert "codes.npy" not in files
    _, files = write_index(HalfFlatIndex, tmp_path, stored(tmp_path, places(10)), None, IndexRequest())
    assert "codes.npy" not in files


# Commands


def test_info_and_verify_know_every_kind(maps: dict[str, PlaceMap], capsys: pytest.CaptureFixture[str]) -> None:
    for kind, place_map in maps.items():
        assert main(["map", "info", str(place_map.directory)]) == 0
        assert f"{kind}, " in capsys.readouterr().out
        assert main(["map", "info", str(place_map.directory), "--json"]) == 0
        said = capsys.readouterr().out
        assert all(f'"{key}"' in said for key in place_map.index.details())
        assert main(["map", "verify", str(place_map.directory)]) == 0
        assert "every checksum agrees\n" in capsys.readouterr().out


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
