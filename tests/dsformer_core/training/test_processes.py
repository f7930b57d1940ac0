"""Several processes, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.resume_state import read_state
from dsformer_core.training.start import start
from dsformer_core.training.trainer import Trainer

# Not augmented, and with frozen normalisation: so all that is left to differ is who computes what.
OVERRIDES = [
    "model.name=dsformer_tiny",
    "model.freeze=[]",
    "model.whitening_pictures=2",
    "schedule.overfit=4",
    "schedule.epochs=1",
    "schedule.iterations_per_epoch=3",
]

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
trainer = start(load_recipe(recipe, {OVERRIDES}), places, output, device="cpu")
trainer.fit()
rank = trainer.fabric.global_rank
torch.save([trainer.model.state_dict(), trainer.objectives[0][1].state_dict(), trainer.optimizer.state_dict()],
           output / f"rank{{rank}}.pt")
"""


def test_two_processes_end_in_one_state_which_is_that_of_one_process(
    recipe_file: Path, places: Path, tmp_path: Path
) -> None:
    (tmp_path / "process.py").write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [tmp_path / "process.py", recipe_file, places, tmp_path / "two"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr

    ranks = [torch.load(tmp_path / f"two/rank{rank}.pt", weights_only=True) for rank in range(2)]
    models, classifiers, optimizers = zip(*ranks, strict=True)
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert torch.equal(classifiers[0]["loss.W"], classifiers[1]["loss.W"])
    for index, state in optimizers[0]["state"].items():
        assert torch.equal(state["exp_avg"], optimizers[1]["state"][index]["exp_avg"])

    def trainer() -> Trainer:
        return start(load_recipe(recipe_file, OVERRIDES), places, None, device="cpu")

    before, alone = trainer(), trainer()
    alone.fit()
    pairs = [(alone.model.state_dict()[name], tensor) for name, tensor in models[0].items()]
    moved = sum(
        float((tensor - before.model.state_dict()[name]).abs().sum())
        for name, tensor in alone.model.state_dict().items()
    )
    assert moved > 0
    assert sum(float((one - two).abs().sum()) for one, two in pairs) < 0.01 * moved
    assert torch.allclose(alone.objectives[0][1].weight, classifiers[0]["loss.W"], atol=1e-3)
    assert read_state(tmp_path / "two/resume.pt")["iteration"] == 3
