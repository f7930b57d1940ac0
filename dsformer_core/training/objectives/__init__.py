"""What a network is trained towards: one loss a file, all with the interface of `Objective`."""

from dsformer_core.training.objectives.large_margin_cosine import Classifier
from dsformer_core.training.objectives.multi_similarity import MultiSimilarity, MultiSimilarityOfCodes
from dsformer_core.training.objectives.objective import Objective
from dsformer_core.training.recipe import LargeMarginCosineRecipe, MultiSimilarityOfCodesRecipe, Recipe

__all__ = ["Classifier", "MultiSimilarity", "MultiSimilarityOfCodes", "Objective", "make_objective"]


def make_objective(recipe: Recipe, classes: int, descriptor_dim: int) -> Objective:
    """The objective of one view of a group.

    Args:
        recipe: says which.
        classes: of the view.
        descriptor_dim: numbers of a descriptor.
    """
    loss = recipe.loss
    if isinstance(loss, LargeMarginCosineRecipe):
        return Classifier(classes, descriptor_dim, loss, recipe.optimizer.classifier_learning_rate)
    if isinstance(loss, MultiSimilarityOfCodesRecipe):
        return MultiSimilarityOfCodes(loss)
    return MultiSimilarity(loss)
