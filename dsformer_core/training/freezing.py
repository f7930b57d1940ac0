"""Which parameters are trained."""

from torch import nn

from dsformer_core.errors import UsageError
from dsformer_core.models import DescriptorModel
from dsformer_core.models.registry import RERANK
from dsformer_core.training.recipe import ModelRecipe, Recipe


def freeze(model: DescriptorModel, recipe: Recipe) -> None:
    """Marks what is not trained.

    That are the early stages, where the model knows which those are, what the recipe names, and of a training of codes
    all that descriptors are made with.

    Raises:
        UsageError: the model lacks what the loss is of, a prefix in the recipe is of no parameter, or nothing is left
            to train.
    """
    check_branches(model, recipe)
    if recipe.model.freeze_early:
        for part in (model, getattr(model, "backbone", None)):
            freeze_early = getattr(part, "freeze_early", None)
            if freeze_early is not None:
                freeze_early()
    if recipe.loss.of == "codes":  # after the early stages: what freezes those may mark later ones as trained
        model.freeze_descriptors()
    names = [name for name, _ in model.named_parameters()]
    for prefix in recipe.model.freeze:
        if not any(under(name, prefix) for name in names):
            parts = sorted({name.rsplit(".", 2)[0] for name in names})
            raise UsageError(f"model.freeze: {model.name} has no {prefix}; parts are {', '.join(parts[:12])}, …")
    for name, parameter in model.named_parameters():
        if any(under(name, prefix) for prefix in recipe.model.freeze):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("model.freeze: nothing is left to train")


def check_branches(model: DescriptorModel, recipe: Recipe) -> None:
    """Makes sure that the model has the branch that loss and measure are of, and none that would stay untrained.

    Raises:
        UsageError: it is not so.
    """
    if recipe.loss.of == "codes" and not model.has_codes:
        raise UsageError(
            f"loss.of: codes: this {model.name} has no hash branch: --set model.options.variant={RERANK} adds one"
        )
    if recipe.loss.of == "codes" and model.options.get("variant") == RERANK and not model.descriptors_trained:
        given = f", and {recipe.model.weights} is a backbone alone" if recipe.model.weights else ""
        raise UsageError(
            f"model.weights: codes are trained beside the descriptors of a {model.name} that was trained{given}: say "
            "which by --set model.weights=RUN/best.safetensors, or the name of released ones that are of all of it"
        )
    if of_codes := [name for name in recipe.measure if not name.startswith("recall") and not model.has_codes]:
        raise UsageError(
            f"validation.measure: {of_codes[0]} is of codes, but this {model.name} has no hash branch: take recall@1"
        )
    if recipe.loss.of == "descriptors" and model.has_codes:
        raise UsageError(
            f"loss.of: descriptors: this {model.name} has a hash branch, which loss.of: codes alone trains: "
            "--set model.options.variant=null trains descriptors, and then the codes of what came out"
        )


def training_mode(model: nn.Module, recipe: ModelRecipe) -> None:
    """Puts a model into training mode, except for what is frozen: its normalisation keeps the statistics it has."""
    model.train()
    for name, module in model.named_modules():
        if any(under(name, prefix) for prefix in recipe.freeze):
            module.eval()


def under(name: str, prefix: str) -> bool:
    """Whether a parameter or module is a part of the module called `prefix`, or that itself."""
    return name == prefix or name.startswith(prefix + ".")
