"""Recall of a model in training, on places that it is not trained on, and whether it gives what a recipe measures."""

import logging
from pathlib import Path

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.evaluation.datasets.folders import open_folder_pair
from dsformer_core.evaluation.evaluation import evaluate
from dsformer_core.evaluation.recall import RECALL_AT
from dsformer_core.evaluation.searches import Search
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel
from dsformer_core.training.recipe import Recipe

_PREFIXES: dict[Search, str] = {"float": "", "binary": "binary_", "re-ranked": "reranked_"}

log = logging.getLogger(__name__)


class Validation:
    """A set of places, and within how many metres a reference is the right one.

    Args:
        folder: with ``database`` and ``queries``, pictures that carry their positions in EXIF or '@' names.
        recipe: whose measure its numbers must have.

    Raises:
        UsageError: there is no such folder, or it has fewer references than the recipe's measure needs.
        DsformerError: the folder is not such a one; the message says what was looked for.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        if not folder.is_dir():
            raise UsageError(f"--validate {folder}: no such folder; expected one with database/ and queries/")
        self.name = recipe.model.name
        self.benchmark = open_folder_pair(folder, radius=recipe.validation.radius)
        references = len(self.benchmark.database)
        given = {f"{prefix}recall@{k}" for prefix in _PREFIXES.values() for k in RECALL_AT if k <= references}
        if missing := [name for name in recipe.measure if name not in given]:
            smallest = f"{missing[0].partition('@')[0]}@{RECALL_AT[0]}"
            raise UsageError(
                f"validation.measure: {missing[0]} of {folder}, which has {references} references: --set "
                f"validation.measure=[{smallest}], or another set"
            )

    def __call__(self, network: DescriptorModel) -> dict[str, float]:
        """Recalls of the model as it is.

        Returns:
            ``recall@1``, ``recall@5`` and so on, and of a model with a hash branch ``binary_recall@1`` and
            ``reranked_recall@1`` and so on as well.
        """

        def warn(error: DsformerError) -> None:
            log.warning("validation counts as not found: %s", error)

        evaluations = evaluate(self.benchmark, Extractor.of_model(network, self.name), on_unreadable=warn)
        return {
            f"{_PREFIXES[search]}recall@{k}": value
            for search, evaluation in evaluations.items()
            for k, value in evaluation.recalls.items()
        }
