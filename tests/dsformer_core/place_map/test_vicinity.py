"""Searches near somewhere, against comparing everything within the radius one by one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.localization import localize
from dsformer_core.place_map import IndexRequest, Matches, PlaceMap
from dsformer_core.place_map.indexes.index import INDEX_KINDS
from dsformer_core.place_map.vicinity import Vicinity
from tests.synthetic import ORIGIN, unit, write_map


@pytest.fixture(scope="module", params=[*INDEX_KINDS])
def place_map(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    random = np.random.default_rng(0)
    utm = ORIGIN + random.uniform(-200, 200, (300, 2))
    directory = tmp_path_factory.mktemp("maps") / "town.map"
    asked = IndexRequest(request.param, factory="IVF4,PQ8" if request.param == "ivf_pq" else None)
    return write_map(directory, unit(random.normal(size=(300, 64))), utm, index=asked)


def brute_force(descriptors: np.ndarray, utm: np.ndarray, query: np.ndarray, near: np.ndarray, radius: float) -> list:
    """Rows within the radius, the most similar first."""
    rows = [row for row in range(len(utm)) if np.hypot(*(utm[row] - near)) <= radius]
    similarity = {row: float(descriptors[row].astype(np.float64) @ query.astype(np.float64)) for row in rows}
    return sorted(rows, key=lambda row: (-round(similarity[row], 9), row))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 120),
    queries=st.integers(0, 4),
    k=st.integers(1, 40),
    radius=st.sampled_from([0.0, 1.0, 30.0, 100.0, 1e7]),
    seed=st.integers(0, 10_000),
)
def test_it_finds_what_comparing_all_finds(count: int, queries: int, k: int, radius: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    utm = ORIGIN + random.integers(0, 150, (count, 2)).astype(float)  # on a grid: some at one spot, some on the border
    descriptors = unit(random.normal(size=(count, 8))).astype(np.float16)
    asked, near = unit(random.normal(size=(queries, 8))), ORIGIN + random.integers(0, 150, (queries, 2)).astype(float)
    found = Vicinity(utm, descriptors).search(asked, k, near, np.full(queries, radius))
    for query in range(queries):
        expected = brute_force(descriptors, utm, asked[query], near[query], radius)
        one = found[query]
        assert one.indices[0].tolist() == expected[:k]
        assert one.among is not None and one.among.tolist() == [len(expected)]
        np.testing.assert_allclose(
            one.similarities[0], descriptors[expected[:k]].astype(float) @ asked[query], atol=1e-5
        )


def test_every_kind_of_index_gives_the_same(place_map: PlaceMap, request: pytest.FixtureRequest) -> None:
    assert place_map.index_kind == request.node.callspec.params["place_map"]
    random = np.random.default_rng(1)
    queries, near = unit(random.normal(size=(5, 64))), ORIGIN + random.uniform(-200, 200, (5, 2))
    found = place_map.search(queries, k=7, near=near, radius=60.0)
    stored = np.asarray(place_map.descriptors)
    for query in range(5):
        expected = brute_force(stored, place_map.utm, queries[query], near[query], 60.0)[:7]
        assert found[query].indices[0].tolist() == expected


def test_a_query_that_has_fewer_is_filled_up_and_alone_it_is_not(place_map: PlaceMap) -> None:
    queries = unit(np.random.default_rng(1).normal(size=(2, 64)))
    near = np.stack([place_map.utm[0], ORIGIN + 10_000])
    found = place_map.search(queries, k=5, near=near, radius=100.0)
    assert found.indices.shape == (2, 5) and (found.indices[0] >= 0).all()
    assert found.indices[1].tolist() == [-1] * 5 and np.isneginf(found.similarities[1]).all()
    assert found[1].indices.shape == (1, 0) and found[0].indices.shape == (1, 5)
    assert localize(found[1], place_map) == [] and localize(found[0], place_map)


def test_radii_may_differ_from_query_to_query(place_map: PlaceMap) -> None:
    queries = unit(np.random.default_rng(1).normal(size=(2, 64)))
    found = place_map.search(queries, k=300, near=ORIGIN, radius=[50.0, 1_000.0])
    inside = int((np.hypot(*(place_map.utm - ORIGIN).T) <= 50).sum())
    assert found.among is not None and found.among.tolist() == [inside, 300]


def test_a_lone_place_near_somewhere_has_no_rival_out_of_sight(tmp_path: Path) -> None:
    """Of a whole map a few matches may hide rivals; near somewhere all that there are were looked at."""
    random = np.random.default_rng(0)
    utm = ORIGIN + np.column_stack([np.arange(60) * 40.0, np.zeros(60)])
    place_map = write_map(tmp_path / "a.map", unit(random.normal(size=(60, 64))), utm)
    query = np.asarray(place_map.descriptors[5], np.float32)
    near = place_map.search(query, k=20, near=utm[5], radius=20.0)[0]
    assert near.indices.tolist() == [[5]]
    hidden = Matches(near.indices, near.similarities)
    assert localize(near, place_map)[0].probability > localize(hidden, place_map)[0].probability


@pytest.mark.parametrize(
    ("near", "radius"),
    [((0, 0), None), (None, 5.0), ((0, np.nan), 5.0), ((0, 0), -1.0), ((0, 0, 0), 5.0), ((0, 0), [1.0, 2.0, 3.0])],
)
def test_what_is_no_circle_is_refused(place_map: PlaceMap, near: object, radius: object) -> None:
    with pytest.raises(ValueError, match=r"near|radius"):
        place_map.search(np.asarray(place_map.descriptors[:2], np.float32), k=3, near=near, radius=radius)  # type: ignore[arg-type]
