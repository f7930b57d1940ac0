"""Recipes: every hyper-parameter of a training, with its default and what it does. On disk, a YAML file.

A recipe may extend another: ``base: dsformer_resnet50.yaml`` (relative to the file) is read first and the file's own
values replace single values of it. Keys that nobody knows are an error, wherever they come from. In `model.options`,
`data.partition` and `loss`, whose keys depend on another value, null takes one of the base's keys away.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from dsformer_core.errors import UsageError

BASE = "base"


def _given(values: Any) -> Any:
    """Null takes a key of the base recipe away; in place of all of them, it takes all away."""
    if isinstance(values, dict):
        return {key: value for key, value in values.items() if value is not None}
    return {} if values is None else values


Given = Annotated[dict[str, Any], BeforeValidator(_given)]
Probability = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=32)]
Measured = Annotated[str, Field(pattern=r"^(binary_|reranked_)?recall@(1|5|10|20|100)$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRecipe(_Section):
    """The network, what it starts from, and which of it is trained."""

    name: str  # one of dsformer_core.models.list_models()
    weights: str | None = None  # file, or name of released weights ("imagenet", "dinov2", ...); None: random
    options: Given = {}  # of the architecture, e.g. layers: 2, or drop_ratio: 0.1 (DropKey)
    freeze_early: bool = True  # all but the last two stages/blocks, where the model says which those are
    freeze: tuple[str, ...] = ()  # more to freeze: prefixes of parameter names, e.g. features.0
    whitening_pictures: Annotated[int, Field(ge=0)] = 0  # per class, to begin with; see learned_whitening.py


class DataRecipe(_Section):
    """What the pictures are and how they are loaded."""

    partition: Given = {}  # how the partition must have been built, e.g. focal_distance: 15; empty: any way
    size: tuple[Side, Side] | None = None  # height and width in pixels that enter the network; None: the model's own
    train_size: tuple[Side, Side] | None = None  # in training alone; validation and the checkpoint keep `size`
    pictures_per_place: Annotated[int, Field(ge=0)] = 0  # K of each place in a batch; 0: one of each class in turn
    aspect: Literal["keep", "squeeze"] = "keep"  # crops of panoramas undistorted, or as the official code makes them
    workers: Annotated[int, Field(ge=0)] = 4  # processes that load, per device and view


class LargeMarginCosineRecipe(_Section):
    """The Large Margin Cosine Loss (CosFace); the paper gives neither number, these are EigenPlaces'."""

    kind: Literal["large_margin_cosine"] = "large_margin_cosine"
    of: Literal["descriptors"] = "descriptors"
    scale: Annotated[float, Field(gt=0)] = 100.0  # s
    margin: Annotated[float, Field(ge=0, lt=2)] = 0.4  # m, a difference of cosines


class MultiSimilarityRecipe(_Section):
    """The Multi-Similarity Loss over the pairs that its miner finds hard; the numbers are SelaVPR++'s."""

    kind: Literal["multi_similarity"]
    of: Literal["descriptors"] = "descriptors"
    alpha: Annotated[float, Field(gt=0)] = 1.0  # how much harder positive pairs count more
    beta: Annotated[float, Field(gt=0)] = 50.0  # the same of negative pairs
    base: float = 0.0  # lambda, the similarity about which both turn
    miner_epsilon: Annotated[float, Field(ge=0)] = 0.1  # pairs that are easier than the hardest by more are left out


class MultiSimilarityOfCodesRecipe(MultiSimilarityRecipe):
    """The same over codes; the hash branch is trained, descriptors stay as they are."""

    of: Literal["codes"]  # type: ignore[assignment]
    constraint_weight: Annotated[float, Field(ge=0)] = 0.1  # of the similarity-constrained loss


LOSSES: dict[str, type[_Section]] = {
    "large_margin_cosine": LargeMarginCosineRecipe,
    "multi_similarity": MultiSimilarityRecipe,
    "multi_similarity of codes": MultiSimilarityOfCodesRecipe,
}


def _which_loss(values: Any) -> str:
    """The name in `LOSSES` of a loss, as values or as a section."""
    given = values if isinstance(values, dict) else dict(values) if isinstance(values, _Section) else {}
    kind = str(given.get("kind", "large_margin_cosine"))
    return f"{kind} of codes" if given.get("of") == "codes" else kind


LossRecipe = Annotated[
    Annotated[LargeMarginCosineRecipe, Tag("large_margin_cosine")]
    | Annotated[MultiSimilarityRecipe, Tag("multi_similarity")]
    | Annotated[MultiSimilarityOfCodesRecipe, Tag("multi_similarity of codes")],
    Discriminator(
        _which_loss,
        custom_error_type="kind_of_loss",
        custom_error_message="losses are large_margin_cosine of descriptors, multi_similarity of descriptors or codes",
    ),
    BeforeValidator(_given),
]


class OptimizerRecipe(_Section):
    """Adam for the model, an Adam of its own for every classifier."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    backbone_learning_rate: Annotated[float, Field(ge=0)] | None = None  # of the pre-trained part; None: the same
    classifier_learning_rate: Annotated[float, Field(gt=0)] = 0.01
    warmup_iterations: Annotated[int, Field(ge=0)] = 0  # the model's rates rise linearly from 0
    schedule: Literal["constant", "cosine", "step"] = "constant"  # cosine: the model's rates fall to 0 until the last
    # iteration; step: every `step_epochs` epochs they are multiplied by `step_factor`
    step_epochs: Annotated[int, Field(ge=1)] = 3
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.5


class ScheduleRecipe(_Section):
    """How long, how much at a time, how precisely."""

    epochs: Annotated[int, Field(ge=1)] = 40  # one group each, in rotation
    iterations_per_epoch: Annotated[int, Field(ge=1)] = 10_000
    batch_size: Annotated[int, Field(ge=1)] = 32  # per view and iteration, over all devices
    accumulate: Annotated[int, Field(ge=1)] = 1  # in how many parts each device works its share off
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # auto: float16 on CUDA, else float32
    seed: Annotated[int, Field(ge=0)] = 0
    overfit: Annotated[int, Field(ge=0)] = 0  # N > 0: the same N pictures per view in every iteration, not augmented
    max_skipped: Annotated[int, Field(ge=1)] = 20  # iterations in a row without finite gradients, then it stops
    log_every: Annotated[int, Field(ge=1)] = 100  # iterations between lines of the log
    save_every: Annotated[int, Field(ge=1)] = 10_000  # iterations between resume states; each epoch's end has one too


class AugmentationRecipe(_Section):
    """What happens to each picture on its way to the network, each with random numbers of its own.

    Pairs are the ends of a range that is drawn from uniformly. Sizes are shares of the picture's.
    """

    rand_augment: Annotated[int, Field(ge=0)] = 0  # so many random operations (RandAugment), before everything else
    brightness: Annotated[float, Field(ge=0)] = 0.7  # factor 1 - b to 1 + b; so are contrast and saturation
    contrast: Annotated[float, Field(ge=0)] = 0.7
    saturation: Annotated[float, Field(ge=0)] = 0.7
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.5  # turned by -h to +h of the circle
    crop_scale: tuple[Probability, Probability] = (
        0.5,
        1.0,
    )  # share of the area that a random crop keeps; 1: none
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # of the crop's width to its height, before it is resized back

    grey_probability: Probability = 0.0
    darkness_probability: Probability = 0.0  # to night: gamma, less light, then the sensor's noise and colour cast
    darkness_gamma: tuple[float, float] = (1.0, 2.5)
    darkness_gain: tuple[float, float] = (0.15, 0.8)
    darkness_cast: Annotated[float, Field(ge=0, lt=1)] = 0.3  # each channel's gain varies by this share
    lamps_probability: Probability = 0.0  # pools of light, one to four, each with a lamp in it
    lamps_gain: tuple[float, float] = (0.5, 2.5)  # how much brighter the middle of a pool is
    solarise_probability: Probability = 0.0  # what is brighter than a threshold is inverted, as skies are at night
    solarise_threshold: tuple[Probability, Probability] = (0.5, 0.9)
    gamma_probability: Probability = 0.0  # a tone curve, brighter or darker
    gamma: tuple[float, float] = (0.5, 2.0)
    blur_probability: Probability = 0.0
    blur_sigma: tuple[float, float] = (0.002, 0.01)  # shares of the height
    noise_probability: Probability = 0.0
    noise_sigma: tuple[float, float] = (0.01, 0.08)  # of values in [0, 1]
    perspective_probability: Probability = 0.0
    perspective: Probability = 0.2  # how far corners move
    rotation_probability: Probability = 0.0
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 5.0
    erase_probability: Probability = 0.0
    erase_scale: tuple[Probability, Probability] = (0.02, 0.2)  # share of the area


class ValidationRecipe(_Section):
    """Recall on places not trained on, after every `every`-th epoch."""

    every: Annotated[int, Field(ge=1)] = 1
    radius: Annotated[float, Field(gt=0)] = 25.0  # metres within which a reference is the right place
    # Columns of validation.csv whose sum decides which model is best; None: recall@1, of codes where those are trained.
    measure: Annotated[tuple[Measured, ...], Field(min_length=1)] | None = None
    patience: Annotated[int, Field(ge=0)] = 0  # so many validations in a row without a better one end it; 0: none does


class Recipe(_Section):
    """All there is to set."""

    model: ModelRecipe
    data: DataRecipe = DataRecipe()
    loss: LossRecipe = LargeMarginCosineRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    validation: ValidationRecipe = ValidationRecipe()

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Recipe":
        for name, value in self.augmentation:
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"augmentation.{name}: {value[0]} is more than {value[1]}")
        return self

    @model_validator(mode="after")
    def _pairs_have_places(self) -> "Recipe":
        batch, pictures = self.schedule.batch_size, self.data.pictures_per_place
        if pictures and batch % pictures:
            raise ValueError(f"schedule.batch_size: {batch} is no multiple of the {pictures} data.pictures_per_place")
        if self.loss.kind == "multi_similarity" and not 2 <= pictures < batch:
            raise ValueError(
                "loss.kind: multi_similarity compares pictures of a place with each other and with those of other "
                f"places, but a batch of {batch} has {pictures or 'one'} of each: set data.pictures_per_place to 2 or "
                "more, and schedule.batch_size to a multiple of it"
            )
        if self.loss.of == "codes" and self.model.whitening_pictures:
            raise ValueError(
                "model.whitening_pictures: would change descriptors, which loss.of: codes keeps; set it to 0"
            )
        return self

    @property
    def measure(self) -> tuple[str, ...]:
        """Which recalls, added up, decide which model is best."""
        return self.validation.measure or ("binary_recall@1" if self.loss.of == "codes" else "recall@1",)

    def to_yaml(self) -> str:
        """The recipe with every value, as YAML that `load_recipe` reads back to an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


# What a resumed training may change, because its weights do not depend on it.
FREE_KEYS = {
    "data.workers",
    "schedule.log_every",
    "schedule.save_every",
    "schedule.max_skipped",
    "validation.measure",
    "validation.patience",
}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: YAML file.
        overrides: ``section.key=value``, the value in YAML; they win over the file.

    Raises:
        UsageError: no such file, no YAML, a key that nobody knows (names the nearest that somebody does), a value that
            is not allowed.
    """
    values = _read(path, ())
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {override}: expected section.key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {override}: the value is not YAML") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        values = _merged(values, value)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{path}: {_one_line(error)}") from error


def differences(one: Recipe, other: Recipe) -> dict[str, Any]:
    """Keys (``section.key``) in which recipes differ and which decide what weights become, with their value in `one`.

    More epochs than before are no difference where the learning rate does not depend on their number.
    """
    ours, theirs = dict(_leaves(one.model_dump())), dict(_leaves(other.model_dump()))
    free = FREE_KEYS | ({"schedule.epochs"} if one.optimizer.schedule != "cosine" else set())
    keys = sorted((ours.keys() | theirs.keys()) - free)
    return {key: ours.get(key) for key in keys if ours.get(key) != theirs.get(key)}


def _read(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in extended_by:
        raise UsageError(f"{path}: extends itself through `{BASE}`")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: no such recipe: give the path of a YAML file; those of the paper and of dsformer_tiny lie in "
            "training/recipes/ of the repository"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not a recipe: expected sections such as `model:`")
    if BASE in values:
        return _merged(_read(path.parent / str(values.pop(BASE)), (*extended_by, path.resolve())), values)
    return values


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key, value


def _sections(loss: str) -> dict[str, type[_Section]]:
    """What each section of a recipe is, with the loss of that name in `LOSSES`."""
    sections = {name: field.annotation for name, field in Recipe.model_fields.items()}
    return sections | {"loss": LOSSES[loss]}  # type: ignore[return-value]


def _known_keys(loss: str) -> list[str]:
    return [f"{name}.{key}" for name, section in _sections(loss).items() for key in section.model_fields]


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    parts = [str(part) for part in first["loc"]]
    of_loss = parts[:1] == ["loss"] and parts[1:] and parts[1] in LOSSES
    loss = parts.pop(1) if of_loss else "large_margin_cosine"
    key = ".".join(parts)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        shown = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
        return f"{key}: {message}{shown}{more}" if key else message
    return _unknown(key, loss) + more


def _unknown(key: str, loss: str) -> str:
    """What is wrong with a key that nobody knows where the loss is the one of that name in `LOSSES`."""
    section, _, name = key.rpartition(".")
    if section == "loss" and (owners := [other for other, fields in LOSSES.items() if name in fields.model_fields]):
        return f"{key} is a number of {owners[0]}; the loss is {loss}"
    if nearest := _nearest(section, name, _known_keys(loss)):
        return f"there is no {key}; the nearest is {nearest}"
    fields = _sections(loss)[section].model_fields if section in Recipe.model_fields else Recipe.model_fields
    return f"there is no {key}; {section or 'a recipe'} has {', '.join(fields)}"


def _nearest(section: str, name: str, known: list[str]) -> str | None:
    """The key or section that was probably meant, of the same section before others; None where nothing is near."""
    names = {key: key.rpartition(".")[2] for key in [*Recipe.model_fields, *known]}
    of_section = [key for key in names if key.rpartition(".")[0] == section]
    for keys in (of_section, list(names)):
        alike = difflib.get_close_matches(name, [names[key] for key in keys], n=1, cutoff=0.75)
        meant = [key for key in keys if names[key] in alike] or [key for key in keys if _is_short_for(name, names[key])]
        if meant:
            return meant[0]
    return None


def _is_short_for(short: str, name: str) -> bool:
    """As lr and rate are for learning_rate."""
    words = name.split("_")
    return short == "".join(word[0] for word in words) or set(short.split("_")) < set(words)
