"""What is known of each reference: every row of it right, and none of it in memory before it is asked for."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsformer_core.place_map import MapError, PlaceMap
from dsformer_core.place_map.format import COLUMNS
from dsformer_core.place_map.references import POSITION_BYTES, References
from tests.synthetic import ORIGIN, unit, write_map


def write_references(path: Path, count: int, rows_per_group: int) -> pa.Table:
    random = np.random.default_rng(0)
    columns = {name: random.uniform(0, 90, count) for name in COLUMNS.names}
    columns["id"] = [f"drive_2024_05_17/camera_front/{row:08d}.jpg" for row in range(count)]
    columns["image"] = [f"/data/copenhagen/{name}" for name in columns["id"]]
    columns["source"] = ["/data/copenhagen"] * count
    table = pa.table(columns, schema=COLUMNS)
    pq.write_table(table, path, rows_per_group)
    return table


@pytest.mark.parametrize("rows_per_group", [1, 7, 100, 1000])
def test_every_row_is_that_of_the_table(tmp_path: Path, rows_per_group: int) -> None:
    table = write_references(tmp_path / "a.parquet", 100, rows_per_group)
    references = References(tmp_path / "a.parquet")
    assert len(references) == 100
    expected = np.column_stack([table.column(name).to_numpy() for name in ("northing", "yaw")])
    np.testing.assert_array_equal(references.numbers("northing", "yaw"), expected)
    names, ids = references.names("id"), table.column("id").to_pylist()
    assert len(names) == 100 and list(names) == ids and names == ids and names != ids[::-1]
    assert [names[row] for row in np.random.default_rng(0).permutation(100)] == [
        ids[row] for row in np.random.default_rng(0).permutation(100)
    ]
    assert (names[-1], names[3:40:9], names.index(ids[71])) == (ids[-1], ids[3:40:9], 71)
    with pytest.raises(IndexError):
        names[100]


def test_a_map_that_is_replaced_while_it_is_open_keeps_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsformer_core.place_map.building.assemble.ROWS_PER_GROUP", 8)
    descriptors = unit(np.random.default_rng(0).normal(size=(50, 512)))
    place_map = write_map(tmp_path / "a.map", descriptors, ORIGIN + np.arange(100.0).reshape(50, 2))
    assert pq.read_metadata(tmp_path / "a.map/references.parquet").num_row_groups == 7
    write_map(tmp_path / "a.map", descriptors[:9], ORIGIN + np.arange(18.0).reshape(9, 2) + 70, overwrite=True)
    assert place_map.ids[49] == "000049.jpg" and place_map.images[20] == "/pictures/000020.jpg"
    np.testing.assert_allclose(place_map.utm, ORIGIN + np.arange(100.0).reshape(50, 2), atol=1e-3)
    assert len(PlaceMap.open(tmp_path / "a.map").ids) == 9


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 200 + b"PAR1"])
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(MapError, match=r"a\.parquet cannot be read") as caught:
        References(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)


_MEMORY = """
import sys
from pathlib import Path
from dsformer_core.place_map.references import References

def own_bytes():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines["RssAnon"].split()[0])

References(Path(sys.argv[1]) / "small.parquet").numbers("yaw")
before = own_bytes()
references = References(Path(sys.argv[1]) / "large.parquet")
opened = own_bytes()
kept = [references.numbers(*columns) for columns in (("easting", "northing"), ("altitude",), ("yaw",))]
for row in range(0, len(references), 10_007):
    references.names("id")[row], references.names("image")[row]
print(opened - before, own_bytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell what memory a process owns")
def test_no_name_stays_in_memory_that_was_not_asked_for(tmp_path: Path) -> None:
    count = 400_000
    write_references(tmp_path / "small.parquet", 100, 10)
    write_references(tmp_path / "large.parquet", count, 4_096)
    done = subprocess.run([sys.executable, "-c", _MEMORY, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened, asked = map(int, done.stdout.split())
    assert opened < 4e6, "opening read the columns into memory"
    # The names alone are 43 MB; Arrow keeps some 15 MB of what it freed, however many references there are.
    assert asked < POSITION_BYTES * count + 28e6, f"{asked / count:.0f} bytes per reference"
