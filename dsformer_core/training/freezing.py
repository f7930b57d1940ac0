"""Which parameters are trained."""

from torch import nn

from dsformer_core.errors import UsageError
from dsformer_core.models import DescriptorModel
from dsformer_core.training.recipe import ModelRecipe


def freeze(model: DescriptorModel, recipe: ModelRecipe) -> None:
    """Marks what is not trained: the early stages, where the model knows which those are, and what the recipe names.

    Raises:
        UsageError: a prefix in the recipe is of no parameter, or nothing is left to train.
    """
    if recipe.freeze_early:
        for part in (model, getattr(model, "backbone", None)):
            freeze_early = getattr(part, "freeze_early", None)
            if freeze_early is not None:
                freeze_early()
    names = [name for name, _ in model.named_parameters()]
    for prefix in recipe.freeze:
        if not any(under(name, prefix) for name in names):
            parts = sorted({name.rsplit(".", 2)[0] for name in names})
            raise UsageError(f"model.freeze: {model.name} has no {prefix}; parts are {', '.join(parts[:12])}, …")
    for name, parameter in model.named_parameters():
        if any(under(name, prefix) for prefix in recipe.freeze):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("model.freeze: nothing is left to train")


def training_mode(model: nn.Module, recipe: ModelRecipe) -> None:
    """Puts a model into training mode, except for what is frozen: its normalisation keeps the statistics it has."""
    model.train()
    for name, module in model.named_modules():
        if any(under(name, prefix) for prefix in recipe.freeze):
            module.eval()


def under(name: str, prefix: str) -> bool:
    """Whether a parameter or module is a part of the module called `prefix`, or that itself."""
    return name == prefix or name.startswith(prefix + ".")
