"""Maps of descriptors that were made elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import MapError
from dsformer_core.place_map.changes.importing import Imports, Network, import_place_map
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.network import network_of, require_known_network
from dsformer_core.sources import ManifestSource
from tests.synthetic import unit, write_pictures

COUNT = 7


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Seven rows, none of whose pictures is here; the third has no position."""
    rows = [
        f"p/{row}.jpg,{'' if row == 2 else 55.7 + row * 1e-4},13.0,{row * 10},{1.7e9 + row}" for row in range(COUNT)
    ]
    (tmp_path / "refs.csv").write_text("\n".join(["path,latitude,longitude,heading_deg,timestamp", *rows]))
    return tmp_path / "refs.csv"


@pytest.fixture
def descriptors() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(COUNT, 8)))


def imported(table: Path, file: Path, directory: str = "a.map", **options: Any) -> Any:
    return import_place_map(
        Imports(ManifestSource(table), file),
        Network("my_network"),
        table.with_name(directory),
        index=IndexRequest("flat_fp16"),
        **options,
    )


def write(kind: str, path: Path, descriptors: np.ndarray) -> Path:
    path = path.with_suffix(kind)
    if kind == ".npy":
        np.save(path, descriptors)
    elif kind == ".parquet":
        pq.write_table(pa.table({"descriptor": list(descriptors)}), path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as content:
            for row in reversed(range(len(descriptors))):
                content[f"p/{row}.jpg/global_descriptor"] = descriptors[row]
    return path


@pytest.mark.parametrize("kind", [".npy", ".parquet", ".h5"])
def test_rows_and_positions_go_together(table: Path, descriptors: np.ndarray, kind: str) -> None:
    place_map = imported(table, write(kind, table, descriptors))
    rows = [0, 1, 3, 4, 5, 6]
    assert place_map.ids == [f"p/{row}.jpg" for row in rows]
    assert place_map.images[2] == (table.parent / "p/3.jpg").as_posix()
    np.testing.assert_array_equal(place_map.descriptors, descriptors[rows].astype(np.float16))
    np.testing.assert_allclose(place_map.latitude, [55.7 + row * 1e-4 for row in rows])
    np.testing.assert_array_equal(place_map.heading_deg, [row * 10 for row in rows])
    np.testing.assert_array_equal(place_map.search(descriptors[rows], k=1).indices[:, 0], range(6))
    assert (place_map.model_name, place_map.weights) == ("my_network", "unknown")
    assert place_map.sources == ["refs"] * 6
    assert not place_map.has_thumbnails


def test_lengths_are_mended_and_counted(table: Path, descriptors: np.ndarray) -> None:
    lengths = np.ones((COUNT, 1))
    lengths[[1, 4]] = [[3.0], [0.5]]
    imports = Imports(ManifestSource(table), write(".npy", table, descriptors * lengths))
    assert imports.normalised == 2
    made = np.concatenate([chunk for _, chunk in imports.chunks()])
    np.testing.assert_allclose(made, descriptors[[0, 1, 3, 4, 5, 6]], atol=1e-6)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "not finite"), (0.0, "zero"), (np.inf, "not finite")])
def test_a_descriptor_that_is_none_is_refused_by_name(
    table: Path, descriptors: np.ndarray, value: float, words: str
) -> None:
    descriptors[4] = value
    with pytest.raises(DsformerError, match=rf"descriptor of p/4\.jpg \(row 5\) is {words}"):
        Imports(ManifestSource(table), write(".npy", table, descriptors))
    # That of a row without a position is nobody's.
    descriptors[2], descriptors[4] = value, 1.0
    Imports(ManifestSource(table), write(".npy", table, descriptors))


def test_another_number_of_rows_is_refused(table: Path, descriptors: np.ndarray) -> None:
    for kind in (".npy", ".parquet"):
        file = write(kind, table, descriptors[:5])
        with pytest.raises(UsageError, match="has 5 descriptors for 7 rows of references"):
            Imports(ManifestSource(table), file)
    with pytest.raises(DsformerError, match=r"has no global_descriptor of p/5\.jpg"):
        Imports(ManifestSource(table), write(".h5", table, descriptors[:5]))


def test_files_of_something_else_are_refused(table: Path, descriptors: np.ndarray) -> None:
    np.save(table.with_name("flat.npy"), descriptors.ravel())
    np.save(table.with_name("pickled.npy"), np.array([{}], dtype=object), allow_pickle=True)
    table.with_name("broken.npy").write_bytes(b"no array")
    table.with_name("broken.h5").write_bytes(b"no HDF5")
    table.with_name("broken.parquet").write_bytes(b"no table")
    pq.write_table(pa.table({"other": [1]}), table.with_name("other.parquet"))
    pq.write_table(pa.table({"descriptor": ["a"] * COUNT}), table.with_name("text.parquet"))
    ragged = [*descriptors[:6], descriptors[6][:3]]
    pq.write_table(pa.table({"descriptor": ragged}), table.with_name("ragged.parquet"))
    for name, words in {
        "flat.npy": r"floats of the shape \(N, D\) are needed",
        "pickled.npy": "cannot be read",
        "broken.npy": "cannot be read",
        "broken.h5": "is no HDF5 file",
        "broken.parquet": "cannot be read",
        "other.parquet": "has no column 'descriptor'",
        "text.parquet": "not a list of floats",
        "ragged.parquet": r"descriptor of p/6\.jpg has 3 numbers, others have 8",
        "none.npy": "no such file",
        "refs.csv": r"descriptors are read from \.npy, \.parquet, \.h5",
    }.items():
        with pytest.raises(DsformerError, match=words) as raised:
            Imports(ManifestSource(table), table.with_name(name))
        assert name in str(raised.value) and "\n" not in str(raised.value)


def test_no_picture_can_be_asked_of_a_map_that_another_program_described(table: Path, descriptors: np.ndarray) -> None:
    place_map = imported(table, write(".npy", table, descriptors))
    for ask in (require_known_network, network_of):
        with pytest.raises(MapError, match=r"described by 'my_network', which is no network of this program.*Python"):
            ask(place_map)


def test_some_pictures_are_described_again_and_compared(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", 5)
    rows = [f"p/{row:03d}.jpg,{55.7 + row * 1e-4},13.0" for row in range(6)]
    (tmp_path / "refs.csv").write_text("\n".join(["path,latitude,longitude", *rows]))
    extractor = Extractor("gem_mobilenet_v2", "untrained", device="cpu", threads=1)
    own = extractor.extract_files(sorted((tmp_path / "p").iterdir()))
    np.save(tmp_path / "d.npy", np.concatenate([own, own[:1]]).astype(np.float16))
    imports = Imports(ManifestSource(tmp_path / "refs.csv"), tmp_path / "d.npy")
    assert len(imports.pictures) == 6
    found = imports.similarities(extractor, 3)
    assert [name for name, _ in found] == ["p/000.jpg", "p/002.jpg", "p/004.jpg"]
    assert min(similarity for _, similarity in found) > 0.999
    assert len(imports.similarities(extractor, 100)) == 5
    place_map = import_place_map(
        imports,
        Network("gem_mobilenet_v2", extractor.weights_sha256, extractor.weights),
        tmp_path / "a.map",
        index=IndexRequest("binary"),
    )
    again = network_of(place_map, device="cpu")
    assert (again.weights, again.weights_sha256) == ("untrained", extractor.weights_sha256)
