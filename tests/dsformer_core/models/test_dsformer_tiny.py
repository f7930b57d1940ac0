"""The small model: what it starts from, and what training may change."""

import torch

from dsformer_core.models import create_model, default_weights
from dsformer_core.models.dsformer_tiny import RENDERED_TOWNS
from dsformer_core.models.fetch import verify


def test_behind_a_closed_gate_it_is_the_gem_descriptor_of_the_same_features() -> None:
    tiny, gem = create_model("dsformer_tiny"), create_model("gem_mobilenet_v2")
    tiny.gate.data.zero_()
    gem.features.load_state_dict(tiny.features.state_dict())
    pictures = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(pictures), gem(pictures), atol=1e-6, rtol=0)


def test_all_that_is_trained_reaches_the_descriptor() -> None:
    tiny = create_model("dsformer_tiny")
    tiny(torch.randn(2, 3, 224, 224))[:, 0].sum().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert ".position.of_" in name or parameter.grad.abs().max() > 0, name


def test_what_is_frozen_stays() -> None:
    tiny = create_model("dsformer_tiny")
    tiny.freeze_early()
    tiny.train()
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in tiny.parameters() if p.requires_grad], lr=1.0)
    tiny(torch.randn(4, 3, 96, 96))[:, 0].sum().backward()
    optimizer.step()
    changed = {name for name, tensor in tiny.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not {name for name in changed if "running_" in name}
    assert not {name for name in changed if name.startswith("features.") and int(name.split(".")[1]) < 7}
    assert "features.18.0.weight" in changed and "projection.weight" in changed


def test_other_sizes_are_welcome() -> None:
    with torch.inference_mode():
        assert create_model("dsformer_tiny")(torch.randn(1, 3, 160, 192)).shape == (1, 512)


def test_its_weights_come_with_the_package() -> None:
    path = default_weights("dsformer_tiny")
    verify(path, "dsformer_tiny", RENDERED_TOWNS, str(path))
    assert path.stat().st_size <= 9_000_000
    with torch.inference_mode():
        descriptors = create_model("dsformer_tiny", weights=RENDERED_TOWNS.name)(torch.randn(2, 3, 224, 224))
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))
