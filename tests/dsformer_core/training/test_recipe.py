import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from dsformer_core.cli.main import main
from dsformer_core.clustering.partition import METHODS, Partition
from dsformer_core.errors import UsageError
from dsformer_core.models.registry import model_entry
from dsformer_core.models.weights import named_weights
from dsformer_core.training.data import TrainingData
from dsformer_core.training.recipe import Recipe, differences, load_recipe
from dsformer_core.training.start import check_partition

RECIPES = sorted((Path(__file__).resolve().parents[3] / "training/recipes").glob("*.yaml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {name: gem_mobilenet_v2}\noptimizer: {learning_rate: 1e-4}\n")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_of_a_model_that_can_be_made(path: Path) -> None:
    recipe = load_recipe(path)
    with torch.device("meta"):
        model_entry(recipe.model.name).build(**recipe.model.options)
    if not path.stem.endswith("_rerank"):
        assert recipe.model.weights is not None
        named_weights(recipe.model.name, recipe.model.weights)


def test_there_is_a_recipe_for_every_row() -> None:
    names = {path.stem for path in RECIPES}
    assert len([name for name in names if name.startswith("table4")]) == 9
    assert len([name for name in names if name.startswith("table5")]) == 6
    assert names >= {
        "dsformer_resnet50",
        "dsformer_dinov2_vitb14",
        "dsformer_tiny",
        "gem_resnet50_block_clustering",
        "gem_dinov2_vitb14_block_clustering",
        "hash_dsformer_resnet50",
        "hash_dsformer_tiny",
    }
    sizes, procedures = ("base", "large"), ("", "_rerank", "_hashing")
    assert names >= {f"selavprpp_{size}{procedure}" for size in sizes for procedure in procedures}


def test_the_paper_s_recipe_says_what_the_paper_says() -> None:
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "dsformer_resnet50"))
    assert (recipe.schedule.epochs, recipe.schedule.iterations_per_epoch, recipe.schedule.batch_size) == (
        40,
        10_000,
        32,
    )
    assert (recipe.optimizer.learning_rate, recipe.optimizer.classifier_learning_rate) == (1e-5, 0.01)
    assert recipe.model.options == {"layers": 3}
    assert recipe.data.partition["focal_distance"] == 15


OF_THE_PAPER = [path for path in RECIPES if path.stem.startswith(("dsformer_resnet", "dsformer_dino", "gem", "table"))]


@pytest.mark.parametrize("path", OF_THE_PAPER, ids=lambda path: path.stem)
def test_the_paper_s_recipes_want_every_setting_of_their_partition(path: Path) -> None:
    wanted = dict(load_recipe(path).data.partition)
    assert wanted.pop("kind") == "panoramas"
    method = wanted.pop("method")
    assert method == ("grid" if path.stem == "table4_remove_bc" else "blocks")
    distance = float(path.stem[-3:-1]) if path.stem.startswith("table5") else METHODS[method]().focal_distance
    assert METHODS[method].from_dict(wanted).to_dict() == wanted == METHODS[method](focal_distance=distance).to_dict()


@pytest.mark.parametrize("name", ["dsformer_tiny", "hash_dsformer_tiny"])
def test_the_tiny_recipes_take_the_partition_that_their_headers_build(tmp_path: Path, name: str) -> None:
    """And name every setting of it, as the paper's do."""
    (path,) = (path for path in RECIPES if path.stem == name)
    text = path.read_text().replace("\\\n#", "")
    (command,) = re.findall(r"dsformer (cluster build .*)", text)
    (tmp_path / "survey").mkdir()
    for number in range(240):
        north, heading = 6_170_000 + number // 8 * 4, 180 * (number % 2)
        name = f"@{380_000 + number % 8 / 2:.2f}@{north:.2f}@33@U@@@{number}@@{heading}@@@@@@.jpg"
        (tmp_path / "survey" / name).touch()
    assert main([word.replace("survey", str(tmp_path / "survey"), 1) for word in shlex.split(command)]) == 0
    partition = Partition.open(tmp_path / "survey.partition")
    recipe = load_recipe(path)
    assert recipe.data.partition == {"kind": "pictures", "method": "blocks", **partition.config.to_dict()}
    check_partition(recipe, TrainingData(partition.directory, [], partition.description))


@pytest.mark.parametrize("size", ["base", "large"])
def test_selavprpp_s_recipes_say_what_its_specification_says(size: str) -> None:
    for procedure, of, variant in (
        ("", "descriptors", None),
        ("_rerank", "codes", "rerank"),
        ("_hashing", "codes", "hashing"),
    ):
        recipe = load_recipe(next(path for path in RECIPES if path.stem == f"selavprpp_{size}{procedure}"))
        assert recipe.model.name == f"selavprpp_{size}" and recipe.model.options.get("variant") == variant
        loss = {"kind": "multi_similarity", "of": of, "alpha": 1, "beta": 50, "base": 0, "miner_epsilon": 0.1}
        assert recipe.loss.model_dump() == loss | ({"constraint_weight": 0.1} if of == "codes" else {})
        assert (recipe.schedule.batch_size, recipe.data.pictures_per_place, recipe.schedule.epochs) == (480, 4, 25)
        assert recipe.data.train_size == (224, 224) and recipe.augmentation.rand_augment == 3
        optimizer = recipe.optimizer
        assert (optimizer.learning_rate, optimizer.schedule) == (4e-4, "step")
        assert (optimizer.step_epochs, optimizer.step_factor) == (3, 0.5)
        prefix = "binary_" if of == "codes" else ""
        assert recipe.measure == (f"{prefix}recall@1", f"{prefix}recall@5") and recipe.validation.patience == 12


def test_overrides_win_over_the_file_and_the_file_over_its_base(tmp_path: Path, file: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("base: recipe.yaml\nschedule: {epochs: 3, batch_size: 8}\n")
    recipe = load_recipe(child, ["schedule.epochs=5", "model.options.layers=2", "data.size=[64, 96]"])
    assert recipe.optimizer.learning_rate == 1e-4
    assert (recipe.schedule.epochs, recipe.schedule.batch_size) == (5, 8)
    assert recipe.model.options == {"layers": 2}
    assert recipe.data.size == (64, 96)


def test_null_takes_a_key_of_the_base_away(tmp_path: Path, file: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("base: recipe.yaml\ndata: {partition: {method: grid, radius: 7.5}}\n")
    assert load_recipe(child, ["data.partition.radius=null"]).data.partition == {"method": "grid"}
    assert load_recipe(child, ["data.partition=null"]).data.partition == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learnig_rate=1", "there is no optimizer.learnig_rate; the nearest is optimizer.learning_rate"),
        ("optimizer.rate=1", "there is no optimizer.rate; the nearest is optimizer.learning_rate"),
        ("optimizer.lr=1", "there is no optimizer.lr; the nearest is optimizer.learning_rate"),
        ("lr=1", "there is no lr; the nearest is optimizer.learning_rate"),
        ("loss.temperature=1", "there is no loss.temperature; loss has kind, of, scale, margin"),
        ("temperature=1", "there is no temperature; a recipe has model, data, loss, optimizer, schedule"),
        ("batch_size=8", "there is no batch_size; the nearest is schedule.batch_size"),
        ("shedule.epochs=8", "there is no shedule; the nearest is schedule"),
        ("schedule.epochs=many", "schedule.epochs: .* not 'many'"),
        ("schedule.epochs=0", "schedule.epochs: .* not 0"),
        ("loss.scale=-1", "loss.scale: .* not -1"),
        ("loss.alpha=1", "loss.alpha is a number of multi_similarity; the loss is large_margin_cosine"),
        ("loss.kind=triplet", "loss: losses are large_margin_cosine of descriptors, multi_similarity of desc"),
        (
            "loss.of=codes",
            "loss: losses are large_margin_cosine of descriptors, multi_similarity of",
        ),
        ("loss.kind=multi_similarity", "a batch of 32 has one of each: set data.pictures_per_place to 2 or more"),
        ("data.pictures_per_place=5", "schedule.batch_size: 32 is no multiple of the 5 data.pictures_per_place"),
        ("validation.measure=[recall@7]", "validation.measure.0: .* not 'recall@7'"),
        ("augmentation.crop_scale=[1.0, 0.5]", r"augmentation.crop_scale: 1.0 is more than 0.5"),
        ("model.name=null", "model.name"),
        ("model=gem", "model"),
        ("schedule.epochs", "expected section.key=value"),
        ("schedule.epochs=[1", "not YAML"),
    ],
)
def test_a_bad_key_or_value_is_one_line_that_names_it(file: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe(file, [override])
    assert "\n" not in str(caught.value)


PAIRS = ("loss.kind=multi_similarity", "data.pictures_per_place=4")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.scale=30"], "loss.scale is a number of large_margin_cosine; the loss is multi_similarity"),
        (
            ["loss.constraint_weight=1"],
            "loss.constraint_weight is a number of multi_similarity of codes; the loss is mul",
        ),
        (
            ["loss.of=codes", "loss.margin=0"],
            "loss.margin is a number of large_margin_cosine; the loss is",
        ),
        (["loss.of=codes", "loss.weight=1"], "there is no loss.weight; the nearest is loss.constraint_weight"),
        (["schedule.batch_size=4"], "a batch of 4 has 4 of each"),
        (["loss.of=codes", "model.whitening_pictures=2"], "model.whitening_pictures: would change descriptors"),
    ],
)
def test_what_does_not_go_with_the_loss_is_refused(file: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe(file, [*PAIRS, *overrides])
    assert "\n" not in str(caught.value)


def test_a_recipe_may_take_another_loss_than_its_base(tmp_path: Path, file: Path) -> None:
    (tmp_path / "base.yaml").write_text("base: recipe.yaml\nloss: {scale: 30, margin: 0.2}\n")
    child = tmp_path / "child.yaml"
    child.write_text("base: base.yaml\nloss: {kind: multi_similarity, scale: null, margin: null, beta: 40}\n")
    loss = load_recipe(child, ["data.pictures_per_place=4"]).loss
    assert loss.model_dump() == {
        "kind": "multi_similarity", "of": "descriptors", "alpha": 1, "beta": 40, "base": 0, "miner_epsilon": 0.1,
    }  # fmt: skip
    assert load_recipe(child, ["loss=null"]).loss == load_recipe(file).loss


def test_the_best_model_is_best_in_what_is_trained(file: Path) -> None:
    assert load_recipe(file).measure == ("recall@1",)
    assert load_recipe(file, [*PAIRS, "loss.of=codes"]).measure == ("binary_recall@1",)
    both = "validation.measure=[recall@1, reranked_recall@5]"
    assert load_recipe(file, [*PAIRS, "loss.of=codes", both]).measure == ("recall@1", "reranked_recall@5")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing.yaml: no such recipe: .* training/recipes/ of the repository"):
        load_recipe(tmp_path / "missing.yaml")
    for content in ("[1, 2]", "model: {", "\x00"):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(UsageError, match=r"bad.yaml: not"):
            load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("base: bad.yaml")
    with pytest.raises(UsageError, match="extends itself"):
        load_recipe(tmp_path / "bad.yaml")


def test_a_recipe_written_out_reads_back_equal(tmp_path: Path) -> None:
    for path in RECIPES:
        recipe = load_recipe(path)
        (tmp_path / "written.yaml").write_text(recipe.to_yaml())
        assert load_recipe(tmp_path / "written.yaml") == recipe


def test_what_decides_the_weights_may_not_change_between_runs(file: Path) -> None:
    before = load_recipe(file)

    def changed(*overrides: str) -> list[str]:
        return list(differences(before, load_recipe(file, overrides)))

    assert changed("schedule.batch_size=8", "model.options.layers=2") == ["model.options.layers", "schedule.batch_size"]
    assert changed("data.workers=1", "schedule.log_every=7", "schedule.epochs=50", "validation.patience=3") == []
    assert changed("validation.measure=[recall@5]") == []
    assert changed(*PAIRS) == [
        "data.pictures_per_place", "loss.alpha", "loss.base", "loss.beta", "loss.kind", "loss.margin",
        "loss.miner_epsilon", "loss.scale",
    ]  # fmt: skip
    cosine = Recipe.model_validate(
        yaml.safe_load(before.to_yaml()) | {"optimizer": {"learning_rate": 1e-4, "schedule": "cosine"}}
    )
    longer = cosine.model_copy(update={"schedule": cosine.schedule.model_copy(update={"epochs": 50})})
    assert differences(cosine, longer) == {"schedule.epochs": 40}
