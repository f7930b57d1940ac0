"""What every kind of index promises, asked of each in the same words."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.cli.map.index_arguments import INDEX_KINDS as OFFERED
from dsformer_core.described import Described
from dsformer_core.place_map import IndexRequest, PlaceMap
from dsformer_core.place_map.indexes.faiss_files import faiss
from dsformer_core.place_map.indexes.flat import FlatIndex, HalfFlatIndex
from dsformer_core.place_map.indexes.hnsw import HnswIndex
from dsformer_core.place_map.indexes.index import (
    DEFAULT_INDEX,
    INDEX_KINDS,
    write_index,
)
from dsformer_core.place_map.indexes.inverted_lists import inverted_file, write_inverted_file
from dsformer_core.place_map.indexes.ivf_pq import IvfPqIndex
from tests.indexed_maps import COUNT, DIMENSION, FACTORIES, KINDS, TRAINED, places, stored, written
from tests.synthetic import ORIGIN, unit, write_map


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
def test_one_that_is_made_ready_for_many_searches_finds_the_same(maps: dict[str, PlaceMap], kind: str) -> None:
    queries = unit(np.random.default_rng(3).normal(size=(5, DIMENSION)))
    place_map = PlaceMap.open(maps[kind].directory)
    place_map.search_on("cpu")
    found, expected = place_map.search(queries, k=20), maps[kind].search(queries, k=20)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


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
    monkeypatch.setattr("dsformer_core.place_map.indexes.inverted_lists.CHUNK_BYTES", 250 * 4 * DIMENSION)
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
