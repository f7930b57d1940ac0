"""Recall of a model in training, on places that it is not trained on."""

import logging
from collections.abc import Callable
from pathlib import Path

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.evaluation.datasets.folders import open_folder_pair
from dsformer_core.evaluation.evaluation import evaluate
from dsformer_core.evaluation.searches import Search
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel
from dsformer_core.training.recipe import ValidationRecipe

_PREFIXES: dict[Search, str] = {"float": "", "binary": "binary_", "re-ranked": "reranked_"}

log = logging.getLogger(__name__)


def validation(folder: Path, name: str, recipe: ValidationRecipe) -> Callable[[DescriptorModel], dict[str, float]]:
    """Opens a validation set.

    Args:
        folder: with ``database`` and ``queries``, pictures that carry their positions in EXIF or '@' names.
        name: of the model.
        recipe: within how many metres a reference is right.

    Returns:
        A function that takes the model as it is and gives ``recall@1``, ``recall@5`` and so on, and of a model with a
        hash branch ``binary_recall@1`` and ``reranked_recall@1`` and so on as well.

    Raises:
        UsageError: there is no such folder.
        DsformerError: the folder is not such a one; the message says what was looked for.
    """
    if not folder.is_dir():
        raise UsageError(f"--validate {folder}: no such folder; expected one with database/ and queries/")
    benchmark = open_folder_pair(folder, radius=recipe.radius)

    def warn(error: DsformerError) -> None:
        log.warning("validation counts as not found: %s", error)

    def validate(network: DescriptorModel) -> dict[str, float]:
        extractor = Extractor.of_model(network, name)
        evaluations = evaluate(benchmark, extractor, on_unreadable=warn)
        return {
            f"{_PREFIXES[search]}recall@{k}": value
            for search, evaluation in evaluations.items()
            for k, value in evaluation.recalls.items()
        }

    return validate
