"""Agreement with the official networks, on weights that anybody can make from names and shapes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from dsformer_core.errors import DsformerError
from dsformer_core.models import create_model
from dsformer_core.models.checkpoint import load_state_dict


@pytest.fixture(scope="module")
def recipe(shared):
    spec = importlib.util.spec_from_file_location("recipe", shared / "parity" / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def official_state(recipe, shared: Path, name: str) -> dict[str, torch.Tensor]:
    arrays = recipe.state_dict(shared / "parity" / f"{name}_keys.json")
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


@pytest.mark.parametrize("name", ["dsformer_resnet50", "dsformer_dinov2_vitb14"])
def test_descriptors_and_tokens_are_the_official_ones(name, recipe, shared):
    model = create_model(name)
    load_state_dict(model, official_state(recipe, shared, name), "the recipe's weights")
    expected = np.load(shared / "parity" / f"{name}_expected.npz")
    with torch.inference_mode():
        features = model.represent(torch.from_numpy(recipe.pictures(model.preprocessing.size[0])))
        descriptors = model.aggregate(features)
    fine, coarse = (tokens.flatten(2).transpose(1, 2) for tokens in features.maps)
    np.testing.assert_allclose(descriptors.numpy(), expected["descriptors"], atol=2e-6, rtol=0)
    for tokens, wanted in (
        (fine.numpy()[:, ::37, ::31], expected["fine_tokens"]),
        (coarse.numpy()[:, ::11, ::31], expected["coarse_tokens"]),
    ):
        np.testing.assert_allclose(tokens, wanted, atol=1e-3 * wanted.std(), rtol=0)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_files_load_by_name_and_strictly(prefix, recipe, shared, tmp_path):
    whole = official_state(recipe, shared, "dsformer_resnet50")
    state = {prefix + key: tensor for key, tensor in whole.items() if "Transformer" not in key}
    path = tmp_path / "official.pth"
    try:
        torch.save(state, path)
        model = create_model("dsformer_resnet50", weights=path, layers=0)
        assert torch.equal(model.head.fc.weight, whole["fc.weight"])
        assert torch.equal(model.former.positions[1], whole["dual_scale_former.pos_embed1"])
        with pytest.raises(
            DsformerError, match=r"official\.pth: does not fit dsformer_resnet50: \d+ missing \(dual_sc"
        ):
            create_model("dsformer_resnet50", weights=path, layers=1)
    finally:
        path.unlink()
