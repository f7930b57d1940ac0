"""`dsformer map add`, `merge`, `remove` and so on: what a person types and sees."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.format import MAP_FILE
from tests.drive_maps import drive_map
from tests.synthetic import write_picture, write_pictures

MODEL = ["--model", "gem_mobilenet_v2", "--weights", "untrained"]
VERBS = ["add", "merge", "remove", "thin", "diff", "split", "export", "import", "reindex"]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two maps of made-up drives, and one of pictures that a network described."""
    folder = tmp_path_factory.mktemp("made")
    drive_map(folder / "a.map", "a", 20)
    drive_map(folder / "b.map", "bb", 10, seed=1)
    write_pictures(folder / "drive", 3)
    arguments = ["map", "build", "--images", str(folder / "drive"), "--output", str(folder / "real.map"), *MODEL]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Path:
    """A copy to work in, which is the working directory."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    return tmp_path


def answer(capsys: Captured, *arguments: str) -> Any:
    assert main(["map", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_pictures(tmp_path / "drive", 3).parent
    assert main(["map", "build", "--images", "drive", "--output", "real.map", *MODEL]) == 0
    capsys.readouterr()
    for number in range(3, 6):
        write_picture(folder / f"drive/{number:03d}.jpg", latitude=55.7 + number * 5 / 111_320, seed=number)
    write_picture(folder / "drive/nowhere.jpg", latitude=None)
    before = PlaceMap.open("real.map")
    (folder / "current.map").symlink_to("real.map")
    assert main(["map", "add", "current.map", "--images", "drive"]) == 0
    assert (folder / "current.map").readlink() == Path("real.map")
    captured = capsys.readouterr()
    assert "current.map: 3 references added, 6 in all, 1 picture skipped" in captured.out
    assert "nowhere.jpg" in captured.err
    after = PlaceMap.open("real.map", verify="full")
    assert after.ids[:3] == before.ids and after.frame == before.frame
    assert main(["map", "add", "real.map", "--images", "drive"]) == 0
    assert "real.map: 0 references added, 6 in all" in capsys.readouterr().out


def test_merge(folder: Path, capsys: Captured) -> None:
    assert main(["map", "merge", "a.map", "b.map", "--output", "town.map"]) == 0
    captured = capsys.readouterr()
    assert "town.map: 30 references of 2 maps\n" in captured.out
    assert captured.err == "index: flat_fp16: 30 references are few enough to compare each\n"
    said = answer(capsys, "merge", "town.map", "b.map", "--output", "town.map", "--overwrite", "--index", "binary")
    assert (said["count"], said["repeated"], said["renamed"], said["index"]) == (30, 10, 0, "binary")
    assert PlaceMap.open("town.map", verify="full").index_kind == "binary"


def test_remove(folder: Path, capsys: Captured) -> None:
    assert main(["map", "remove", "a.map", "--match", "a/00*", "--dry-run"]) == 0
    said = "a.map: 10 of 20 references would be removed, 10 left: a/000.jpg, a/001.jpg, a/002.jpg, …\n"
    assert capsys.readouterr() == (said, "")
    assert PlaceMap.open("a.map").count == 20
    assert main(["map", "remove", "a.map", "--match", "a/00*", "--output", "rest.map"]) == 0
    assert (PlaceMap.open("a.map").count, PlaceMap.open("rest.map").count) == (20, 10)
    (folder / "ids.txt").write_text("a/000.jpg\nelsewhere.jpg\n")
    assert main(["map", "remove", "a.map", "--ids", "ids.txt"]) == 0
    captured = capsys.readouterr()
    assert "a.map: 1 of 20 references removed, 19 left" in captured.out
    assert "1 of the 2 ids of ids.txt are not in a.map" in captured.err
    said = answer(capsys, "remove", "a.map", "--before", "2023-11-14T22:13:23Z", "--after", "2023-11-14T23:13:21+01:00")
    assert (said["removed"], said["count"], said["ids"]) == (2, 17, ["a/001.jpg", "a/002.jpg"])
    assert "a/001.jpg" not in PlaceMap.open("a.map", verify="full").ids
    before = (folder / "a.map" / MAP_FILE).read_bytes()
    assert main(["map", "remove", "a.map", "--source", "nobody", "a", "--match", "tuesday/*"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "a.map: 0 of 17 references removed, 17 left\n"
    assert captured.err.splitlines() == [
        "a.map: no id matches 'tuesday/*'; the first is 'a/003.jpg'",
        "a.map: no reference is of source 'nobody'; there are 'a'",
    ]
    assert answer(capsys, "remove", "a.map", "--bbox", "0", "0", "1", "1")["removed"] == 0
    assert (folder / "a.map" / MAP_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["remove", "current.map", "--match", "a/00*"],
        ["thin", "current.map", "--every-metres", "20", "--similar", "-1"],
        ["reindex", "current.map", "--index", "flat"],
    ],
)
def test_the_map_that_a_link_names_is_changed_and_the_link_stays(folder: Path, arguments: list[str]) -> None:
    (folder / "current.map").symlink_to("a.map")
    before = (folder / "a.map" / MAP_FILE).read_bytes()
    assert main(["map", *arguments]) == 0
    assert (folder / "current.map").readlink() == Path("a.map")
    assert (folder / "a.map" / MAP_FILE).read_bytes() != before
    PlaceMap.open("a.map", verify="full")


def test_thin(folder: Path, capsys: Captured) -> None:
    said = answer(capsys, "thin", "a.map", "--every-metres", "20", "--similar", "-1", "--dry-run")
    assert said["before"]["count"] == 20 > said["after"]["count"]
    assert PlaceMap.open("a.map").count == 20
    assert main(["map", "thin", "a.map", "--every-metres", "20", "--similar", "-1"]) == 0
    assert f"a.map: {said['after']['count']} of 20 references stay" in capsys.readouterr().out
    assert PlaceMap.open("a.map", verify="full").count == said["after"]["count"]


def test_diff(folder: Path, capsys: Captured) -> None:
    assert main(["map", "diff", "a.map", "a.map"]) == 0
    assert capsys.readouterr().out == "no difference: 20 references\n"
    assert main(["map", "remove", "a.map", "--match", "a/00*", "--output", "rest.map"]) == 0
    capsys.readouterr()
    assert main(["map", "diff", "a.map", "rest.map"]) == 0
    assert capsys.readouterr().out == (
        "20 references before, 10 after\n10 removed: a/000.jpg, a/001.jpg, a/002.jpg, …\n"
    )
    said = answer(capsys, "diff", "rest.map", "real.map")
    assert len(said["added"]) == 3 and len(said["removed"]) == 10 and not said["same"]
    assert {"descriptors", "datum", "weights"} <= said["properties"].keys()


def test_split(folder: Path, capsys: Captured) -> None:
    said = answer(capsys, "split", "a.map", "--tiles", "40", "--overlap", "5", "--output", "tiles")
    assert sum(one["count"] for one in said["maps"]) > 20
    assert main(["map", "split", "a.map", "--areas", "tiles/areas.geojson", "--output", "districts"]) == 0
    assert re.search("districts: [3-9] maps of 20 references", capsys.readouterr().out)
    tiles = sorted(str(path) for path in Path("tiles").glob("*.map"))
    assert main(["map", "merge", *tiles, "--output", "again.map"]) == 0
    assert sorted(PlaceMap.open("again.map", verify="full").ids) == sorted(PlaceMap.open("a.map").ids)


def test_reindex(folder: Path, capsys: Captured) -> None:
    before = PlaceMap.open("a.map")
    assert main(["map", "reindex", "a.map", "--index", "binary", "--candidates", "5"]) == 0
    assert "a.map: 20 references, searched by binary instead of flat_fp16" in capsys.readouterr().out
    after = PlaceMap.open("a.map", verify="full")
    assert after.index.details()["candidates"] == 5
    np.testing.assert_array_equal(after.descriptors, before.descriptors)
    assert main(["map", "reindex", "a.map", "--index", "flat", "--output", "flat.map"]) == 0
    assert "with the precision of float16" in capsys.readouterr().err


def test_an_index_that_is_not_the_one_asked_for_comes_with_the_reason(folder: Path, capsys: Captured) -> None:
    assert main(["map", "reindex", "a.map", "--index", "ivf_pq"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "index: flat_fp16: ivf_pq is made of 1,000 references or more, and there are 20\n"
    assert captured.out.endswith("a.map: 20 references, searched by flat_fp16 as before\n")
    assert main(["map", "reindex", "a.map", "--index", "auto", "--recall", "1"]) == 0
    assert capsys.readouterr().err == "index: flat_fp16: nothing else finds all\n"


def test_export_and_import(folder: Path, capsys: Captured) -> None:
    for kind, name, count in (
        ("geoparquet", "a.parquet", 20),
        ("geojson", "a.geojson", 20),
        ("hloc-descriptors", "a.h5", 20),
        ("hloc-pairs", "pairs.txt", None),
    ):
        said = answer(capsys, "export", "a.map", "--format", kind, "--output", name)
        assert (said["file"], said["format"]) == (name, kind) and (folder / name).stat().st_size > 0
        assert count is None or said["count"] == count
    assert said["count"] == len((folder / "pairs.txt").read_text().splitlines())
    # QGIS's file is a table of references, too; hloc's names are below the pictures' folder.
    rows = [f"{name},{55.7 + row * 1e-4},13.0" for row, name in enumerate(PlaceMap.open("a.map").ids)]
    (folder / "refs.csv").write_text("\n".join(["path,latitude,longitude", *(row.removeprefix("a/") for row in rows)]))
    arguments = ["--descriptors", "a.h5", "--references", "refs.csv", "--model", "elsewhere_net", "--output", "c.map"]
    assert main(["map", "import", *arguments, "--index", "binary"]) == 0
    captured = capsys.readouterr()
    assert "c.map: 20 references of elsewhere_net" in captured.out
    assert "elsewhere_net is no network of this program" in captured.err
    assert "index: binary: as asked" in captured.err
    np.testing.assert_array_equal(PlaceMap.open("c.map").descriptors, PlaceMap.open("a.map").descriptors)
    assert main(["localize", "drive/000.jpg", "--map", "c.map"]) == 1
    assert "'elsewhere_net', which is no network of this program" in capsys.readouterr().err


def test_pairs_of_queries(folder: Path, capsys: Captured) -> None:
    arguments = ["--format", "hloc-pairs", "--queries", "drive/001.jpg", "--pairs", "2", "--output", "pairs.txt"]
    assert answer(capsys, "export", "real.map", *arguments, "--root", "/")["count"] == 2
    query = (folder / "drive/001.jpg").relative_to("/")
    reference = Path(PlaceMap.open("real.map").images[1]).relative_to("/")
    assert (folder / "pairs.txt").read_text().splitlines()[0] == f"{query} {reference}"
    assert main(["map", "export", "real.map", *arguments, "--root", "drive", "--overwrite"]) == 2
    assert "name the folder that all pictures are in (--root)" in capsys.readouterr().err


def test_imported_descriptors_are_compared_with_the_pictures(folder: Path, capsys: Captured) -> None:
    real = PlaceMap.open("real.map")
    np.save("d.npy", np.asarray(real.descriptors))
    rows = [f"drive/{name},{55.7 + row * 1e-4},13.0" for row, name in enumerate(real.ids)]
    (folder / "refs.csv").write_text("\n".join(["path,latitude,longitude", *rows]))
    arguments = ["import", "--references", "refs.csv", *MODEL, "--check", "2", "--overwrite", "--output", "c.map"]
    said = answer(capsys, *arguments, "--descriptors", "d.npy")
    assert said["least_similarity"] > 0.99 and said["weights_sha256"] == real.weights_sha256
    random = np.random.default_rng(0).normal(size=real.descriptors.shape)
    np.save("other.npy", random)
    assert main(["map", *arguments, "--descriptors", "other.npy"]) == 1
    captured = capsys.readouterr().err
    assert "3 of 3 descriptors were not of unit length, and are made so" in captured
    assert "is not what gem_mobilenet_v2 (untrained) says of it" in captured


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["add", "a.map", "--images", "drive"], 1, "the weights 'made up' of gem_mobilenet_v2"),
        (["add", "none.map", "--images", "drive"], 2, "no such place map"),
        (["add", "a.map", "--images", "drive", "--weights", "untrained"], 1, "was built with gem_mobilenet_v2 weights"),
        (["merge", "a.map", "--output", "c.map"], 2, "give two maps or more"),
        (["merge", "a.map", "real.map", "--output", "c.map"], 1, "descriptors of different networks"),
        (["merge", "a.map", "b.map", "--output", "a.map"], 2, "exists"),
        (["merge", "a.map", "b.map", "--output", "no/c.map"], 2, "no such folder"),
        (["merge", "a.map", "later.map", "--output", "c.map"], 1, "format version 2, this program reads version 1"),
        (["remove", "later.map", "--match", "*"], 1, "format version 2"),
        (["diff", "a.map", "later.map"], 1, "format version 2"),
        (["remove", "a.map"], 2, "say which references"),
        (["remove", "a.map", "--match", "*"], 1, "none of its 20 references would be left"),
        (["remove", "a.map", "--before", "yesterday"], 2, "--before 'yesterday' is no time"),
        (["remove", "a.map", "--within", "none.geojson"], 2, "no such file"),
        (["remove", "a.map", "--match", "a/001*", "--output", "b.map"], 2, "exists"),
        (["thin", "a.map", "--every-metres", "0"], 2, "must be more than 0"),
        (["split", "a.map", "--areas", "x.geojson", "--overlap", "5", "--output", "t"], 2, "--overlap is for --tiles"),
        (["reindex", "a.map", "--index", "flat", "--candidates", "5"], 2, "candidates"),
        (["export", "a.map", "--format", "geojson", "--output", "drive/000.jpg"], 2, "exists"),
        (["export", "a.map", "--format", "geojson", "--output", "x", "--pairs", "2"], 2, "are of hloc-pairs"),
        (["export", "a.map", "--format", "hloc-pairs", "--output", "x", "--pairs", "0"], 2, "must be 1 or more"),
        (["import", "--descriptors", "d.npy", "--references", "drive", *MODEL, "--output", "c.map"], 2, "give a table"),
    ],
)  # fmt: skip
def test_wrong_calls_get_one_line_and_change_nothing(
    folder: Path, capsys: Captured, arguments: list[str], status: int, words: str
) -> None:
    later = folder / "later.map"
    shutil.copytree("b.map", later)
    (later / MAP_FILE).write_text((later / MAP_FILE).read_text().replace("format: 1", "format: 2"))
    before = {path: path.read_bytes() for path in folder.rglob("*.map/*") if path.is_file()}
    assert main(["map", *arguments]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert words in lines[-1] and lines[-1].startswith("dsformer: ")
    assert not (folder / "c.map").exists() and not (folder / "x").exists()
    assert {path: path.read_bytes() for path in before} == before
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples(verb: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["map", verb, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  dsformer map {verb}" in capsys.readouterr().out


def test_an_index_must_be_named(folder: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["map", "reindex", "a.map"])
    assert ended.value.code == 2 and "--index" in capsys.readouterr().err
    assert main(["map", "merge", "a.map", "b.map", "--output", "c.map", "--candidates", "9"]) == 2
    assert "--candidates is of an index that is named" in capsys.readouterr().err


def test_ctrl_c_leaves_the_old_map(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = (folder / "a.map" / MAP_FILE).read_bytes()
    monkeypatch.setattr("dsformer_core.place_map.building.assemble.fit_calibration", interrupt)
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    for arguments in (
        ["remove", "a.map", "--match", "a/00*"],
        ["thin", "a.map", "--every-metres", "9", "--similar", "-1"],
        ["reindex", "a.map", "--index", "binary"],
        ["merge", "a.map", "b.map", "--output", "a.map", "--overwrite"],
        ["split", "a.map", "--tiles", "30", "--output", "tiles"],
    ):
        with pytest.raises(KeyboardInterrupt):
            main(["map", *arguments])
        assert capsys.readouterr().err.strip().splitlines()[-1] == "dsformer: interrupted"
    assert (folder / "a.map" / MAP_FILE).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.map", "b.map", "drive", "real.map"]
