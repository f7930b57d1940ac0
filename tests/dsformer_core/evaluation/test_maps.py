"""One map asked about another."""

from pathlib import Path

import numpy as np
import pytest

from dsformer_core.errors import UsageError
from dsformer_core.evaluation.maps import evaluate_maps
from dsformer_core.geodesy import UtmZone
from dsformer_core.place_map import MapError
from dsformer_core.place_map.indexes.binary import BinaryIndex
from tests.synthetic import ORIGIN, unit, write_map


def town(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places 50 m apart that all look different."""
    return unit(random.standard_normal((count, 512))), ORIGIN + np.column_stack(
        [50.0 * np.arange(count), np.zeros(count)]
    )


def test_descriptors_find_their_places_and_strangers_get_low_probability(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    descriptors, utm = town(random, 60)
    again = unit(descriptors[:40] + 0.02 * random.standard_normal((40, 512)))
    strangers = unit(random.standard_normal((10, 512)))
    elsewhere = ORIGIN + np.column_stack([np.full(10, 90_000.0), 50.0 * np.arange(10)])
    references = write_map(tmp_path / "a.map", descriptors, utm)
    queries = write_map(tmp_path / "b.map", np.vstack([again, strangers]), np.vstack([utm[:40] + 3, elsewhere]))
    evaluation = evaluate_maps(references, queries, retrieve=20)["float"]
    assert evaluation.recalls[1] == pytest.approx(0.8)
    assert evaluation.recalls_answerable[1].value == 1
    assert int((~evaluation.benchmark.answerable).sum()) == 10
    np.testing.assert_allclose(evaluation.errors[:40], np.hypot(3, 3), atol=0.01)
    similarity, probability = evaluation.abstentions
    assert (similarity.score, probability.score) == ("similarity", "probability")
    assert probability.recall_at_precision(1.0)[0] == pytest.approx(0.8), "declining the strangers costs no answer"
    expected = references.search(np.asarray(queries.descriptors, np.float32), k=20)
    np.testing.assert_array_equal(evaluation.rows, expected.indices)


def test_a_binary_map_is_asked_in_three_ways(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    descriptors, utm = town(random, 60)
    again = unit(descriptors[:30] + 0.06 * random.standard_normal((30, 512)))
    references = write_map(tmp_path / "a.map", descriptors, utm, index="binary")
    queries = write_map(tmp_path / "b.map", again, utm[:30])
    found = evaluate_maps(references, queries, candidates=10)
    assert [evaluation.search for evaluation in found.values()] == list(found) == ["float", "binary", "re-ranked"]
    exact, binary, reranked = found.values()
    asked = np.asarray(queries.descriptors, np.float32)
    assert isinstance(references.index, BinaryIndex) and references.index.signs is not None
    bits = np.unpackbits(references.index.signs.encode(asked)[:, None] ^ references.index.codes, axis=2).sum(axis=2)
    nearest = np.argsort(bits, axis=1, kind="stable")
    np.testing.assert_array_equal(binary.rows, nearest)
    np.testing.assert_array_equal(np.sort(reranked.rows), np.sort(nearest[:, :10]))
    similarities = asked @ np.asarray(references.descriptors, np.float32).T
    np.testing.assert_allclose(exact.similarities[:, 0], similarities.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(reranked.similarities, np.take_along_axis(similarities, reranked.rows, 1), atol=1e-5)
    assert [len(evaluation.abstentions) for evaluation in found.values()] == [2, 1, 2]
    assert [evaluation.cost.bytes_per_reference for evaluation in found.values()] == [2048, 64, 64]
    assert reranked.cost.bytes_read_per_query == 10 * 1024, "maps keep float16"
    default = evaluate_maps(references, queries)["re-ranked"]
    assert default.candidates == references.index.candidates
    np.testing.assert_array_equal(default.rows[:, :20], references.search(asked, k=20).indices)


def test_a_map_that_is_replaced_while_it_is_evaluated_stays_as_it_was(tmp_path: Path) -> None:
    descriptors, utm = town(np.random.default_rng(6), 40)
    references = write_map(tmp_path / "a.map", descriptors, utm, index="binary")
    before = evaluate_maps(references, references)["re-ranked"]
    write_map(tmp_path / "a.map", descriptors[::-1], utm, index="binary", overwrite=True)
    after = evaluate_maps(references, references)["re-ranked"]
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.similarities, before.similarities)


def test_candidates_are_of_binary_maps(tmp_path: Path) -> None:
    descriptors, utm = town(np.random.default_rng(5), 5)
    references = write_map(tmp_path / "a.map", descriptors, utm)
    with pytest.raises(UsageError, match="--candidates are for binary maps"):
        evaluate_maps(references, references, candidates=3)
    (flat,) = evaluate_maps(references, references).values()
    assert flat.cost.bytes_per_reference == 1024 and flat.cost.seconds_per_query > 0


def test_a_radius_of_ones_own(tmp_path: Path) -> None:
    descriptors, utm = town(np.random.default_rng(1), 5)
    references = write_map(tmp_path / "a.map", descriptors, utm)
    queries = write_map(tmp_path / "b.map", descriptors, utm + np.array([8.0, 0.0]))
    assert evaluate_maps(references, queries)["float"].recalls[1] == 1
    narrow = evaluate_maps(references, queries, radius=5.0)["float"]
    assert narrow.recalls[1] == 0 and "5 m" in narrow.benchmark.protocol


def test_maps_of_other_ends_of_the_world_have_no_right_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors, utm = town(np.random.default_rng(3), 5)
    references = write_map(tmp_path / "a.map", descriptors, utm)
    monkeypatch.setattr("tests.synthetic.ZONE", UtmZone(10, True))
    queries = write_map(tmp_path / "b.map", descriptors, utm)
    evaluation = evaluate_maps(references, queries)["float"]
    assert (str(references.zone), str(queries.zone)) == ("33N", "10N")
    assert evaluation.recalls[1] == 0 and np.isinf(evaluation.errors).all()


def test_maps_of_different_networks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.synthetic import ArrayExtractor

    descriptors, utm = town(np.random.default_rng(2), 5)
    references = write_map(tmp_path / "a.map", descriptors, utm)
    monkeypatch.setattr(ArrayExtractor, "weights_sha256", "1" * 64)
    queries = write_map(tmp_path / "b.map", descriptors, utm)
    with pytest.raises(MapError, match="give the same weights"):
        evaluate_maps(references, queries)
