"""Pages of maps of any size hold every reference, and what became of it."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.inspection import view
from dsformer_core.place_map.inspection.drives import OTHERS, drive_names, numbered
from dsformer_core.place_map.inspection.view import write_view
from tests.synthetic import ORIGIN, unit, write_map

SAMPLE = Path(__file__).resolve().parents[4] / "maps" / "sample"


@pytest.fixture(scope="module")
def sample() -> PlaceMap:
    return PlaceMap.open(SAMPLE)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has even the sample map drawn the way of a city's."""
    monkeypatch.setattr(view, "ONE_BY_ONE", 10)


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r"showPlaceMap\(map_\w+, (\{.*\}), \w+\);", page.read_text())
    assert found
    return json.loads(found[1])


def unpacked(text: str) -> np.ndarray:
    """What `numbers` in view.js does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, -1)
    return np.cumsum(np.ascontiguousarray(planes.T).view("<u4")[:, 0], dtype=np.uint32)


def degrees(data: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    x, y = (unpacked(data[axis]) / 2**32 for axis in ("x", "y"))
    return np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y)))), 360 * x - 180


@pytest.mark.parametrize(
    "values", [np.array([0, 1, 2**32 - 1, 0, 5]), np.arange(1000)[::-1], np.empty(0, np.int64), np.array([7])]
)
def test_packing_keeps_numbers(values: np.ndarray) -> None:
    assert unpacked(view._packed(values)).tolist() == values.tolist()


def test_a_large_map_keeps_positions_headings_and_names(sample: PlaceMap, painted: None, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    steps: list[str] = []
    pictures = write_view(sample, page, on_progress=lambda words, done, total: steps.append(words))
    data = data_of(page)
    latitude, longitude = degrees(data["references"])
    # A centimetre, and a little of rounding.
    assert latitude == pytest.approx(sample.latitude, abs=1e-7)
    assert longitude == pytest.approx(sample.longitude, abs=1e-7)
    assert unpacked(data["references"]["heading"]) == pytest.approx(sample.heading_deg, abs=0.5)
    names = [
        name
        for group in data["names"]["groups"]
        for name in zlib.decompress(base64.b64decode(group)).decode().split("\n")
    ]
    assert names == list(sample.ids)
    assert pictures == 60
    jpegs = [base64.b64decode(jpeg) for jpeg in data["pictures"]["jpegs"]]
    rows = unpacked(data["pictures"]["rows"])
    assert [sample.thumbnail_path(int(row)).read_bytes() for row in rows] == jpegs
    assert "looking for likes" in steps
    text = page.read_text()
    assert "<script src" not in text
    assert "<link" not in text


def test_thumbnails_of_a_large_map_stay_within_their_budget(
    sample: PlaceMap, painted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "PICTURE_BYTES", 100_000)
    page = tmp_path / "a.html"
    pictures = write_view(sample, page, aliases=0)
    data = data_of(page)
    rows = unpacked(data["pictures"]["rows"])
    sizes = [len(base64.b64decode(jpeg)) for jpeg in data["pictures"]["jpegs"]]
    assert 5 <= pictures == len(rows) == len(sizes) < 20
    assert sum(sizes) <= 100_000
    assert np.diff(rows).max() <= 2 * np.diff(rows).min() + 1
    assert rows[0] == 0
    assert any(f"This page holds {pictures} of the map's pictures, evenly chosen." in line for _, line in data["lines"])
    assert data["alike"] is None
    assert data["pairs"] == []


def test_layers(sample: PlaceMap, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    write_view(sample, page)
    data = data_of(page)
    assert unpacked(data["cells"]["count"]).sum() == sample.count
    assert (unpacked(data["cells"]["share"]) < data["cells"]["one_direction"]).all()
    scores = unpacked(data["alike"]["score"])
    assert len(scores) == sample.count
    assert (np.diff(scores.astype(int)) >= 0).all()
    assert data["alike"]["words"] == "every reference"
    worst = data["pairs"][0]
    assert {end["name"] for end in worst["ends"]} <= set(sample.ids)
    assert all(base64.b64decode(end["picture"]).startswith(b"\xff\xd8") for end in worst["ends"])
    assert data["drives"] == [["#1f6fb4", "sample town", "sample town (60)"]]
    # References lie in the squares that the page draws for them.
    latitude, longitude = degrees(data["cells"])
    left, bottom = unpacked(data["cells"]["x"]).astype(np.int64), unpacked(data["cells"]["y"]).astype(np.int64)
    east, north = np.array(data["cells"]["edges"]["east"]), np.array(data["cells"]["edges"]["north"])
    x, y = (unpacked(data["references"][axis]).astype(np.int64) for axis in ("x", "y"))
    along = np.linalg.solve(np.stack([east, north], axis=1).astype(float), np.stack([x - left[0], y - bottom[0]]))
    inside = ((along >= -0.02) & (along <= 1.02)).all(axis=0)
    assert inside.sum() == unpacked(data["cells"]["count"])[0]
    assert np.ptp(latitude) < 0.01
    assert np.ptp(longitude) < 0.01


@pytest.fixture(scope="module")
def two_states(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlaceMap, PlaceMap]:
    """A street of 30 references, and the same with ten more."""
    folder = tmp_path_factory.mktemp("maps")
    utm = ORIGIN + np.stack([np.arange(40) * 5.0, np.zeros(40)], axis=1)
    descriptors = unit(np.random.default_rng(0).standard_normal((40, 16)))
    before = write_map(folder / "before.map", descriptors[:30], utm[:30], index="flat_fp16")
    after = write_map(folder / "after.map", descriptors, utm, index="flat_fp16")
    return before, after


@pytest.mark.parametrize("size", ["one by one", "painted"])
def test_before_and_after(
    two_states: tuple[PlaceMap, PlaceMap], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    before, after = two_states
    if size == "painted":
        monkeypatch.setattr(view, "ONE_BY_ONE", 10)
    page = tmp_path / "a.html"
    write_view(after, page, before=before, aliases=0)
    data = data_of(page)
    assert unpacked(data["references"]["change"]).tolist() == [0] * 30 + [1] * 10
    words = [words for _, words in data["changes"]]
    assert words[0].startswith("30 kept since before, built ")
    assert words[1:] == ["10 added", "0 gone"]

    # The other way round, what was added is gone, and still drawn.
    write_view(before, page, before=after, aliases=0)
    data = data_of(page)
    assert unpacked(data["references"]["change"]).tolist() == [0] * 30 + [2] * 10
    latitude, longitude = degrees(data["references"])
    assert latitude[30:] == pytest.approx(after.latitude[30:], abs=1e-7)
    assert longitude[30:] == pytest.approx(after.longitude[30:], abs=1e-7)
    if size == "one by one":
        assert '"label": "000035.jpg\\nheading unknown\\ngone"' in page.read_text()
    else:
        names = zlib.decompress(base64.b64decode(data["names"]["groups"][0])).decode().split("\n")
        assert names[30:] == [f"{row:06d}.jpg" for row in range(30, 40)]


def test_drives_are_sources_or_folders(sample: PlaceMap) -> None:
    assert drive_names(sample) == ["sample town"] * 60
    assert numbered(["b", "a", "b", "c", "a", "b"], 3)[0] == ["b", "a", "c"]
    names, numbers = numbered(["b", "a", "b", "c", "a", "b", "d"], 3)
    assert names == ["b", "a", OTHERS]
    assert numbers.tolist() == [0, 1, 0, 2, 1, 0, 2]


class _Named:
    """The names of a map, which is all that drives are told by."""

    def __init__(self, ids: list[str], sources: list[str]) -> None:
        self.name, self.ids, self.sources = "town", ids, sources


@pytest.mark.parametrize(
    ("ids", "sources", "expected"),
    [
        (["a.jpg", "b.jpg"], ["x", "y"], ["x", "y"]),
        (["may/1/a.jpg", "may/2/b.jpg"], ["x", "x"], ["may/1", "may/2"]),
        (["may/1/a.jpg", "june/1/b.jpg"], ["x", "x"], ["may", "june"]),
        (["may/a.jpg", "b.jpg"], ["x", "x"], ["may", "town"]),
        (["may/a.jpg", "may/b.jpg"], ["x", "x"], ["town", "town"]),
        (["/data/1/a.jpg", "/data/2/a.jpg"], ["x", "x"], ["/data/1", "/data/2"]),
        (["/data/1/a.jpg", "2/a.jpg"], ["x", "x"], ["town", "2"]),
    ],
)
def test_folders_are_told_apart_where_they_differ(ids: list[str], sources: list[str], expected: list[str]) -> None:
    named: Any = _Named(ids, sources)
    assert drive_names(named) == expected
