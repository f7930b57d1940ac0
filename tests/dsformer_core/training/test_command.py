"""`dsformer train`, as a user calls it."""

import json
from pathlib import Path

import pytest

from dsformer_core.cli.main import main
from dsformer_core.models import load_checkpoint

RECIPES = Path(__file__).resolve().parents[3] / "training/recipes"
SMALL = ["--set", "data.size=[64, 64]", "--set", "data.workers=0", "--set", "schedule.batch_size=2"]


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("dsformer_tiny", ["model.weights=null", "model.whitening_pictures=0", "data.partition=null"]),
        ("table4_zero_layers", ["model.weights=null", "data.partition.kind=pictures"]),
        ("gem_resnet50_block_clustering", ["model.weights=null", "data.partition.kind=pictures"]),
    ],
)
def test_one_iteration_of_the_light_recipes(
    recipe: str, overrides: list[str], places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [word for override in overrides for word in ("--set", override)]
    call = ["train", str(RECIPES / f"{recipe}.yaml"), "--data", str(places), "--dry-run", "--device", "cpu"]
    assert main([*call, *SMALL, *changes]) == 0
    assert "one iteration went through; nothing was written" in capsys.readouterr().out


def test_it_trains_resumes_and_answers_in_json(
    recipe_file: Path, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", str(recipe_file), "--data", str(places), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*call, "--set", "schedule.epochs=1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["iterations"] == 4 and result["replaced_pictures"] == 0 and result["best"] is None
    assert load_checkpoint(Path(result["weights"])).name == "gem_mobilenet_v2"
    assert main([*call, "--set", "schedule.epochs=2", "--resume"]) == 0
    assert "gem_mobilenet_v2 after 8 iterations" in capsys.readouterr().out


def test_overfit_trains_one_epoch_on_as_many_pictures(
    recipe_file: Path, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", str(recipe_file), "--data", str(places), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*call, "--overfit", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["iterations"] == 4
    assert "overfit: 2" in (tmp_path / "run/recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "--output RUN is missing"),
        (["--dry-run", "--set", "optimizer.rate=1"], 2, "the nearest is optimizer.learning_rate"),
        (["--dry-run", "--data", "nowhere"], 2, "nowhere: no such"),
        (["--dry-run", "--device", "tpu"], 2, "--device tpu: choose auto, cpu or cuda"),
        (["--dry-run", "--set", "model.weights=nothing.pth"], 2, "nothing.pth"),
        (["--output", "run", "--resume"], 2, "holds no training to resume"),
        (["--output", "run", "--overfit", "0"], 2, "--overfit: at least 1 picture"),
        (["--dry-run", "--validate", "nowhere"], 2, "--validate nowhere: no such folder"),
    ],
)
def test_a_wrong_call_is_one_line(
    recipe_file: Path,
    places: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(recipe_file), "--data", str(places), *arguments]) == status
    errors = capsys.readouterr().err.strip().splitlines()
    assert message in errors[-1] and len(errors) == 1
