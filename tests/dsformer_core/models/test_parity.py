"""Agreement with the official networks, on weights that anybody can make from names and shapes."""

import functools
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dsformer_core.errors import DsformerError
from dsformer_core.models import create_model
from dsformer_core.models.checkpoint import load_state_dict
from dsformer_core.models.hashing import signs
from dsformer_core.models.inference import optimize_for_inference


@pytest.fixture(scope="module")
def recipe(shared):
    spec = importlib.util.spec_from_file_location("recipe", shared / "parity" / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Variants of a network have most of their weights in common; the largest has a thousand tensors.
    module.tensor = functools.lru_cache(maxsize=1000)(module.tensor)
    return module


def official_state(recipe, shared: Path, name: str) -> dict[str, torch.Tensor]:
    arrays = recipe.state_dict(shared / "parity" / f"{name}_keys.json")
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


@pytest.mark.parametrize("name", ["dsformer_resnet50", "dsformer_dinov2_vitb14"])
def test_descriptors_and_tokens_are_the_official_ones(name, recipe, shared):
    model = create_model(name)
    load_state_dict(model, official_state(recipe, shared, name), "the recipe's weights")
    expected = {key: array[:2] for key, array in np.load(shared / "parity" / f"{name}_expected.npz").items()}
    pictures = torch.from_numpy(recipe.pictures(model.preprocessing.size[0])[:2])
    with torch.inference_mode():
        features = model.represent(pictures)
        descriptors = model.aggregate(features)
        optimize_for_inference(model, float32=True)
        optimized = model(pictures[:1])
    np.testing.assert_allclose(optimized.numpy(), expected["descriptors"][:1], atol=2e-6, rtol=0)
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


@pytest.mark.parametrize(
    ("name", "options", "pictures"),
    [
        ("selavprpp_base_gem_standard", {}, 3),
        # One picture takes seconds; that those of a batch do not meet is said by test_models.py.
        ("selavprpp_base_boq_standard", {"aggregation": "boq"}, 1),
        ("selavprpp_base_salad_standard", {"aggregation": "salad"}, 1),
        ("selavprpp_base_gem_rerank", {"variant": "rerank"}, 1),
        ("selavprpp_large_gem_rerank", {"variant": "rerank"}, 1),
    ],
)
def test_both_branches_are_the_official_ones(name, options, pictures, recipe, shared):
    model = create_model("_".join(name.split("_")[:2]), **options)
    load_state_dict(model, official_state(recipe, shared, name), "the recipe's weights")
    images = torch.from_numpy(recipe.pictures(model.preprocessing.size[0])[:pictures])
    expected = {key: array[:pictures] for key, array in np.load(shared / "parity" / f"{name}_expected.npz").items()}
    with torch.inference_mode():
        descriptors, hash_floats = model.branches(images) if model.has_codes else (model(images), None)
    np.testing.assert_allclose(descriptors.numpy(), expected["descriptors"], atol=1e-5, rtol=0)
    if hash_floats is not None:
        np.testing.assert_allclose(hash_floats.numpy(), expected["hash_floats"], atol=1e-5, rtol=0)
        sure = np.abs(expected["hash_floats"]) > 1e-5
        assert np.array_equal(signs(hash_floats).numpy()[sure], expected["codes"][sure])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("selavprpp_base_boq_standard", {"aggregation": "boq", "variant": "standard"}),
        ("selavprpp_base_salad_standard", {"aggregation": "salad", "variant": "standard"}),
        ("selavprpp_base_gem_standard", {"aggregation": "gem", "variant": "standard"}),
        ("selavprpp_base_gem_rerank", {"aggregation": "gem", "variant": "rerank"}),
    ],
)
def test_official_files_say_of_which_variant_they_are(name, options, recipe, shared, tmp_path):
    def of_first_two(key: str) -> bool:
        number = re.search(r"\.(?:blocks|adapters|adapters_hashing)\.(\d+)\.", key)
        return number is None or int(number[1]) < 2

    keys = json.loads((shared / "parity" / f"{name}_keys.json").read_text())
    state = {
        f"module.{key}": torch.from_numpy(np.asarray(recipe.tensor(key, tuple(shape))))
        for key, shape in keys.items()
        if of_first_two(key)
    }
    path = tmp_path / "official.pth"
    try:
        torch.save({"model_state_dict": state}, path)
        model = create_model("selavprpp_base", weights=path, blocks=2)
        assert model.options == options | {"blocks": 2}
        convolution = model.adapters[1].branches[2][1].conv
        assert torch.equal(convolution.weight, state["module.backbone.adapters.1.branch3.1.conv.weight"])
        with pytest.raises(
            DsformerError, match=r"official\.pth: does not fit selavprpp_base: \d+ missing \(backbone\.blocks\.2"
        ):
            create_model("selavprpp_base", weights=path, blocks=3)
    finally:
        path.unlink()
