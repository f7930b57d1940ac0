"""Maps that are searched by codes: built by the real thing, asked, and damaged."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsformer_core.cli.main import main
from dsformer_core.cli.map.index_arguments import INDEX_KINDS as OFFERED
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Described, Extractor
from dsformer_core.models import create_model
from dsformer_core.models.checkpoint import save_checkpoint
from dsformer_core.pictures import read_picture
from dsformer_core.place_map import MapError, PlaceMap, build_place_map
from dsformer_core.place_map.binary_index import BinaryIndex
from dsformer_core.place_map.codes import CANDIDATES, CODE_BYTES
from dsformer_core.place_map.format import file_digest, read_description, write_description
from dsformer_core.place_map.index import DEFAULT_INDEX, INDEX_KINDS
from dsformer_core.place_map.index_request import IndexRequest
from dsformer_core.place_map.stored_rows import StoredRows
from dsformer_core.sources import open_source
from tests.synthetic import ORIGIN, unit, write_map, write_picture, write_pictures

BINARY = IndexRequest("binary")
OWN_FILES = ["index.faiss", "thresholds.npy"]


def places(count: int, seed: int = 0, dimension: int = 512) -> np.ndarray:
    """Descriptors of several views of each place, which share most of what they say."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(1, dimension)) + random.normal(size=(max(1, count // 10), dimension))
    return unit(middles[random.integers(0, len(middles), count)] + 0.5 * random.normal(size=(count, dimension)))


def spots(count: int) -> np.ndarray:
    return ORIGIN + np.random.default_rng(1).uniform(-500, 500, (count, 2))


@pytest.fixture(scope="module")
def by_signs(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    directory = tmp_path_factory.mktemp("maps") / "signs.map"
    return write_map(directory, places(2_000), spots(2_000), index="binary")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    torch.manual_seed(0)
    model = create_model("gem_mobilenet_v2", variant="rerank")
    path = tmp_path_factory.mktemp("weights") / "hashing.safetensors"
    save_checkpoint(model, path)
    return Extractor("gem_mobilenet_v2", path, device="cpu", threads=1)


def test_the_command_line_offers_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert ("auto", *INDEX_KINDS) == OFFERED
    assert DEFAULT_INDEX in OFFERED
    with pytest.raises(SystemExit):
        main(["map", "build", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert f"(default: {CANDIDATES})" in words
    assert "4 bytes per number of the descriptor, 2048 for 512" in words


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 60),
    seed=st.integers(0, 1000),
    dimension=st.sampled_from([64, 512, 768]),
    k=st.integers(1, 70),
    codes=st.booleans(),
)
def test_with_every_reference_a_candidate_it_is_exact(
    tmp_path: Path, count: int, seed: int, dimension: int, k: int, codes: bool
) -> None:
    random = np.random.default_rng(seed)
    descriptors = places(count, seed, dimension)
    descriptors[count // 2] = descriptors[0]  # equally similar to everything
    np.save(tmp_path / "descriptors.npy", descriptors.astype(np.float16))
    stored = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    known = random.integers(0, 256, (count, CODE_BYTES), np.uint8) if codes else None
    index = BinaryIndex.open(tmp_path, BinaryIndex.write(tmp_path, stored, known, BINARY), stored)
    queries = unit(random.normal(size=(4, dimension)))
    asked = Described(queries, random.integers(0, 256, (4, CODE_BYTES), np.uint8) if codes else None)

    similarities, rows = index.search(asked, min(k, count))

    exact = np.einsum("nd,qd->qn", stored.astype(np.float64), queries)
    expected = np.argsort(-exact.round(12), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(similarities, np.take_along_axis(exact, expected, 1), atol=1e-6)


def test_it_finds_what_an_exact_search_finds(by_signs: PlaceMap) -> None:
    """Views of mapped places, as a robot sees them; six in seven references are no candidates."""
    known = np.asarray(by_signs.descriptors, np.float32)
    queries = unit(known[::20] + 0.3 * unit(np.random.default_rng(2).normal(size=(100, 512))))
    exact = np.argsort(-queries @ known.T, axis=1)[:, :20]
    matches = by_signs.search(queries, k=20)
    assert (matches.indices[:, 0] == exact[:, 0]).mean() >= 0.99
    shared = [np.isin(first[:5], found).mean() for first, found in zip(exact, matches.indices, strict=True)]
    assert np.mean(shared) > 0.95
    similar = np.einsum("qd,qkd->qk", queries, known[matches.indices])
    np.testing.assert_allclose(matches.similarities, similar, atol=1e-5)
    assert (np.diff(matches.similarities) <= 0).all()
    alone = by_signs.search(queries[3], k=20)
    np.testing.assert_array_equal(alone.indices[0], matches.indices[3])


def test_as_many_as_are_asked_for_come_however_few_are_candidates(by_signs: PlaceMap) -> None:
    query = np.asarray(by_signs.descriptors[:1], np.float32)
    assert CANDIDATES < 1_500
    rows = by_signs.search(query, k=1_500).indices[0]
    assert len(set(rows.tolist())) == 1_500 and rows[0] == 0


def test_equal_similarities_come_in_the_order_of_rows(tmp_path: Path) -> None:
    same = np.tile(places(1), (600, 1))
    place_map = write_map(tmp_path / "a.map", same, spots(600), index="binary")
    for _ in range(3):
        np.testing.assert_array_equal(place_map.search(same[0], k=50).indices, [np.arange(50)])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux to tell what is mapped")
def test_what_is_asked_leaves_no_page_of_the_descriptors_in_memory(by_signs: PlaceMap, tmp_path: Path) -> None:
    directory = copy(by_signs, tmp_path)
    place_map = PlaceMap.open(directory)
    place_map.search(np.asarray(by_signs.descriptors[::10], np.float32), k=20)
    lines = rf"{re.escape(str(directory))}/descriptors\.npy\n(?:.*\n)*?Rss: +(\d+) kB"
    (mapped,) = re.findall(lines, Path("/proc/self/smaps").read_text())
    assert int(mapped) <= 64, f"{mapped} of 2000 kB"


def test_a_gpu_is_not_asked(by_signs: PlaceMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    place_map = PlaceMap.open(by_signs.directory)
    place_map.search_on("cuda:1")
    assert place_map.search(np.asarray(place_map.descriptors[:3], np.float32), k=1).indices[:, 0].tolist() == [0, 1, 2]


def test_a_map_that_is_replaced_while_it_is_open_stays_as_it_was(tmp_path: Path) -> None:
    first, second = places(700, seed=3), places(700, seed=4)
    place_map = write_map(tmp_path / "a.map", first, spots(700), index="binary")
    write_map(tmp_path / "a.map", second, spots(700), index="binary", overwrite=True)
    assert place_map.search(first[:50], k=1).similarities.min() > 0.999


def test_a_file_that_is_cut_off_while_it_is_open_is_an_error(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / "a.map", places(700), spots(700), index="binary")
    os.truncate(tmp_path / "a.map/descriptors.npy", 100_000)
    with pytest.raises(DsformerError, match=r"descriptors\.npy was cut off while it was in use"):
        place_map.search(np.full(512, 512**-0.5), k=5)


@pytest.mark.parametrize("system", ["POSIX", "Windows"])
def test_stored_rows_are_those_of_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    if system == "Windows":
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "posix_fadvise")
    np.save(tmp_path / "a.npy", places(90).astype(np.float16))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    rows = np.array([3, 89, 0, 3])
    np.testing.assert_array_equal(StoredRows(mapped)[rows], mapped[rows])
    assert StoredRows(mapped)[rows[:0]].shape == (0, 512)
    np.testing.assert_array_equal(StoredRows(mapped).span(80, 95), mapped[80:])


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs a system that can be told what is read next")
def test_the_disk_hears_of_all_rows_before_the_first_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", places(90).astype(np.float16))
    rows = StoredRows(np.load(tmp_path / "a.npy", mmap_mode="r"))
    advise, read = os.posix_fadvise, os.pread
    steps: list[tuple[str, int]] = []

    def advised(file: int, offset: int, length: int, advice: int) -> None:
        assert (length, advice) == (1024, os.POSIX_FADV_WILLNEED)
        steps.append(("announced", offset))
        advise(file, offset, length, advice)

    def was_read(file: int, length: int, offset: int) -> bytes:
        steps.append(("read", offset))
        return read(file, length, offset)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "pread", was_read)
    rows[np.array([3, 89, 0])]
    offsets = [128 + 1024 * row for row in (3, 89, 0)]
    assert steps == [(step, offset) for step in ("announced", "read") for offset in offsets]


# Codes of a hash branch


def test_codes_of_the_hash_branch_are_kept_for_what_could_be_read(tmp_path: Path, network: Extractor) -> None:
    drive = write_pictures(tmp_path / "drive", 9)
    (drive / "002.jpg").write_bytes(b"")
    (drive / "005.jpg").write_bytes((drive / "005.jpg").read_bytes()[:700])
    place_map = build_place_map(open_source(drive), network, tmp_path / "a.map", index="binary", batch_size=4)
    assert place_map.count == 7
    assert isinstance(place_map.index, BinaryIndex) and place_map.index.signs is None
    described = network.describe([read_picture(Path(path)) for path in place_map.images])
    assert described.codes is not None
    np.testing.assert_array_equal(place_map.index.codes, described.codes)
    assert place_map.search(described, k=3).indices[:, 0].tolist() == list(range(7))
    with pytest.raises(ValueError, match="codes have shape"):
        place_map.search(Described(described.descriptors, described.codes[:3]), k=3)


def test_without_codes_it_compares_every_descriptor_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsformer_core.place_map.binary_index._AT_ONCE", 128)
    random = np.random.default_rng(0)
    descriptors = places(700)
    np.save(tmp_path / "descriptors.npy", descriptors.astype(np.float16))
    stored = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    fields = BinaryIndex.write(tmp_path, stored, random.integers(0, 256, (700, CODE_BYTES), np.uint8), BINARY)
    index = BinaryIndex.open(tmp_path, fields, stored)
    queries = unit(random.normal(size=(5, 512)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            similarities, rows = index.search(Described(queries), 30)
    exact = queries @ stored.astype(np.float32).T
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :30])
    np.testing.assert_allclose(similarities, np.take_along_axis(exact, rows, 1), atol=1e-6)
    assert len(caplog.messages) == 1 and "asked without" in caplog.messages[0]


@pytest.mark.parametrize("codes", ["hash branch", "signs"])
def test_the_commands(
    tmp_path: Path, network: Extractor, codes: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    drive, directory = write_pictures(tmp_path / "drive", 6), tmp_path / "town.map"
    write_picture(tmp_path / "later.jpg", latitude=55.7 + 2 * 5 / 111_320, seed=2)
    weights = str(tmp_path / "weights.safetensors") if codes == "hash branch" else "untrained"
    if codes == "hash branch":
        torch.manual_seed(0)
        save_checkpoint(create_model("gem_mobilenet_v2", variant="rerank"), Path(weights))
    build = ["--model", "gem_mobilenet_v2", "--weights", weights, "--index", "binary", "--candidates", "70"]
    assert main(["map", "build", "--images", str(drive), "--output", str(directory), *build]) == 0
    assert f"binary, codes from {codes}, 70 candidates" in capsys.readouterr().out
    assert main(["map", "info", str(directory), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    expected = {"index": "binary", "codes": codes, "candidates": 70, "bytes_per_reference": CODE_BYTES}
    assert {key: info[key] for key in expected} == expected
    assert info["position_bytes_per_reference"] == 32
    assert main(["map", "verify", str(directory)]) == 0
    capsys.readouterr()
    ask = ["localize", str(tmp_path / "later.jpg"), "--map", str(directory), "--weights", weights, "--json"]
    assert main([*ask, "--min-probability", "0.0001"]) == 0
    answer = json.loads(capsys.readouterr().out)["answers"][0]
    assert answer["hypotheses"][0]["references"][0] == "002.jpg"
    assert "asked without" not in caplog.text


@pytest.mark.parametrize("variant", ["standard", "rerank"])
def test_building_tells_of_weights_that_would_make_better_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    torch.manual_seed(0)
    save_checkpoint(create_model("selavprpp_base", variant=variant, blocks=1), tmp_path / "weights.safetensors")
    given = ["--images", str(write_pictures(tmp_path / "drive", 2)), "--output", str(tmp_path / "town.map")]
    given += ["--model", "selavprpp_base", "--weights", str(tmp_path / "weights.safetensors"), "--index"]
    line = "codes: signs of descriptors; selavprpp_base has weights with a hash branch: --weights official-rerank\n"
    assert main(["map", "build", *given, "binary"]) == 0
    assert (line in capsys.readouterr().err) == (variant == "standard")
    assert main(["map", "build", *given, "flat", "--overwrite"]) == 0
    assert line not in capsys.readouterr().err


@pytest.mark.parametrize("full", ["index.faiss", "thresholds.npy"])
def test_a_disk_that_is_full_when_codes_are_written_leaves_no_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """The file is a link to a device on which there is never room."""
    real = BinaryIndex.write.__func__

    def write(cls: type[BinaryIndex], folder: Path, *given: Any) -> dict[str, Any]:
        (folder / full).symlink_to("/dev/full")
        return real(cls, folder, *given)

    monkeypatch.setattr(BinaryIndex, "write", classmethod(write))
    with pytest.raises(DsformerError, match="No space left on device") as caught:
        write_map(tmp_path / "a.map", places(50), spots(50), index="binary")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.map").exists()


def test_an_unknown_kind_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no index 'binari'; did you mean binary\?"):
        write_map(tmp_path / "a.map", places(5), spots(5), index="binari")
    assert not list(tmp_path.iterdir())


def test_a_map_keeps_as_many_candidates_as_its_builder_chose(tmp_path: Path) -> None:
    """With one candidate the nearest code's reference is all that can be found."""
    known = places(400)
    queries = unit(known[::10] + 0.9 * unit(np.random.default_rng(2).normal(size=(40, 512))))
    exact = np.argmax(queries @ known.astype(np.float16).astype(np.float32).T, axis=1)
    right = {}
    for candidates in (1, 400):
        directory = tmp_path / f"{candidates}.map"
        write_map(directory, known, spots(400), index="binary", candidates=candidates)
        assert read_description(directory)["index"] == {"kind": "binary", "codes": "signs", "candidates": candidates}
        right[candidates] = float((PlaceMap.open(directory).search(queries, k=1).indices[:, 0] == exact).mean())
    assert right[1] < right[400] == 1


@pytest.mark.parametrize(
    ("index", "candidates", "message"),
    [("binary", 0, r"candidates = 0: there must be 1 or more"), ("flat", 10, r"'flat' .* has no candidates .*binary")],
)
def test_candidates_that_there_cannot_be_are_refused_before_anything_is_read(
    tmp_path: Path, index: str, candidates: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        write_map(tmp_path / "a.map", places(5), spots(5), index=index, candidates=candidates)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codes", [True, False])
def test_the_file_of_codes_is_what_faiss_writes(tmp_path: Path, codes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsformer_core.place_map.binary_index._AT_ONCE", 128)
    np.save(tmp_path / "descriptors.npy", places(700).astype(np.float16))
    stored = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    known = np.random.default_rng(0).integers(0, 256, (700, CODE_BYTES), np.uint8) if codes else None
    opened = BinaryIndex.open(tmp_path, BinaryIndex.write(tmp_path, stored, known, BINARY), stored)
    index = faiss.IndexBinaryFlat(512)
    index.add(opened.codes)
    assert (tmp_path / "index.faiss").read_bytes() == faiss.serialize_index_binary(index).tobytes()
    if codes:
        np.testing.assert_array_equal(opened.codes, known)


_PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from dsformer_core.place_map.binary_index import BinaryIndex
from dsformer_core.place_map.index_request import IndexRequest

BINARY = IndexRequest("binary")

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

folder = Path(sys.argv[1])
for name in ("small", "large"):
    stored = np.load(folder / f"{name}.npy", mmap_mode="r")
    known = np.zeros((len(stored), 64), np.uint8)
    known[:] = 1
    before = peak()
    fields = BinaryIndex.write(folder, stored, known, BINARY)
    written = peak()
    del known
    index = BinaryIndex.open(folder, fields, stored)
print(written - before, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell what memory a process had")
def test_codes_are_in_memory_once_while_they_are_written_and_read(tmp_path: Path) -> None:
    count = 500_000
    for name, rows in (("small", 100), ("large", count)):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float16, (rows, 8))
    done = subprocess.run([sys.executable, "-c", _PEAK, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    writing, reading = (int(size) / (count * CODE_BYTES) for size in done.stdout.split())
    assert writing < 0.3 and reading < 0.3, "of the codes that are given, or were"


# Damage


def copy(place_map: PlaceMap, folder: Path) -> Path:
    return Path(shutil.copytree(place_map.directory, folder / "copy.map", dirs_exist_ok=True))


def refused(directory: Path, message: str) -> None:
    with pytest.raises(MapError, match=message) as caught:
        PlaceMap.open(directory)
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_goes_unnoticed(by_signs: PlaceMap, tmp_path: Path, data: st.DataObject) -> None:
    directory = tmp_path / "copy.map" if (tmp_path / "copy.map").exists() else copy(by_signs, tmp_path)
    path = directory / data.draw(st.sampled_from([*OWN_FILES, "descriptors.npy", "map.yaml"]))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    try:
        path.write_bytes(content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :])
        refused(directory, path.name)
    finally:
        path.write_bytes(content)


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
        assert description["index"] == {"kind": index}
        write_description(directory / "map.yaml", description | {"index": {"kind": "flat"}})
        old = PlaceMap.open(directory, verify="full")
        assert (old.index_kind, str(old.descriptors.dtype)) == (index, dtype)
        np.testing.assert_array_equal(old.search(known[:20], k=5).indices, before.indices)
        np.testing.assert_array_equal(old.search(known[:20], k=5).similarities, before.similarities)
