"""The loop, on places that a slow core trains on in seconds."""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import mobilenet_v2

from dsformer_core.clustering.partition import Partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.models import create_model
from dsformer_core.training.data import TrainingData
from dsformer_core.training.learning_rates import learning_rate_factor
from dsformer_core.training.recipe import ModelRecipe, OptimizerRecipe, Recipe, ScheduleRecipe, load_recipe
from dsformer_core.training.start import check_partition, start
from dsformer_core.training.trainer import Trainer
from tests.dsformer_core.training.places import write_blur, write_places

Begin = Callable[..., Trainer]


@pytest.fixture
def begin(recipe_file: Path, places: Path, tmp_path: Path) -> Begin:
    """Makes a trainer of the small recipe with some keys changed."""

    def make(*overrides: str, data: Path = places, output: str | None = None, **options: Any) -> Trainer:
        recipe = load_recipe(recipe_file, overrides)
        return start(recipe, data, tmp_path / output if output else None, device="cpu", **options)

    return make


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))


def tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_the_loss_falls_to_nearly_nothing_on_a_few_pictures(begin: Begin) -> None:
    trainer = begin(
        "schedule.overfit=4", "schedule.epochs=1", "schedule.iterations_per_epoch=25", "model.freeze=[features.0]"
    )
    losses: list[float] = []
    trainer.fit(lambda done, total: losses.append(trainer.last_loss))
    assert losses[1] > 60 and losses[-1] < 0.1 * losses[1]


def test_frozen_parts_stay_as_they_are_and_the_rest_is_trained(begin: Begin) -> None:
    trainer = begin("schedule.epochs=1")
    before = tensors_of(trainer)
    trainer.fit()
    after = tensors_of(trainer)
    frozen = (*(f"features.{i}." for i in range(15)), "projection")
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(frozen), name


def test_models_that_know_their_early_stages_keep_them(begin: Begin) -> None:
    trainer = begin(
        "model.name=dsformer_tiny", "model.freeze=[]", "schedule.epochs=1", "schedule.iterations_per_epoch=1"
    )
    before = tensors_of(trainer)
    trainer.fit()
    unchanged = {name for name, tensor in tensors_of(trainer).items() if torch.equal(tensor, before[name])}
    assert all(name in unchanged for name in before if name.startswith(tuple(f"features.{i}." for i in range(7))))
    assert all(name in unchanged for name in before if "running_" in name)
    assert "features.18.0.weight" not in unchanged


def test_each_epoch_trains_the_classifiers_of_its_group(begin: Begin) -> None:
    trainer = begin("schedule.epochs=3", "schedule.iterations_per_epoch=1", output="run")
    before = [[classifier.weight.detach().clone() for classifier in group] for group in trainer.objectives]

    def trained() -> list[list[bool]]:
        pairs = zip(before, trainer.objectives, strict=True)
        return [[not torch.equal(b, c.weight) for b, c in zip(*pair, strict=True)] for pair in pairs]

    seen: list[list[list[bool]]] = []
    trainer.fit(lambda done, total: seen.append(trained()))
    assert seen[0] == [[True, True], [False, False]]
    assert seen[1] == [[True, True], [True, True]]
    assert [row["group"] for row in log_of(trainer.run.path)] == ["0", "1", "0"]  # type: ignore[union-attr]


def test_a_group_may_lack_a_view(begin: Begin, tmp_path: Path) -> None:
    """As groups of ordinary pictures do, when nobody looked across the street."""
    partition = write_places(tmp_path / "places", lateral_in_last_group=False)
    trainer = begin("schedule.epochs=2", "schedule.iterations_per_epoch=1", data=partition, output="run")
    assert [len(group) for group in trainer.data.groups] == [2, 1]
    assert trainer.fit()
    first, last = log_of(tmp_path / "run")
    assert float(first["loss"]) == pytest.approx(float(first["loss_of_view_0"]) + float(first["loss_of_view_1"]))
    assert last["loss"] == last["loss_of_view_0"] and last["loss_of_view_1"] == ""
    assert float(last["gradient_norm"]) > 0


def test_accumulated_parts_make_the_step_of_the_whole_batch(begin: Begin) -> None:
    """In a network whose normalisation is frozen; augmentation included."""
    options = ("model.name=dsformer_tiny", "model.freeze=[]", "schedule.epochs=1", "schedule.iterations_per_epoch=2")
    results = []
    for accumulate in (1, 4):
        trainer = begin(*options, f"schedule.accumulate={accumulate}")
        trainer.fit()
        results.append({**tensors_of(trainer), "classifier": trainer.objectives[0][1].weight.detach()})
    whole, parts = results
    start_of = tensors_of(begin(*options))
    moved = sum(float((whole[name] - start_of[name]).abs().sum()) for name in start_of)
    apart = sum(float((whole[name] - parts[name]).abs().sum()) for name in start_of)
    assert moved > 0 and apart < 0.01 * moved
    assert torch.allclose(whole["classifier"], parts["classifier"], atol=1e-3)


def poison(trainer: Trainer, iterations: set[int]) -> None:
    """Makes the network's output infinite in some iterations."""

    def hook(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return output * math.inf if trainer.iteration in iterations else output

    trainer.model.register_forward_hook(hook)


def test_an_iteration_without_finite_gradients_is_skipped_and_counted(begin: Begin) -> None:
    trainer = begin("schedule.epochs=1", "schedule.iterations_per_epoch=3", output="run")
    poison(trainer, {1})
    states: list[dict[str, Tensor]] = []
    trainer.fit(lambda done, total: states.append(tensors_of(trainer)))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[1]["pool.p"], states[2]["pool.p"])
    assert all(torch.isfinite(tensor).all() for tensor in states[2].values())
    assert trainer.skipped == 1
    assert [row["skipped_iterations"] for row in log_of(trainer.run.path)] == ["0", "1", "1"]  # type: ignore[union-attr]


def test_many_in_a_row_end_the_training(begin: Begin) -> None:
    trainer = begin("schedule.max_skipped=2")
    poison(trainer, {1, 2, 3})
    with pytest.raises(DsformerError, match="2 iterations in a row had no finite loss"):
        trainer.fit()


def test_half_precision_scales_its_gradients_until_they_are_finite(begin: Begin) -> None:
    trainer = begin("schedule.precision=float16", "schedule.iterations_per_epoch=1", "schedule.epochs=1")
    scale = trainer.scaler.get_scale()
    poison(trainer, {0})
    trainer.fit()
    assert trainer.skipped == 1
    assert trainer.scaler.get_scale() == scale / 2
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def test_a_corrupt_picture_in_the_middle_is_counted_and_replaced(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    partition = write_places(tmp_path / "places")
    for path in sorted((tmp_path / "places/pictures").glob("*/0.jpg")):
        path.write_bytes(path.read_bytes()[:200])
    trainer = begin(data=partition, output="run")
    assert trainer.fit()
    assert trainer.data.replaced > 0
    assert int(log_of(tmp_path / "run")[-1]["replaced_pictures"]) == trainer.data.replaced
    assert "0.jpg" in caplog.text


def test_a_class_without_any_readable_picture_is_one_line(begin: Begin, tmp_path: Path) -> None:
    partition = write_places(tmp_path / "places")
    for path in (tmp_path / "places/pictures").glob("*/*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DsformerError, match="none of the 4 pictures of class") as caught:
        begin("data.workers=1", data=partition).fit()
    assert "\n" not in str(caught.value)


def test_rates_warm_up_and_fall_as_the_recipe_says(begin: Begin) -> None:
    def factors(count: int, **optimizer: Any) -> list[float]:
        schedule = ScheduleRecipe(epochs=10, iterations_per_epoch=10)
        recipe = Recipe(model=ModelRecipe(name=""), optimizer=OptimizerRecipe(**optimizer), schedule=schedule)
        return [learning_rate_factor(iteration, recipe) for iteration in range(count)]

    assert factors(5, warmup_iterations=3) == [0.25, 0.5, 0.75, 1.0, 1.0]
    cosine = factors(101, schedule="cosine")
    assert cosine[0] == 1 and cosine[50] == pytest.approx(0.5) and cosine[100] == pytest.approx(0)
    assert cosine == sorted(cosine, reverse=True)
    assert factors(70, schedule="step", step_epochs=3) == [1.0] * 30 + [0.5] * 30 + [0.25] * 10

    trainer = begin("optimizer.backbone_learning_rate=1e-6", "optimizer.warmup_iterations=1", "schedule.epochs=1")
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [1e-6, 1e-3]
    rates: list[float] = []
    trainer.fit(lambda done, total: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.5e-6, 1e-6, 1e-6, 1e-6])


def test_the_run_directory_tells_all_and_its_model_is_a_model(begin: Begin, places: Path, tmp_path: Path) -> None:
    trainer = begin("schedule.epochs=1", "schedule.iterations_per_epoch=2", output="run")
    trainer.fit()
    run = tmp_path / "run"
    assert load_recipe(run / "recipe.yaml") == trainer.recipe
    assert "torch:" in (run / "run.yaml").read_text() and str(places) in (run / "run.yaml").read_text()
    assert any((run / "tensorboard").iterdir())
    model = create_model("gem_mobilenet_v2", run / "last.safetensors")
    assert model.preprocessing.size == (64, 64)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), tensors_of(trainer).values(), strict=True)
    )
    assert Extractor("gem_mobilenet_v2", run / "last.safetensors").preprocessing.size == (64, 64)
    with pytest.raises(UsageError, match="holds a training; go on with it by --resume"):
        begin(output="run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").touch()
    with pytest.raises(UsageError, match="is no training"):
        begin(output="other")


def test_the_best_model_is_that_of_the_epoch_with_the_best_recall(begin: Begin, tmp_path: Path) -> None:
    trainer = begin("schedule.epochs=3", "schedule.iterations_per_epoch=1", output="run")
    recalls: Iterator[float] = iter([0.5, 0.75, 0.75])
    trained: list[dict[str, Tensor]] = []

    def validate(model: torch.nn.Module) -> dict[str, float]:
        assert not model.training
        trained.append(tensors_of(trainer))
        return {"recall@1": next(recalls), "recall@5": 1.0}

    trainer.validate = validate
    trainer.fit()
    best = create_model("gem_mobilenet_v2", tmp_path / "run/best.safetensors").state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in trained[1].items())
    assert trainer.best.recalls == {"recall@1": 0.75}
    with (tmp_path / "run/validation.csv").open() as file:
        assert [(row["epoch"], row["recall@1"]) for row in csv.DictReader(file)] == [
            ("1", "0.5"), ("2", "0.75"), ("3", "0.75")
        ]  # fmt: skip


def test_validation_measures_recall_on_a_folder(begin: Begin, tmp_path: Path) -> None:
    for place in range(6):
        name = f"@{380_000 + 100 * place:010.2f}@{6_170_000:010.2f}@33@U@@@@@@@@@@.jpg"
        write_blur(tmp_path / "set/database" / name, place, 0)
        write_blur(tmp_path / "set/queries" / name, place, 1)
    trainer = begin(
        "schedule.epochs=1",
        "schedule.iterations_per_epoch=1",
        "model.freeze=[features]",
        output="run",
        validate=tmp_path / "set",
    )
    trainer.fit()
    assert trainer.best.recalls == {"recall@1": 1.0}
    assert (tmp_path / "run/best.safetensors").is_file()
    with pytest.raises(DsformerError, match="database"):
        begin(validate=tmp_path)


def test_projection_and_classifiers_may_be_learned_before_the_first_iteration(begin: Begin) -> None:
    short = ("schedule.epochs=1", "schedule.iterations_per_epoch=1", "loss.scale=10")
    tiny = ("model.name=dsformer_tiny", "model.freeze=[]", *short)
    fixed, learned = (begin(*tiny, f"model.whitening_pictures={count}") for count in (0, 2))
    differing = {
        name for name, tensor in tensors_of(fixed).items() if not torch.equal(tensor, tensors_of(learned)[name])
    }
    assert differing == {"projection.weight", "projection.bias"}
    assert learned.fit() and learned.skipped == 0
    assert fixed.fit() and learned.last_loss < fixed.last_loss
    with pytest.raises(UsageError, match="no projection of pooled features"):
        begin("model.whitening_pictures=2")


def test_what_does_not_fit_is_said_before_training(begin: Begin, places: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no features.99"):
        begin("model.freeze=[features.99]")
    with pytest.raises(UsageError, match="nothing is left to train"):
        begin("model.freeze=[features, pool]")
    with pytest.raises(UsageError, match="batch_size: 4 pictures cannot be shared out"):
        begin("schedule.accumulate=3")
    with pytest.raises(UsageError, match=r"focal_distance is 15.0 instead of 5; .* data.partition=null"):
        begin("data.partition={method: blocks, focal_distance: 5}")
    with pytest.raises(UsageError, match="kind is pictures instead of panoramas, direction is headings instead of"):
        begin("data.partition={kind: panoramas, method: blocks, direction: singular_vectors}")
    begin("data.partition={kind: pictures, method: blocks, focal_distance: 15}")
    with pytest.raises(DsformerError, match="no such"):
        begin(data=tmp_path / "missing")
    trained = begin("schedule.epochs=1", "schedule.iterations_per_epoch=1", output="run")
    trained.fit()
    with pytest.raises(UsageError, match="holds a gem_mobilenet_v2, not a dsformer_tiny"):
        begin("model.name=dsformer_tiny", f"model.weights={tmp_path / 'run/last.safetensors'}", "model.freeze=[]")


def test_gsv_cities_says_how_to_go_without_a_partition(tmp_path: Path, recipe_file: Path) -> None:
    data = TrainingData(tmp_path, [], None)
    with pytest.raises(UsageError, match=r"GSV-Cities .* --set data.partition=null") as caught:
        check_partition(load_recipe(recipe_file, ["data.partition.method=blocks"]), data)
    assert "cluster build" not in str(caught.value)
    check_partition(load_recipe(recipe_file), data)


def test_the_first_line_counts_classes_as_the_partition_does(begin: Begin, places: Path) -> None:
    lines: list[str] = []
    trainer = begin("model.name=dsformer_tiny", "model.freeze=[]", "schedule.overfit=4", report=lines.append)
    assert trainer.data.class_count == Partition.open(places).class_count
    assert lines == [
        "dsformer_tiny: 4.01 M parameters, 3.96 M of them trained; 2 groups, 24 classes, 2 views, 96 pictures, "
        "the same 4 per view in every iteration"
    ]
    of_panoramas = replace(trainer.data, partition={"kind": "panoramas"})
    assert of_panoramas.class_count == 12


def test_training_from_a_backbone_is_no_cause_for_a_warning(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "backbone.pth")
    begin("model.name=dsformer_tiny", "model.freeze=[]", f"model.weights={tmp_path / 'backbone.pth'}")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    create_model("dsformer_tiny", tmp_path / "backbone.pth")
    assert "the rest is UNTRAINED" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"data": Path("nowhere")}, "nowhere: no such directory"),
        ({"validate": Path("nowhere")}, "nowhere: no such folder"),
        ({"output": "old"}, "holds a training; go on with it by --resume"),
        ({"output": "file"}, "is a file"),
        ({"output": "new", "resume": True}, "holds no training to resume"),
    ],
)
def test_wrong_paths_are_found_before_weights_are_looked_for(
    begin: Begin, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/resume.pt").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        begin("model.weights=nothing.pth", **wrong)


def test_a_group_of_one_class_is_refused_before_anything_is_written(begin: Begin, tmp_path: Path) -> None:
    """Its loss would be 0 from the first iteration on, and the training look like a success."""
    partition = write_places(tmp_path / "places", classes=1)
    message = "only one class in group 0, angle 0 and in group 0, angle 90: .* fewer --groups"
    with pytest.raises(DsformerError, match=message):
        begin(data=partition, output="run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "file"), [("gem_resnet50", "resnet50-0676ba61.pth"), ("gem_dinov2_vitb14", "dinov2_vitb14_pretrain.pth")]
)
def test_missing_backbone_weights_say_which_file_and_where(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    monkeypatch.setenv("DSFORMER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = {"gem_resnet50": "imagenet", "gem_dinov2_vitb14": "dinov2"}[name]
    with pytest.raises(DsformerError) as caught:
        begin(f"model.name={name}", f"model.weights={weights}", "model.freeze=[]")
    message = str(caught.value)
    assert file in message and "https://" in message and str(tmp_path / "weights") in message and "\n" not in message
