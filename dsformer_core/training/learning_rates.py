"""How fast which part of the model learns, and when."""

import math

from torch import nn

from dsformer_core.training.recipe import OptimizerRecipe, Recipe

# What our architectures call the part that comes pre-trained.
BACKBONES = ("backbone.", "features.")


def parameter_groups(model: nn.Module, recipe: OptimizerRecipe) -> list[dict[str, object]]:
    """What is trained, for an optimiser: the backbone and the rest, each with the recipe's rate as `initial_lr`."""
    backbone_rate = recipe.learning_rate if recipe.backbone_learning_rate is None else recipe.backbone_learning_rate
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        ([parameter for name, parameter in trained if name.startswith(BACKBONES)], backbone_rate),
        ([parameter for name, parameter in trained if not name.startswith(BACKBONES)], recipe.learning_rate),
    ]
    return [{"params": parameters, "lr": rate, "initial_lr": rate} for parameters, rate in groups if parameters]


def learning_rate_factor(iteration: int, recipe: Recipe) -> float:
    """By what the model's learning rates are multiplied in an iteration: warm-up times schedule.

    Args:
        iteration: from 0.
        recipe: says which schedule, and how long the training is.
    """
    optimizer, epoch = recipe.optimizer, recipe.schedule.iterations_per_epoch
    warmup = min(1.0, (iteration + 1) / (optimizer.warmup_iterations + 1))
    if optimizer.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * iteration / (recipe.schedule.epochs * epoch)))
    if optimizer.schedule == "step":
        return warmup * optimizer.step_factor ** (iteration // (optimizer.step_epochs * epoch))
    return warmup
