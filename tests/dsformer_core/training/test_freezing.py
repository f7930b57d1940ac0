"""Which parameters are trained, of models that are too large to be run here."""

import pytest
import torch

from dsformer_core.models import create_model
from dsformer_core.training.freezing import freeze
from dsformer_core.training.recipe import DataRecipe, ModelRecipe, MultiSimilarityOfCodesRecipe, Recipe


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dsformer_dinov2_vitb14", {"layers": 0}),
        ("gem_dinov2_vitb14", {}),
        ("dsformer_resnet50", {"layers": 0}),
        ("selavprpp_base", {"blocks": 2}),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_a_training_of_codes_trains_the_hash_branch_alone(name: str, options: dict[str, int], early: bool) -> None:
    """Also of a backbone that marks its last blocks as trained when its early ones are frozen."""
    recipe = Recipe(
        model=ModelRecipe(name=name, weights="official", freeze_early=early),
        data=DataRecipe(pictures_per_place=2),
        loss=MultiSimilarityOfCodesRecipe(kind="multi_similarity", of="codes"),
    )
    with torch.device("meta"):
        model = create_model(name, variant="rerank", **options)
    model.descriptors_trained = True
    freeze(model, recipe)
    of_codes = {key for key, _ in model.named_parameters() if key.startswith(("hash_branch.", "hash_adapters."))}
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == of_codes
