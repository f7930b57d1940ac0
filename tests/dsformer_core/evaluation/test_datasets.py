"""Every data set's layout, made small, opens as its protocol says; what is missing is named."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.evaluation import DATASETS, Benchmark, LayoutError, Pictures, open_benchmark
from dsformer_core.evaluation.datasets.msls import write_submission
from tests.dsformer_core.evaluation.layouts import (
    street,
    write_at_pictures,
    write_msls_city,
    write_netvlad_table,
    write_nordland,
)
from tests.synthetic import write_picture, write_pictures


def all_there(benchmark: Benchmark) -> bool:
    return all(path.is_file() for side in (benchmark.database, benchmark.queries) for path in side.paths)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_missing_data_set_says_what_was_looked_for_and_where_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        open_benchmark(name, tmp_path)
    message = str(caught.value)
    assert caught.value.exit_status == 1
    assert f"below {tmp_path}: looked for" in message
    assert "github.com" in message or "https://" in message
    assert "\n" not in message


def test_names_that_are_none_and_roots_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither a data set nor a folder.*pitts30k"):
        open_benchmark("pitts30", tmp_path)
    with pytest.raises(UsageError, match="--root DIR"):
        open_benchmark("tokyo247")
    with pytest.raises(UsageError, match="no such folder to look for tokyo247 in"):
        open_benchmark("tokyo247", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="tokyo247 has a protocol: neither a radius nor a zone can be chosen"):
        open_benchmark("tokyo247", tmp_path, radius=10)


def test_paths_come_one_at_a_time() -> None:
    paths = Pictures(Path("/database"), ["a.jpg", "b.jpg"]).paths
    assert next(paths) == Path("/database/a.jpg"), "a list of SF-XL's would take a gigabyte"
    assert list(paths) == [Path("/database/b.jpg")]


def test_a_folder_with_exif(tmp_path: Path) -> None:
    write_pictures(tmp_path / "database", 5)
    write_pictures(tmp_path / "queries", 3)
    write_picture(tmp_path / "queries/far.jpg", latitude=55.9)
    benchmark = open_benchmark(tmp_path)
    assert benchmark.name == tmp_path.name and benchmark.unit == "m" and benchmark.radius == 25
    assert benchmark.queries.names == ["000.jpg", "001.jpg", "002.jpg", "far.jpg"]
    assert benchmark.answerable.tolist() == [True, True, True, False]
    np.testing.assert_allclose(benchmark.distances(np.array([[0, 4]] * 4))[:3], [[0, 20], [5, 15], [10, 10]], atol=0.1)
    assert len(open_benchmark(tmp_path, radius=6).positives(0)) == 2


def test_a_folder_with_at_names_below_folders_and_without_a_zone(tmp_path: Path) -> None:
    write_at_pictures(tmp_path / "my/database/000", street(4), zone="")
    write_at_pictures(tmp_path / "my/queries", street(1, east=548_025.0), zone="")
    benchmark = open_benchmark("my", tmp_path)
    assert benchmark.database.names[0].startswith("000/@")
    assert benchmark.positives(0).tolist() == [0, 1, 2, 3]
    assert benchmark.distances(np.array([[0]])).tolist() == [[25.0]], "as the names have it, digit for digit"


def test_a_folder_as_the_fields_downloader_makes_it(tmp_path: Path) -> None:
    for side in ("database", "queries"):
        write_at_pictures(tmp_path / "st_lucia/images/test" / side, street(2))
    benchmark = open_benchmark(tmp_path / "st_lucia")
    assert benchmark.name == "st_lucia" and benchmark.answerable.all()


def test_pictures_without_position_are_named_in_both_folders_at_once_and_counted(tmp_path: Path) -> None:
    write_pictures(tmp_path / "database", 2)
    write_picture(tmp_path / "database/lost.jpg", latitude=None)
    write_pictures(tmp_path / "queries", 1)
    (tmp_path / "queries/a.jpg").write_bytes(b"no picture")
    with pytest.raises(
        DsformerError, match=r"2 of 5 .*database/lost\.jpg \(no position\), .*queries/a\.jpg \(not a picture.*\); "
    ):
        open_benchmark(tmp_path)
    for number in range(5):
        write_picture(tmp_path / f"queries/b{number}.jpg", latitude=None)
    with pytest.raises(
        DsformerError, match=r"7 of 10 pictures cannot be placed: .*b2\.jpg \(no position\) and 2 more; "
    ):
        open_benchmark(tmp_path)


@pytest.mark.parametrize("missing", ["database", "queries"])
def test_a_folder_without_its_halves(missing: str, tmp_path: Path) -> None:
    for side in {"database", "queries"} - {missing}:
        write_pictures(tmp_path / side, 1)
    with pytest.raises(LayoutError, match=f"{missing}: no such folder; a benchmark has database/ and queries/"):
        open_benchmark(tmp_path)
    (tmp_path / missing).mkdir()
    with pytest.raises(LayoutError, match=f"{missing}: no pictures in this folder"):
        open_benchmark(tmp_path)


def test_a_list_beside_the_folder_is_believed(tmp_path: Path) -> None:
    listed = write_at_pictures(tmp_path / "database", street(3))[1:]
    write_at_pictures(tmp_path / "queries", street(1))
    (tmp_path / "database_images_paths.txt").write_text(f"{listed[0]}\n{listed[1].name}\n")
    assert open_benchmark(tmp_path).database.names == [path.name for path in listed]


def test_pictures_on_both_sides_of_a_zone_border_and_far_away(tmp_path: Path) -> None:
    # 12 degrees east is where zone 32 ends and 33 begins.
    for number, longitude in enumerate([11.9999, 12.0001]):
        write_picture(tmp_path / "database" / f"{number}.jpg", latitude=50.0, longitude=longitude)
    write_picture(tmp_path / "database/2.jpg", latitude=50.0, longitude=-122.0)
    write_picture(tmp_path / "queries/a.jpg", latitude=50.0, longitude=12.0)
    write_picture(tmp_path / "queries/b.jpg", latitude=50.0, longitude=-122.0)
    benchmark = open_benchmark(tmp_path)
    assert benchmark.positives(0).tolist() == [0, 1]
    assert benchmark.positives(1).tolist() == [2]
    np.testing.assert_allclose(benchmark.distances(np.array([[0, 1], [0, 2]]))[0], 7.17, rtol=1e-2)


def test_some_names_with_a_zone_and_some_without(tmp_path: Path) -> None:
    from dsformer_core.geodesy import UtmZone

    write_at_pictures(tmp_path / "database", street(1))
    write_at_pictures(tmp_path / "queries", street(1), zone="")
    with pytest.raises(UsageError, match="--zone"):
        open_benchmark(tmp_path)
    assert open_benchmark(tmp_path, zone=UtmZone(10, True)).answerable.all()


def write_msls(root: Path) -> Path:
    for city, start in (("cph", 0), ("sf", 50)):
        write_msls_city(root, "train_val", city, "database", [
            {"key": f"{city}a", "east": 1000.0, "seed": start},
            {"key": f"{city}b", "east": 2000.0, "seed": start + 1},
            {"key": f"{city}c", "east": 2000.0, "pano": True},
            {"key": f"{city}d", "east": 3000.0, "all": False},
        ])  # fmt: skip
        write_msls_city(root, "train_val", city, "query", [
            {"key": f"{city}1", "east": 1010.0, "seed": start},
            {"key": f"{city}2", "east": 2010.0, "pano": True},
            {"key": f"{city}3", "east": 3010.0},
            {"key": f"{city}4", "east": 2010.0, "all": False},
        ])  # fmt: skip
    return root


@pytest.mark.parametrize("below", ["", "msls"])
def test_msls_official_queries(below: str, tmp_path: Path) -> None:
    write_msls(tmp_path / below)
    benchmark = open_benchmark("msls-val", tmp_path)
    assert [Path(name).stem for name in benchmark.queries.names] == ["cph1", "cph3", "sf1", "sf3"]
    assert [Path(name).stem for name in benchmark.database.names] == ["cpha", "cphb", "sfa", "sfb"]
    assert benchmark.answerable.tolist() == [True, False, True, False]
    assert benchmark.headline == "answerable", "the official evaluation leaves the others out"
    assert [benchmark.positives(query).tolist() for query in range(4)] == [[0], [], [2], []], "cities stay apart"
    assert any("2 queries where the release has 740" in note for note in benchmark.notes)
    assert all_there(benchmark)
    assert len(open_benchmark("msls-val", tmp_path / below / "train_val").queries) == 4


def test_msls_wider_queries_in_both_layouts(tmp_path: Path) -> None:
    write_msls(tmp_path / "original")
    benchmark = open_benchmark("msls-val-all", tmp_path / "original")
    assert [Path(name).stem for name in benchmark.queries.names] == [f"{c}{n}" for c in ("cph", "sf") for n in "134"]
    assert len(benchmark.database) == 6 and benchmark.answerable.all() and benchmark.headline == "all"
    write_at_pictures(tmp_path / "at/msls/val/database", street(3))
    write_at_pictures(tmp_path / "at/msls/val/queries", street(2))
    assert len(open_benchmark("msls-val-all", tmp_path / "at").queries) == 2


def test_msls_damaged_tables(tmp_path: Path) -> None:
    write_msls(tmp_path)
    table = tmp_path / "train_val/sf/query/postprocessed.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(LayoutError, match=r"sf/query/postprocessed\.csv has 3 rows, seq_info\.csv has 4"):
        open_benchmark("msls-val", tmp_path)
    table.write_text("a,b\n1,2\n")
    with pytest.raises(LayoutError, match=r"postprocessed\.csv"):
        open_benchmark("msls-val", tmp_path)
    table.unlink()
    with pytest.raises(LayoutError, match=r"postprocessed\.csv is missing: it comes with MSLS's metadata"):
        open_benchmark("msls-val", tmp_path)
    shutil.rmtree(tmp_path / "train_val/sf")
    with pytest.raises(LayoutError, match="sf/database: no such folder"):
        open_benchmark("msls-val", tmp_path)


def test_msls_challenge_and_its_submission(tmp_path: Path) -> None:
    for city in ("miami", "athens", "buenosaires", "stockholm", "bengaluru", "kampala"):
        write_msls_city(tmp_path, "test", city, "database", [{"key": f"{city[0]}{n}"} for n in range(2)])
        write_msls_city(tmp_path, "test", city, "query", [{"key": f"q-{city}"}, {"key": "not", "all": False}])
    benchmark = open_benchmark("msls-challenge", tmp_path)
    assert not benchmark.labelled and len(benchmark.queries) == 6 and len(benchmark.database) == 12
    rows = np.array([np.roll(np.arange(12), -shift) for shift in range(6)])
    write_submission(tmp_path / "prediction.zip", benchmark, rows, count=3)
    with zipfile.ZipFile(tmp_path / "prediction.zip") as archive:
        (name,) = archive.namelist()
        lines = archive.read(name).decode().splitlines()
    assert name == "prediction.csv"
    assert lines[:2] == ["q-miami m0 m1 a0", "q-athens m1 a0 a1"] and len(lines) == 6
    with pytest.raises(UsageError, match="12 references per query were retrieved, a submission has 20"):
        write_submission(tmp_path / "prediction.zip", benchmark, rows)


def test_msls_challenge_with_published_positions(tmp_path: Path) -> None:
    for city in ("miami", "athens", "buenosaires", "stockholm", "bengaluru", "kampala"):
        write_msls_city(
            tmp_path, "test", city, "database", [{"key": f"{city}{n}", "east": 100.0 * n} for n in range(2)]
        )
        write_msls_city(tmp_path, "test", city, "query", [{"key": f"q{city}", "east": 90.0}])
    benchmark = open_benchmark("msls-challenge", tmp_path)
    assert [benchmark.positives(query).tolist() for query in range(6)] == [[1], [3], [5], [7], [9], [11]]
    assert not benchmark.notes


def test_pittsburgh_in_the_at_layout(tmp_path: Path) -> None:
    for split, queries in (("test", 2), ("val", 1)):
        write_at_pictures(tmp_path / f"pitts30k/images/{split}/database", street(3), zone="17@T")
        write_at_pictures(tmp_path / f"pitts30k/images/{split}/queries", street(queries), zone="17@T")
    test = open_benchmark("pitts30k", tmp_path)
    assert (len(test.database), len(test.queries)) == (3, 2)
    assert "2 queries where the release has 6,816: numbers do not compare" in " ".join(test.notes)
    assert len(open_benchmark("pitts30k-val", tmp_path).queries) == 1


@pytest.mark.parametrize("tables", ["netvlad_v100_datasets/datasets", "datasets"])
def test_pittsburgh_as_published(tables: str, tmp_path: Path) -> None:
    home = tmp_path / "Pittsburgh250k"
    references, queries = ["000/a_pitch1_yaw1.jpg", "000/b_pitch1_yaw1.jpg"], ["000/q_pitch1_yaw1.jpg"]
    for number, name in enumerate(references):
        write_picture(home / name, latitude=None, seed=number)
    write_picture(home / "queries_real" / queries[0], latitude=None)
    positions = np.array([[584_000.0, 4_477_000.0], [584_100.0, 4_477_000.0]])
    for table in ("pitts30k_test", "pitts250k_test"):
        write_netvlad_table(home / tables / f"{table}.mat", references, positions, queries, positions[1:] + 10)
    for name in ("pitts30k", "pitts250k"):
        benchmark = open_benchmark(name, tmp_path)
        assert benchmark.positives(0).tolist() == [1]
        assert all_there(benchmark)
    shutil.rmtree(home / "queries_real")
    with pytest.raises(LayoutError, match=r"first query 000/q_pitch1_yaw1\.jpg not found"):
        open_benchmark("pitts30k", tmp_path)
    (home / tables / "pitts30k_test.mat").write_bytes(b"MATLAB 5.0 MAT-file, or not")
    with pytest.raises(LayoutError, match="is not one of NetVLAD's tables"):
        open_benchmark("pitts30k", tmp_path)


@pytest.mark.parametrize(
    ("table", "references", "queries"),
    [
        ("database_gsv_vga/netvlad_v100_datasets/datasets/tokyo247.mat", "database_gsv_vga", "query/247query"),
        ("datasets/tokyo247.mat", ".", "247query_subset_v2"),
    ],
)
def test_tokyo247_as_published(table: str, references: str, queries: str, tmp_path: Path) -> None:
    home = tmp_path / "tokyo247"
    write_picture(home / references / "03814/381452/p_012_0.png", latitude=None)
    write_picture(home / queries / "00001.jpg", latitude=None)
    positions = np.array([[382_000.0, 3_945_000.0]])
    write_netvlad_table(home / table, ["03814/381452/p_012_0.jpg"], positions, ["00001.jpg"], positions + 30)
    benchmark = open_benchmark("tokyo247", tmp_path)
    assert all_there(benchmark)
    assert benchmark.answerable.tolist() == [False]


def test_tokyo247_in_the_at_layout(tmp_path: Path) -> None:
    for side in ("database", "queries"):
        write_at_pictures(tmp_path / "tokyo247/images/test" / side, street(2), zone="54@S")
    assert open_benchmark("tokyo247", tmp_path).answerable.all()


@pytest.mark.parametrize("below", ["sf_xl/processed/test", "test", "."])
@pytest.mark.parametrize("queries", ["v1", "v2", "night", "occlusion"])
def test_sf_xl(below: str, queries: str, tmp_path: Path) -> None:
    write_at_pictures(tmp_path / below / "database/37.77", street(3))
    write_at_pictures(tmp_path / below / f"queries_{queries}", street(1))
    benchmark = open_benchmark(f"sf-xl-{queries}", tmp_path)
    assert (len(benchmark.database), len(benchmark.queries)) == (3, 1) and benchmark.answerable.all()
    shutil.rmtree(tmp_path / below / "database")
    with pytest.raises(LayoutError, match="SF-XL's test database/ not found"):
        open_benchmark(f"sf-xl-{queries}", tmp_path)


@pytest.mark.parametrize("tolerance", [1, 2, 10])
@pytest.mark.parametrize("queries", [3450, 27592])
def test_nordland_counts_frames_in_the_order_of_their_numbers(queries: int, tolerance: int, tmp_path: Path) -> None:
    write_nordland(tmp_path / "nordland", 30, range(30), first=5)
    benchmark = open_benchmark(f"nordland-{queries}-{tolerance}", tmp_path)
    assert benchmark.unit == "frames" and benchmark.radius == tolerance
    assert benchmark.database.names[:3] == ["5.jpg", "7.jpg", "9.jpg"], "9 before 11"
    assert benchmark.positives(15).tolist() == list(range(15 - tolerance, 16 + tolerance))
    assert benchmark.positives(0).tolist() == list(range(tolerance + 1))
    assert f"where the release has {queries:,}" in " ".join(benchmark.notes)


@pytest.mark.parametrize("names", [("database", "queries"), ("ref", "query")])
def test_nordland_every_tenth_frame(names: tuple[str, str], tmp_path: Path) -> None:
    write_nordland(tmp_path / "all", 30, range(30), names=names)
    write_nordland(tmp_path / "tenth", 30, range(3), names=names)
    for folder in ("all", "tenth"):
        benchmark = open_benchmark("nordland-2760-1", tmp_path / folder)
        assert [benchmark.positives(query).tolist() for query in range(3)] == [[0, 1], [9, 10, 11], [19, 20, 21]]
    assert [Path(name).stem for name in open_benchmark("nordland-2760-1", tmp_path / "all").queries.names] == [
        "0",
        "30",
        "60",
    ]
    with pytest.raises(LayoutError, match=r"30 references and 3 queries; .* use nordland-2760-2"):
        open_benchmark("nordland-27592-2", tmp_path / "tenth")


def test_nordland_in_the_at_layout(tmp_path: Path) -> None:
    test = tmp_path / "nordland/images/test"
    for frame in range(21):
        write_picture(test / "database" / f"@0@{frame * 2.38:07.1f}@@@@@{frame}@@@@@@@@.jpg", latitude=None, seed=frame)
        if frame % 10 == 0:
            write_picture(test / "queries" / f"@0@{frame * 2.38:07.1f}@@@@@{frame}@@@@@@@@.jpg", latitude=None)
    benchmark = open_benchmark("nordland-2760-2", tmp_path)
    assert [benchmark.positives(query).tolist() for query in range(3)] == [[0, 1, 2], list(range(8, 13)), [18, 19, 20]]


def test_nordland_with_names_that_are_no_numbers(tmp_path: Path) -> None:
    write_picture(tmp_path / "database/summer.jpg", latitude=None)
    write_picture(tmp_path / "queries/1.jpg", latitude=None)
    with pytest.raises(LayoutError, match=r"summer\.jpg: Nordland's pictures are named by whole numbers"):
        open_benchmark("nordland-3450-2", tmp_path)
