"""What every registered model promises, whatever its architecture."""

import copy

import pytest
import torch
from torch import nn

from dsformer_core.errors import UsageError
from dsformer_core.models import (
    DESCRIPTOR_DIM,
    backbones,
    create_model,
    list_models,
    load_checkpoint,
    preprocessing_of,
    save_checkpoint,
    weights_digest,
)
from dsformer_core.models.backbones import ResNet50
from dsformer_core.models.inference import optimize_for_inference
from dsformer_core.models.pooling import GeM, orthogonal_projection
from dsformer_core.models.registry import IMAGENET_MEAN, IMAGENET_STD

# Whole, these hold 100 to 350 million numbers; their other layers are of the same kind.
SMALLER = {
    "dsformer_resnet50": {"layers": 1},
    "selavprpp_base": {"blocks": 1},
    "selavprpp_large": {"blocks": 9},
}
# Of these test_parity.py asks three whole pictures, which takes a network of this kind seconds.
HALF_A_PICTURE = ("dsformer_dinov2_vitb14", "selavprpp_base", "selavprpp_large")
EVERY_VARIANT = [
    *((name, {}) for name in list_models()),
    ("dsformer_tiny", {"variant": "rerank", "aggregation": "boq"}),
    ("dsformer_resnet50", {"aggregation": "boq", "variant": "rerank", "layers": 0}),
    ("selavprpp_base", {"variant": "hashing"}),
    ("selavprpp_base", {"aggregation": "boq"}),
    ("selavprpp_base", {"aggregation": "salad", "variant": "rerank"}),
]


@pytest.fixture(scope="module")
def shallow():
    """Twelve blocks are twelve times one; test_parity.py asks all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.DINOV2_BLOCKS, "base", 3)
        yield


@pytest.fixture(scope="module", params=EVERY_VARIANT, ids=lambda one: "-".join([one[0], *map(str, one[1].values())]))
def model(request, shallow):
    torch.manual_seed(0)
    name, options = request.param
    model = create_model(name, **SMALLER.get(name, {}) | options)
    # Adapters begin without effect, and then nothing behind them would have any on a descriptor either.
    for parameter in getattr(model, "adapters", nn.Module()).parameters():
        nn.init.normal_(parameter, std=0.05)
    return model


def pictures(model, batch=2, size=None):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *(size or model.preprocessing.size), generator=generator)


def test_the_models_of_the_design_are_there():
    dsformer = {"dsformer_resnet50", "dsformer_dinov2_vitb14", "dsformer_tiny"}
    gem = {"gem_resnet50", "gem_dinov2_vitb14", "gem_mobilenet_v2"}
    assert dsformer | gem | {"selavprpp_base", "selavprpp_large"} <= set(list_models())


def test_descriptors_have_unit_norm_and_do_not_depend_on_the_rest_of_the_batch(model):
    height, width = model.preprocessing.size
    images = pictures(model, size=(height // 2, width) if model.name in HALF_A_PICTURE else (height, width))
    with torch.inference_mode():
        together, again = model(images), model(images[1:])
    assert together.shape == (2, model.descriptor_dim)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(together[1:], again, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (75, 110)])
def test_pictures_of_other_sizes_are_described_too(model, size):
    with torch.inference_mode():
        descriptors = model(pictures(model, 1, size))
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(1))


@pytest.mark.parametrize("size", [(64, 96), (126, 84)])
def test_optimized_it_computes_the_same(model, size):
    network = copy.deepcopy(model)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh ones do nothing, and could be left out as well
            nn.init.uniform_(module.weight, 0.5, 1.5), nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1), module.running_var.uniform_(0.5, 1.5)
    images = pictures(network, 2, size)
    with torch.inference_mode():
        expected = network.describe(images) if network.has_codes else (network(images),)
        optimize_for_inference(network, float32=True)
        found = network.describe(images) if network.has_codes else (network(images),)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_it_can_be_trained_after_it_was_used(model):
    with torch.inference_mode():
        model(pictures(model, 1, (64, 96)))
    descriptors = model.train()(pictures(model, 2, (64, 96)))
    model.eval()
    (descriptors @ torch.linspace(-1, 1, model.descriptor_dim)).sum().backward()
    trained = dict(model.named_parameters())
    if model.has_codes and model.options["variant"] == "rerank":
        trained = {name: p for name, p in trained.items() if not name.startswith("hash_")}
    trained = [parameter for parameter in trained.values() if parameter.requires_grad]
    reached = [parameter.grad for parameter in trained if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    assert len(reached) >= 0.9 * len(trained)
    assert all(gradient.isfinite().all() for gradient in reached)


def test_it_is_in_evaluation_mode_and_carries_its_name_and_preprocessing(model):
    assert not model.training
    assert model.name in list_models()
    assert model.preprocessing == preprocessing_of(model.name)
    assert (model.preprocessing.mean, model.preprocessing.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_a_checkpoint_brings_back_the_same_model(model, tmp_path):
    path = tmp_path / "model.safetensors"
    try:
        save_checkpoint(model, path)
        loaded = create_model(model.name, weights=path)
        assert weights_digest(loaded) == weights_digest(model)
        assert loaded.options == model.options
        assert loaded.preprocessing == model.preprocessing
        images = pictures(model, 1, (64, 96))
        with torch.inference_mode():
            assert torch.equal(loaded(images), model(images))
    finally:
        path.unlink()


def test_the_digest_sees_the_smallest_change(model):
    before = weights_digest(model)
    parameter = next(model.parameters())
    with torch.no_grad():
        original = parameter.flatten()[0].clone()
        parameter.view(-1)[0] = torch.nextafter(original, torch.tensor(torch.inf))
        assert weights_digest(model) != before
        parameter.view(-1)[0] = original
    assert weights_digest(model) == before


def test_unknown_names_and_options_are_usage_errors():
    with pytest.raises(UsageError, match="gem_mobilenet_v2"):
        create_model("gem_mobilenet")
    with pytest.raises(UsageError, match="has no option layers; its options are: variant"):
        create_model("gem_mobilenet_v2", layers=2)
    with pytest.raises(UsageError, match="no such file, and no such weights"):
        create_model("gem_mobilenet_v2", weights="official")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    save_checkpoint(create_model("gem_mobilenet_v2"), tmp_path / "small.safetensors")
    assert load_checkpoint(tmp_path / "small.safetensors").name == "gem_mobilenet_v2"
    with pytest.raises(UsageError, match="holds a gem_mobilenet_v2, not a gem_resnet50"):
        create_model("gem_resnet50", weights=tmp_path / "small.safetensors")


def test_frozen_stages_keep_their_statistics_and_their_weights():
    backbone = ResNet50()
    backbone.freeze_early()
    backbone.train()
    before = backbone.bn1.running_mean.clone()
    sum(feature_map.sum() for feature_map in backbone(torch.randn(2, 3, 64, 64)).maps).backward()
    assert torch.equal(backbone.bn1.running_mean, before)
    trained = {name.split(".")[0] for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == {"layer3", "layer4"}


def test_gem_is_the_mean_for_p_1_and_approaches_the_maximum():
    features = torch.rand(2, 5, 3, 4) + 0.1
    torch.testing.assert_close(GeM(p=1.0)(features), features.mean((2, 3)))
    torch.testing.assert_close(GeM(p=60.0)(features), features.amax((2, 3)), rtol=0.06, atol=0)
    assert GeM()(-features).isfinite().all()


def test_gem_survives_half_precision():
    features = torch.rand(2, 5, 3, 4) * 1e-3
    torch.testing.assert_close(GeM().half()(features.half()).float(), GeM()(features), rtol=2e-3, atol=0)


@pytest.mark.parametrize("inputs", [768, 1280, 2048])
def test_projections_are_orthonormal_and_the_same_everywhere(inputs):
    projection = orthogonal_projection(inputs, DESCRIPTOR_DIM).double()
    torch.testing.assert_close(projection @ projection.T, torch.eye(DESCRIPTOR_DIM, dtype=torch.float64))
    assert projection.abs().unique().numel() == 1


def test_the_projection_of_released_descriptors_never_changes():
    signs = (orthogonal_projection(1280, DESCRIPTOR_DIM)[:3, :8] > 0).int().tolist()
    assert signs == [[1, 1, 0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 1, 0, 0, 1]]
