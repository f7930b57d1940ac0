"""Which parameters are trained, and with which learning rate."""

from torch import nn

from dsformer_core.errors import UsageError
from dsformer_core.models import DescriptorModel
from dsformer_core.training.recipe import ModelRecipe, OptimizerRecipe

# What our architectures call the part that comes pre-trained.
BACKBONES = ("backbone.", "features.")


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


def parameter_groups(model: nn.Module, recipe: OptimizerRecipe) -> list[dict[str, object]]:
    """What is trained, for an optimiser: the backbone and the rest, each with the recipe's rate as `initial_lr`."""
    backbone_rate = recipe.learning_rate if recipe.backbone_learning_rate is None else recipe.backbone_learning_rate
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        ([parameter for name, parameter in trained if name.startswith(BACKBONES)], backbone_rate),
        ([parameter for name, parameter in trained if not name.startswith(BACKBONES)], recipe.learning_rate),
    ]
    return [{"params": parameters, "lr": rate, "initial_lr": rate} for parameters, rate in groups if parameters]


def under(name: str, prefix: str) -> bool:
    """Whether a parameter or module is a part of the module called `prefix`, or that itself."""
    return name == prefix or name.startswith(prefix + ".")
