"""Several processes, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.resume_state import read_state
from dsformer_core.training.start import start
from dsformer_core.training.trainer import Trainer

# Not augmented, and with frozen normalisation: so all that is left to differ is who computes what.
OVERRIDES = [
    "data.size=[32, 32]",
    "model.name=dsformer_tiny",
    "model.freeze=[]",
    "schedule.epochs=1",
    "schedule.iterations_per_epoch=3",
]
PAIRS = ["loss.kind=multi_similarity", "data.pictures_per_place=2", "schedule.batch_size=8", "schedule.overfit=8"]
TRAININGS = {
    "classes": ["model.whitening_pictures=2", "schedule.overfit=4"],
    "pairs": ["model.weights=rendered-towns", *PAIRS],
    "codes": [
        "model.weights=rendered-towns",
        "model.options.variant=rerank",
        *PAIRS,
        "loss.of=codes",
        "schedule.accumulate=2",
    ],
}

PROCESS = f"""
import os, sys, torch
from pathlib import Path
from dsformer_core.training import start as starting
from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.start import start
torch.set_num_threads(1)
if os.environ["RANK"] != "0":
    starting.learn_projection = None  # the first process looks at the pictures for all
recipe, places, output = map(Path, sys.argv[1:])
for name, overrides in {TRAININGS}.items():
    trainer = start(load_recipe(recipe, {OVERRIDES} + overrides), places, output / name, device="cpu")
    trainer.fit()
    torch.save([trainer.model.state_dict(), trainer.objectives[0][1].state_dict(), trainer.optimizer.state_dict()],
               output / f"{{name}}/rank{{trainer.fabric.global_rank}}.pt")
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory, small_recipe: str, places: Path) -> Path:
    """The folder of the runs of all `TRAININGS`, by the same two processes one after the other."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "process.py").write_text(PROCESS)
    (folder / "recipe.yaml").write_text(small_recipe)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [folder / "process.py", folder / "recipe.yaml", places, folder]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_end_in_one_state_which_is_that_of_one_process(
    two_processes: Path, places: Path, name: str
) -> None:
    run = two_processes / name
    ranks: list[Any] = [torch.load(run / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    models, objectives, optimizers = zip(*ranks, strict=True)
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    assert all(torch.equal(objectives[0][key], objectives[1][key]) for key in objectives[0])
    for index, state in optimizers[0]["state"].items():
        assert torch.equal(state["exp_avg"], optimizers[1]["state"][index]["exp_avg"])

    def trainer() -> Trainer:
        recipe = load_recipe(two_processes / "recipe.yaml", [*OVERRIDES, *TRAININGS[name]])
        return start(recipe, places, None, device="cpu")

    before, alone = trainer(), trainer()
    alone.fit()
    pairs = [(alone.model.state_dict()[key], tensor) for key, tensor in models[0].items()]
    moved = sum(
        float((tensor - before.model.state_dict()[key]).abs().sum()) for key, tensor in alone.model.state_dict().items()
    )
    assert moved > 0
    assert sum(float((one - two).abs().sum()) for one, two in pairs) < 0.01 * moved
    for key, tensor in alone.objectives[0][1].state_dict().items():
        assert torch.allclose(tensor, objectives[0][key], atol=1e-3)
    assert read_state(run / "resume.pt")["iteration"] == 3
