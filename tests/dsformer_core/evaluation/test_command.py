"""`dsformer evaluate`: what a person types and sees."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from dsformer_core.cli.main import main
from tests.dsformer_core.evaluation.layouts import street, write_at_pictures, write_msls_city
from tests.synthetic import write_picture, write_pictures
from tests.uncovered import uncovered_environment
from tests.warm_python import WarmCode

MODEL = ["--model", "gem_mobilenet_v2", "--weights", "untrained"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight references, of which four are queries, and two queries from elsewhere."""
    folder = tmp_path_factory.mktemp("town") / "town"
    write_pictures(folder / "database", 8)
    write_pictures(folder / "queries", 4)
    write_picture(folder / "queries/far.jpg", latitude=56.5, seed=77)
    (folder / "queries/torn.jpg").write_bytes((folder / "queries/003.jpg").read_bytes()[:1500])
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "descriptors"
    monkeypatch.setenv("DSFORMER_DESCRIPTORS", str(folder))
    return folder


def test_the_table_says_which_queries_count(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(town), *MODEL]) == 0
    words = capsys.readouterr()
    assert "8 references, 6 queries, of which 1 have no right reference" in words.out
    assert "over all queries, as the field counts here" in words.out
    assert "over the queries with a right reference: R@1 80.0" in words.out
    assert "66.7" in words.out and "R@5" in words.out
    assert "1 queries and 0 references could not be read; such queries count as not found" in words.out
    assert "torn.jpg: damaged or cut short" in words.err


def test_json_report_and_pictures(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(town), *MODEL, "--json", "--output", str(tmp_path / "report")]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["recall"]["1"] == {**described["recall"]["1"], "hits": 4, "queries": 6}
    assert described["recall_over_answerable"]["1"]["value"] == 0.8
    assert described["queries"] == {"count": 6, "unreadable": 1, "without_a_right_reference": 1}
    assert json.loads((tmp_path / "report/evaluation.json").read_text()) == [described]
    with (tmp_path / "report/matches.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 5 * 8 and pairs[0]["query"] == pairs[0]["reference"] == "000.jpg"
    assert (pairs[0]["rank"], pairs[0]["right"]) == ("1", "true") and float(pairs[0]["distance"]) == 0
    page = (tmp_path / "report/report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4 * 6
    assert "has no right reference" in page and "the picture is not here" in page
    assert not re.search(r"(src|href)=\"http", page), "needs no internet"


def test_several_models_side_by_side(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(town), *MODEL, *MODEL, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert without_time(first) == without_time(second)
    assert main(["evaluate", str(town), *MODEL, "--model", "gem_resnet50"]) == 2
    assert "2 --model and 1 --weights" in capsys.readouterr().err


def test_a_model_with_a_hash_branch_is_searched_in_three_ways(
    town: Path, hashing_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(town), "--model", "dsformer_tiny", "--weights", str(hashing_weights)]
    output = tmp_path / "report"
    assert main([*arguments, "--candidates", "5", "--json", "--output", str(output)]) == 0
    described = json.loads(capsys.readouterr().out)
    assert [each["search"] for each in described] == ["float", "binary", "re-ranked"]
    assert [each["bytes_per_reference"] for each in described] == [4 * 512, 64, 64]
    assert [each["bytes_read_per_query"] for each in described] == [0, 0, 5 * 2 * 512]
    assert [each["candidates"] for each in described] == [None, None, 5]
    assert all(each["seconds_per_query"] > 0 for each in described)
    assert [each["recall"]["1"]["hits"] for each in described] == [4, 4, 4], "its own pictures"
    assert [each["queries"]["unreadable"] for each in described] == [1, 1, 1]
    with (output / "matches.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert {pair["search"] for pair in pairs} == {"float", "binary", "re-ranked"}
    assert len(pairs) == 5 * (8 + 8 + 5)
    page = (output / "report.html").read_text()
    assert "dsformer_tiny, binary: most confident wrong matches" in page and "<td>re-ranked</td>" in page
    assert main(arguments) == 0
    words = capsys.readouterr().out
    assert "3 dsformer_tiny, re-ranked: weights hashing.safetensors" in words
    assert "64 B" in words and "2,048 B" in words
    assert "re-ranked: all 8 references are among the 300 candidates" in words
    assert main([*arguments, "--index", "flat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["search"] == "float"


def test_what_a_binary_map_would_cost_is_seen_before_it_is_built(
    town: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(town), *MODEL, "--index", "binary", "--json"]) == 0
    exact, binary, reranked = json.loads(capsys.readouterr().out)
    assert (binary["search"], reranked["search"]) == ("binary", "re-ranked")
    assert reranked["recall"] == exact["recall"], "8 references are all candidates"


def without_time(described: dict[str, object]) -> dict[str, object]:
    """Every number but the one that no two runs share."""
    return described | {"seconds_per_query": None}


def test_a_map_asked_about_another(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = [tmp_path / "a.map", tmp_path / "b.map"]
    for path, side in zip(maps, ("database", "queries"), strict=True):
        assert main(["map", "build", "--images", str(town / side), "--output", str(path), *MODEL]) == 0
    capsys.readouterr()
    arguments = ["evaluate", "--database", str(maps[0]), "--queries", str(maps[1])]
    assert main([*arguments, "--json", "--output", str(tmp_path / "report")]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["recall_over_answerable"]["1"]["value"] == 1
    assert [curve["score"] for curve in described["abstention"]] == ["similarity", "probability"]
    assert "data:image/jpeg" in (tmp_path / "report/report.html").read_text(), "thumbnails of the maps"
    assert main([*arguments, *MODEL]) == 2
    assert main([*arguments, "--check"]) == 2
    assert main(["evaluate", "--database", str(maps[0]), "--queries", str(town / "queries")]) == 2
    assert "is a map and the other is not" in capsys.readouterr().err


def test_maps_with_codes_of_a_hash_branch(
    town: Path, hashing_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", "dsformer_tiny", "--weights", str(hashing_weights)]
    maps = {name: str(tmp_path / f"{name}.map") for name in ("references", "queries", "flat")}
    for name, path in maps.items():
        kind = ["--index", "flat_fp16" if name == "flat" else "binary"]
        side = town / ("database" if name == "references" else "queries")
        assert main(["map", "build", "--images", str(side), "--output", path, *kind, *model]) == 0
    capsys.readouterr()
    asked = ["evaluate", "--database", maps["references"], "--candidates", "3", "--queries"]
    assert main([*asked, maps["queries"], "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert [each["search"] for each in described] == ["float", "binary", "re-ranked"]
    assert [each["recall_over_answerable"]["1"]["value"] for each in described] == [1, 1, 1], "its own pictures"
    assert [each["notes"] for each in described] == [[], [], []]
    assert main([*asked, maps["flat"]]) == 0
    words = capsys.readouterr().out
    assert "note: by floats alone" in words and "flat keeps none; build it with --index binary" in words
    assert "binary," not in words
    assert main([*asked, maps["flat"], "--index", "binary"]) == 2
    assert "no --index is needed" in capsys.readouterr().err


def test_two_folders_that_are_not_side_by_side(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--database", str(town / "database"), "--queries", str(town / "queries"), *MODEL]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["benchmark"] == "queries in database"


def test_check_and_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_at_pictures(tmp_path / "tokyo247/images/test/database", street(3), zone="54@S")
    queries = write_at_pictures(tmp_path / "tokyo247/images/test/queries", street(2), zone="54@S")
    check = ["evaluate", "tokyo247", "--root", str(tmp_path), "--check"]
    assert main(check) == 1
    words = capsys.readouterr()
    assert "3 references in" in words.out and "0 queries have no right reference" in words.out
    differences = "3 references where the release has 75,984, 2 queries where the release has 315"
    assert f"tokyo247 is not as released: {differences}" in words.err
    (queries[0].parent.with_name("queries_images_paths.txt")).write_text("\n".join(path.name for path in queries))
    queries[0].unlink()
    assert main([*check, "--json"]) == 1
    described = json.loads((said := capsys.readouterr()).out)
    assert len(described["missing"]) == 1 and described["complete"] is False
    assert "1 pictures of tokyo247 are missing, the first is" in said.err
    assert main(["evaluate", "pitts30k", "--root", str(tmp_path), "--check"]) == 1
    assert "looked for pitts30k/images/test" in capsys.readouterr().err
    assert main(["evaluate", "--list"]) == 0
    assert "nordland-27592-10" in capsys.readouterr().out
    assert main(["evaluate", "--list", "--json"]) == 0
    assert {"msls-val", "sf-xl-night"} <= {each["name"] for each in json.loads(capsys.readouterr().out)}


def test_a_data_set_is_complete_with_as_many_pictures_as_were_released(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "sf_xl/processed/test"
    (first,) = write_at_pictures(test / "queries_occlusion", street(1))
    write_at_pictures(test / "database", street(2))
    others = [first.with_name(first.name.replace("@0000@", f"@{number:04d}@")) for number in range(1, 76)]
    for other in others:
        other.hardlink_to(first)
    check = ["evaluate", "sf-xl-occlusion", "--root", str(tmp_path), "--check", "--json"]
    assert main(check) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is True
    others[-1].unlink()
    assert main(check) == 1
    assert "not as released: 75 queries where the release has 76" in capsys.readouterr().err
    assert main(["evaluate", str(town), "--check"]) == 0, "nobody released this folder"


def test_a_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for city in ("miami", "athens", "buenosaires", "stockholm", "bengaluru", "kampala"):
        pictures = [{"key": f"{city}{number}", "seed": number + len(city)} for number in range(2)]
        write_msls_city(tmp_path, "test", city, "database", pictures)
        write_msls_city(tmp_path, "test", city, "query", [{"key": f"q{city}", "seed": len(city)}])
    output = tmp_path / "prediction.zip"
    arguments = ["evaluate", "msls-challenge", "--root", str(tmp_path), *MODEL, "--submission", str(output)]
    assert main([*arguments, "--submission-keys", "5"]) == 0
    assert "no recall here, write a submission" in capsys.readouterr().out
    with zipfile.ZipFile(output) as archive:
        lines = archive.read("prediction.csv").decode().splitlines()
    assert [len(line.split(" ")) for line in lines] == [6] * 6
    two_stages = [*arguments, "--submission-keys", "5", "--index", "binary", "--candidates"]
    assert main([*two_stages, "5"]) == 0
    assert "prediction.zip, of the re-ranked search" in capsys.readouterr().err
    assert main([*two_stages, "4"]) == 2
    assert "4 references per query were retrieved, a submission has 5" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "12 references per query were retrieved, a submission has 20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a data set, a folder, or --database and --queries"),
        (["--database", "a"], "give --database and --queries together"),
        (["town", "--database", "a", "--queries", "b"], "no DATASET beside them"),
        (["pitts30k"], "--root DIR"),
        (["TOWN"], "--model NAME"),
        (["--database", "TOWN", "--queries", "TOWN", "--zone", "99N"], "'99N' is not a UTM zone"),
        (["TOWN", "--radius", "nan"], "--radius nan is no distance"),
        (["TOWN", "--radius", "-1"], "--radius -1.0 is no distance"),
        (["TOWN", "--zone", "99N"], "'99N' is not a UTM zone"),
        (["TOWN", *MODEL, "--submission", "a.zip"], "a submission is of one --model on msls-challenge"),
        (["TOWN", "--model", "resnet"], "no model is called 'resnet'"),
        (["TOWN", *MODEL, "--batch-size", "0"], "batch_size is 0"),
        (["TOWN", *MODEL, "--candidates", "0"], "--candidates 0: it must be 1 or more"),
        (["TOWN", *MODEL, "--candidates", "9"], "gem_mobilenet_v2 gives no codes to find candidates by"),
        (["TOWN", *MODEL, "--candidates", "9", "--index", "flat"], "--index flat searches without"),
        (["TOWN", *MODEL, "--index", "hnsw"], "--index hnsw: it must be flat"),
    ],
)
def test_wrong_calls_are_one_line(
    town: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cache = ["--cache", str(tmp_path / "cache")]
    assert main(["evaluate", *(str(town) if word == "TOWN" else word for word in arguments), *cache]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert words in lines[-1]


def test_ctrl_c_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "drive/database", 100)
    write_pictures(tmp_path / "drive/queries", 2)
    arguments = ["evaluate", str(tmp_path / "drive"), *MODEL, "--cache", str(tmp_path / "cache"), "--json"]
    program = "import sys; from dsformer_core.cli.main import main; sys.exit(main())"
    process = WarmCode(program, *arguments, "--batch-size", "1", environment=uncovered_environment())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "cache").glob("*/descriptors.part.npy")):
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT and "Traceback" not in words
    assert "what is described so far is kept: the same command goes on from there" in words
    assert words.strip().endswith("dsformer: interrupted")
    (part,) = (tmp_path / "cache").glob("*/descriptors.part.npy")
    assert part.stat().st_size > 128 and (part.stat().st_size - 128) % 2048 == 0
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["recall"]["1"]["value"] == 1


def test_help_is_fast_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "dsformer evaluate pitts30k --root datasets/" in capsys.readouterr().out
    script = "import sys, dsformer_core.cli.evaluate; sys.exit('torch' in sys.modules or 'faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
