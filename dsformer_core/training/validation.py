"""Recall of a model in training, on places that it is not trained on."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from dsformer_core.evaluation.datasets.folders import open_folder_pair
from dsformer_core.evaluation.evaluation import evaluate
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel
from dsformer_core.training.recipe import ValidationRecipe


def validation(
    folder: Path, model: DescriptorModel, recipe: ValidationRecipe, device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    """Opens a validation set.

    Args:
        folder: with ``database`` and ``queries``, pictures that carry their positions in EXIF or '@' names.
        model: to be validated, now and then.
        recipe: within how many metres a reference is right.
        device: where the model computes.

    Returns:
        A function that takes the model as it is and gives ``recall@1``, ``recall@5`` and so on.

    Raises:
        DsformerError: the folder is not such a one; the message says what was looked for.
    """
    benchmark = open_folder_pair(folder, radius=recipe.radius)

    def validate(network: nn.Module) -> dict[str, float]:
        extractor = Extractor.of_model(network, model.name, device=str(device), precision="auto")
        return {f"recall@{k}": value for k, value in evaluate(benchmark, extractor).recalls.items()}

    return validate
