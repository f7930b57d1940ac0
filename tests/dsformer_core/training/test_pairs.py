"""The loop where the loss is one of pairs, of descriptors and of codes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import mobilenet_v2

from dsformer_core.errors import UsageError
from dsformer_core.models import create_model, save_checkpoint
from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.resume_state import read_state
from dsformer_core.training.start import start
from dsformer_core.training.trainer import Trainer
from tests.dsformer_core.training.places import write_blur, write_places
from tests.dsformer_core.training.test_resume import close, same_tensors, train

PAIRS = ("loss.kind=multi_similarity", "data.pictures_per_place=2", "data.size=[48, 48]")
SHORT = ("schedule.epochs=1", "schedule.iterations_per_epoch=2")
# Its normalisations are frozen: what a picture gives does not depend on those beside it.
TINY = ("model.name=dsformer_tiny", "model.freeze=[]", "model.weights=rendered-towns")

Begin = Callable[..., Trainer]


@pytest.fixture
def begin(recipe_file: Path, places: Path, tmp_path: Path) -> Begin:
    def make(*overrides: str, data: Path = places, output: str | None = None, **options: Any) -> Trainer:
        recipe = load_recipe(recipe_file, [*PAIRS, *overrides])
        return start(recipe, data, tmp_path / output if output else None, device="cpu", **options)

    return make


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of gem_mobilenet_v2, which has no hash branch and whose normalisations are not frozen by itself."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("floats") / "floats.safetensors"
    save_checkpoint(create_model("gem_mobilenet_v2"), path)
    return path


def of_codes(weights: Path | str) -> tuple[str, ...]:
    return ("loss.of=codes", "model.options.variant=rerank", f"model.weights={weights}")


def tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def distance(one: dict[Any, Tensor], other: dict[Any, Tensor]) -> float:
    return sum(float((tensor - other[key]).abs().sum()) for key, tensor in one.items())


def interrupt_at(iteration: int) -> Callable[[int, int], None]:
    return lambda done, total: os.kill(os.getpid(), signal.SIGINT) if done == iteration else None


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def falls_to_nearly_nothing(trainer: Trainer) -> bool:
    losses: list[float] = []
    trainer.fit(lambda done, total: losses.append(trainer.last_loss))
    return losses[1] > 1 and sum(losses[-5:]) / 5 < 0.3 * losses[1]


OVERFIT = ("schedule.overfit=8", "schedule.batch_size=8", "schedule.epochs=1", "schedule.iterations_per_epoch=12")


def test_the_loss_falls_to_nearly_nothing_on_a_few_pictures(begin: Begin) -> None:
    assert falls_to_nearly_nothing(begin(*OVERFIT, "data.size=[32, 32]"))


def test_so_does_that_of_codes_of_a_branch_that_begins_anywhere(begin: Begin) -> None:
    trainer = begin(*OVERFIT, *TINY, *of_codes("rendered-towns"), "optimizer.learning_rate=3e-4")
    torch.manual_seed(0)
    assert trainer.model.hash_branch is not None
    for layer in trainer.model.hash_branch.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    assert falls_to_nearly_nothing(trainer)


@pytest.mark.parametrize("codes", [False, True])
def test_parts_make_the_step_of_the_whole_batch(begin: Begin, codes: bool) -> None:
    """Augmentation included; also as large a step, which Adam's weights do not show."""
    options = (*TINY, *SHORT, "schedule.batch_size=8", *(of_codes("rendered-towns") if codes else ()))
    ends = []
    for accumulate in (1, 4):
        trainer = begin(*options, f"schedule.accumulate={accumulate}")
        before = tensors_of(trainer)
        trainer.fit()
        moments = {key: state["exp_avg"] for key, state in trainer.optimizer.state_dict()["state"].items()}
        ends.append((tensors_of(trainer), moments))
    (whole, whole_moments), (parts, parts_moments) = ends
    assert distance(whole, parts) < 0.01 * distance(whole, before)
    nothing = {key: torch.zeros_like(moment) for key, moment in whole_moments.items()}
    assert distance(whole_moments, parts_moments) < 0.01 * distance(whole_moments, nothing)


def test_parts_are_computed_twice_with_the_same_random_numbers_and_followed_once(begin: Begin) -> None:
    """Each part's second pass gives what the first gave, dropout included; running statistics see the first alone."""
    trainer = begin(*SHORT, "schedule.accumulate=2", "model.freeze=[features.0]")
    dropped = torch.nn.Dropout(0.5)
    outputs: list[Tensor] = []

    def drop(module: Any, inputs: Any, output: Tensor) -> Tensor:
        outputs.append(dropped(output))
        return outputs[-1]

    trainer.model.features[17].register_forward_hook(drop)
    norm = trainer.model.features[18][1]
    batches: list[Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: batches.append(inputs[0].detach()))
    trainer.fit()
    assert len(outputs) == 2 * 2 * 2 * 2, "iterations, views, parts, passes"
    for first in range(0, len(outputs), 4):
        pair, again = outputs[first : first + 2], outputs[first + 2 : first + 4]
        assert {tuple(p.flatten().tolist()) for p in pair} == {tuple(p.flatten().tolist()) for p in again}
    mean = torch.zeros(norm.num_features)
    for first in range(0, len(batches), 4):
        for part in batches[first : first + 2]:
            mean = 0.9 * mean + 0.1 * part.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-3, atol=1e-5)
    assert norm.num_batches_tracked == 8


def test_a_training_of_codes_trains_all_of_the_hash_branch(begin: Begin) -> None:
    trainer = begin(*TINY, *of_codes("rendered-towns"), *SHORT)
    before = tensors_of(trainer)
    trainer.fit()
    assert changed(before, tensors_of(trainer)) == {name for name in before if name.startswith("hash_branch.")}


def test_a_training_of_codes_leaves_descriptors_alone(begin: Begin, floats: Path) -> None:
    """Bit for bit, statistics of normalisations included."""
    trainer = begin("model.freeze=[]", *of_codes(floats), *SHORT)
    before = tensors_of(trainer)
    trainer.fit()
    assert "hash_branch.fc.weight" in changed(before, tensors_of(trainer))
    assert all(torch.equal(tensor, tensors_of(trainer)[name]) for name, tensor in load_file(floats).items())


@pytest.mark.parametrize("codes", [False, True])
def test_interrupted_and_resumed_ends_like_undisturbed(
    recipe_file: Path, places: Path, tmp_path: Path, floats: Path, codes: bool
) -> None:
    """Bit for bit, in an epoch's middle and in a round's, with parts and random operations."""
    overrides = [
        *PAIRS, "schedule.iterations_per_epoch=2", "schedule.accumulate=2", "augmentation.rand_augment=3",
        "optimizer.schedule=step", "optimizer.step_epochs=1", *(of_codes(floats) if codes else ()),
    ]  # fmt: skip
    train(recipe_file, places, tmp_path / "undisturbed", *overrides)
    trainer = start(load_recipe(recipe_file, overrides), places, tmp_path / "run", device="cpu")
    assert not trainer.fit(interrupt_at(3))
    close(trainer)
    assert read_state(tmp_path / "run/resume.pt")["iteration"] == 3
    train(recipe_file, places, tmp_path / "run", *overrides, resume=True)
    states = [read_state(tmp_path / run / "resume.pt") for run in ("run", "undisturbed")]
    assert same_tensors(*states)


def test_training_pictures_may_be_smaller_than_those_it_is_used_with(begin: Begin, tmp_path: Path) -> None:
    trainer = begin(*SHORT, "data.size=[64, 64]", "data.train_size=[32, 48]", output="run")
    sizes = []
    trainer.model.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(inputs[0].shape[-2:])))
    trainer.fit()
    assert set(sizes) == {(32, 48)}
    assert create_model("gem_mobilenet_v2", tmp_path / "run/last.safetensors").preprocessing.size == (64, 64)


def test_what_does_not_fit_is_said_before_training(begin: Begin, floats: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no hash branch: --set model.options.variant=rerank adds one"):
        begin("loss.of=codes")
    with pytest.raises(UsageError, match=r"has a hash branch, which loss.of: codes alone trains"):
        begin(f"model.weights={floats}", "model.options.variant=rerank")
    with pytest.raises(UsageError, match="codes are trained beside the descriptors of a gem_mobilenet_v2 that was"):
        begin("loss.of=codes", "model.options.variant=rerank")
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "backbone.pth")
    with pytest.raises(UsageError, match=r"a dsformer_tiny that was trained, and .*backbone.pth is a backbone alone"):
        begin(*TINY, *of_codes(tmp_path / "backbone.pth"))
    with pytest.raises(
        UsageError, match=r"7 places with 2 pictures each make a batch, but group 0, angle 0 of .* has 6"
    ):
        begin("schedule.batch_size=14")
    few = write_places(tmp_path / "few", classes=2)
    with pytest.raises(UsageError, match=r"2 places with 5 pictures .* has 0 such places of 2"):
        begin("schedule.batch_size=10", "data.pictures_per_place=5", data=few)


class Validations:
    """Numbers that a validation gives, one after the other."""

    def __init__(self, *recalls: float) -> None:
        self.recalls = iter(recalls)

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        return {"recall@1": next(self.recalls), "recall@5": 0.5}


def test_it_ends_when_validations_do_not_get_better_also_after_a_resume(begin: Begin, tmp_path: Path) -> None:
    options = (
        "schedule.epochs=7", "schedule.iterations_per_epoch=1", "validation.patience=3",
        "validation.measure=[recall@1, recall@5]",
    )  # fmt: skip
    lines: list[str] = []
    trainer = begin(*options, output="run", report=lines.append)
    trainer.validate = Validations(0.3, 0.4, 0.2, 0.4)
    assert not trainer.fit(interrupt_at(4))
    close(trainer)
    resumed = begin(*options, output="run", report=lines.append, resume=True)
    resumed.validate = Validations(0.4, 0.1, 0.9)
    assert resumed.fit() and resumed.iteration == 5
    assert resumed.best.recalls == {"recall@1": 0.4, "recall@5": 0.5}
    assert "ended: 3 validations in a row were no better than recall@1 40.0%, recall@5 50.0%" in lines
    close(resumed)
    again = begin(*options, output="run", resume=True)
    assert again.fit() and again.iteration == 5
    close(again)
    patient = begin(*options, "validation.patience=4", output="run", resume=True)
    patient.validate = Validations(0.5, 0.5)
    assert patient.fit() and patient.iteration == 7 and patient.best.recalls["recall@1"] == 0.5
    close(patient)


def test_a_measure_that_no_validation_gives_is_said_before_training(begin: Begin, tmp_path: Path) -> None:
    for place in range(6):
        name = f"@{380_000 + 100 * place:010.2f}@{6_170_000:010.2f}@33@U@@@@@@@@@@.jpg"
        write_blur(tmp_path / "set/database" / name, place, 0)
        write_blur(tmp_path / "set/queries" / name, place, 1)
    with pytest.raises(UsageError, match=r"validation.measure: recall@10 of .*set, which has 6 references") as caught:
        begin("validation.measure=[recall@5, recall@10]", validate=tmp_path / "set")
    assert "\n" not in str(caught.value)
    codes = (*of_codes("rendered-towns"), "validation.measure=[binary_recall@20]")
    with pytest.raises(UsageError, match=r"6 references: --set validation.measure=\[binary_recall@1\]"):
        begin(*TINY, *codes, validate=tmp_path / "set")
    with pytest.raises(UsageError, match="reranked_recall@1 is of codes, but this gem_mobilenet_v2 has no hash branch"):
        begin("validation.measure=[recall@1, reranked_recall@1]")


def test_another_measure_may_decide_from_a_resume_on(begin: Begin) -> None:
    """What was best by the first one is not compared with."""
    short = ("schedule.epochs=2", "schedule.iterations_per_epoch=1", "validation.patience=1")
    trainer = begin(*short, output="run")
    trainer.validate = Validations(0.9)
    assert not trainer.fit(interrupt_at(1))
    close(trainer)
    resumed = begin(*short, "validation.measure=[recall@5]", output="run", resume=True)
    resumed.validate = Validations(0.1, 0.1)
    assert resumed.fit() and resumed.iteration == 2
    assert resumed.best.recalls == {"recall@5": 0.5}
    close(resumed)
