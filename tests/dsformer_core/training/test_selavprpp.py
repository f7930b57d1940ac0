"""The three procedures of SelaVPR++ by their recipes and `dsformer train`, with one block and small pictures."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dsformer_core.cli.main import main
from dsformer_core.models import load_checkpoint
from dsformer_core.training.run_directory import RunDirectory
from tests.dsformer_core.training.places import write_blur, write_gsv_cities

RECIPES = Path(__file__).resolve().parents[3] / "training/recipes"
SMALL = (
    "model.options.blocks=1", "data.size=[70, 70]", "data.train_size=[56, 56]", "data.workers=0",
    "schedule.batch_size=8", "schedule.iterations_per_epoch=1", "schedule.log_every=1",
)  # fmt: skip


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `dsformer train` with a recipe on places, and gives its answer."""
    write_gsv_cities(tmp_path / "gsv")
    for place in range(6):
        name = f"@{380_000 + 100 * place:010.2f}@{6_170_000:010.2f}@33@U@@@@@@@@@@.jpg"
        write_blur(tmp_path / "val/database" / name, place, 0)
        write_blur(tmp_path / "val/queries" / name, place, 1)

    def train(recipe: str, output: str, *overrides: str, flags: tuple[str, ...] = ()) -> Any:
        changes = [word for override in (*SMALL, *overrides) for word in ("--set", override)]
        paths = [
            "--data",
            str(tmp_path / "gsv"),
            "--output",
            str(tmp_path / output),
            "--validate",
            str(tmp_path / "val"),
        ]
        command = ["train", str(RECIPES / f"{recipe}.yaml"), *paths, "--device", "cpu", "--json", *changes, *flags]
        assert main(command) == 0
        return json.loads(capsys.readouterr().out)

    return train


def columns(path: Path) -> set[str]:
    with path.open() as file:
        return set(next(csv.DictReader(file)))


def test_standard_then_rerank_from_its_checkpoint_then_resume(call: Any, tmp_path: Path) -> None:
    standard = call("selavprpp_base", "standard", "model.weights=null", "schedule.epochs=1")
    assert standard["iterations"] == 1 and standard["best"].keys() == {"recall@1", "recall@5"}
    floats = load_checkpoint(Path(standard["best_weights"]))
    assert (floats.descriptor_dim, floats.preprocessing.size, floats.has_codes) == (2048, (70, 70), False)

    from_floats = (f"model.weights={standard['best_weights']}",)
    first = call("selavprpp_base_rerank", "rerank", *from_floats, "schedule.epochs=1")
    assert first["best"].keys() == {"binary_recall@1", "binary_recall@5"}
    assert columns(tmp_path / "rerank/validation.csv") >= {"recall@1", "binary_recall@1", "reranked_recall@1"}
    more = call("selavprpp_base_rerank", "rerank", *from_floats, "schedule.epochs=2", flags=("--resume",))
    assert more["iterations"] == 2

    begun, ended = load_file(standard["best_weights"]), load_file(more["weights"])
    assert all(torch.equal(tensor, ended[name]) for name, tensor in begun.items()), "floats stay, statistics included"
    adapters = [name for name in begun if name.startswith("adapters.") and name.endswith("weight")]
    assert any(not torch.equal(begun[name], ended[f"hash_{name}"]) for name in adapters)
    with torch.inference_mode():
        descriptors, codes = load_checkpoint(RunDirectory(tmp_path / "rerank").last).describe(torch.rand(2, 3, 70, 70))
    assert descriptors.shape == (2, 2048) and codes.shape == (2, 512)


def test_codes_alone(call: Any) -> None:
    codes = call("selavprpp_base_hashing", "hashing", "model.weights=null", "schedule.epochs=1")
    model = load_checkpoint(Path(codes["weights"]))
    assert codes["best"].keys() == {"binary_recall@1", "binary_recall@5"}
    assert model.has_codes and model.descriptor_dim == 512
