"""Maps that are searched by codes, from pictures and on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsformer_core.cli.main import main
from dsformer_core.cli.map.index_arguments import INDEX_KINDS as OFFERED
from dsformer_core.described import CODE_BYTES, Described
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.models import create_model
from dsformer_core.models.checkpoint import save_checkpoint
from dsformer_core.pictures import read_picture
from dsformer_core.place_map import MapError, PlaceMap, build_place_map
from dsformer_core.place_map.format import read_description
from dsformer_core.place_map.indexes.binary import BinaryIndex
from dsformer_core.place_map.indexes.codes import CANDIDATES
from dsformer_core.place_map.indexes.index import DEFAULT_INDEX, INDEX_KINDS
from dsformer_core.sources import open_source
from tests.binary_maps import places, spots
from tests.synthetic import unit, write_map, write_picture, write_pictures


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


def test_codes_are_kept_whatever_the_index_so_that_another_can_be_made_of_them(
    tmp_path: Path, network: Extractor
) -> None:
    drive = open_source(write_pictures(tmp_path / "drive", 5))
    place_map = build_place_map(drive, network, tmp_path / "a.map", index="flat_fp16")
    described = network.describe([read_picture(Path(path)) for path in place_map.images])
    assert place_map.codes is not None and described.codes is not None
    np.testing.assert_array_equal(place_map.codes, described.codes)
    assert main(["map", "verify", str(tmp_path / "a.map")]) == 0
    assert main(["map", "reindex", str(tmp_path / "a.map"), "--index", "binary"]) == 0
    again = PlaceMap.open(tmp_path / "a.map")
    assert isinstance(again.index, BinaryIndex) and again.index.signs is None
    np.testing.assert_array_equal(again.codes, described.codes)
    (tmp_path / "a.map/index.faiss").unlink()
    with pytest.raises(MapError, match=r"index\.faiss is missing"):
        PlaceMap.open(tmp_path / "a.map")


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
        said = read_description(directory)["index"]
        assert (said["kind"], said["codes"], said["candidates"]) == ("binary", "signs", candidates)
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
