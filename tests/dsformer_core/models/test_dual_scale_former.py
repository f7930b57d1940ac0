import pytest
import torch

from dsformer_core.errors import UsageError
from dsformer_core.models import create_model
from dsformer_core.models.dual_scale_former import DualScaleFormer, drop_keys
from dsformer_core.models.position_embedding import resize_position_embedding

MAPS = torch.randn(2, 64, 4, 6, generator=torch.Generator().manual_seed(0)), torch.randn(2, 128, 2, 3)


def small(layers=1, relative_position=True, self_encoder=True, cross_encoder=True, drop_ratio=0.0):
    torch.manual_seed(0)
    return DualScaleFormer(
        (64, 128), ((4, 6), (2, 3)), layers, relative_position, self_encoder, cross_encoder, drop_ratio
    ).eval()


@pytest.mark.parametrize("layers", range(5))
def test_layers_is_the_number_of_layers(layers):
    former = small(layers)
    fine, coarse = former(*MAPS)
    assert (fine.shape, coarse.shape) == ((2, 64, 4, 6), (2, 64, 2, 3))
    assert len({name.split(".")[1] for name in former.state_dict() if name.startswith("layers.")}) == layers


@pytest.mark.parametrize(
    ("ablation", "absent"),
    [
        ({"relative_position": False}, ".position."),
        ({"self_encoder": False}, ".self_encoders."),
        ({"cross_encoder": False}, ".cross_encoder."),
    ],
)
def test_an_ablation_removes_its_part_and_changes_the_result(ablation, absent):
    whole, ablated = small(), small(**ablation)
    for name, parameter in whole.named_parameters():
        if ".position." in name:
            torch.nn.init.normal_(parameter)
    ablated.load_state_dict({n: t for n, t in whole.state_dict().items() if absent not in n})
    assert any(absent in name for name in whole.state_dict())
    assert not torch.allclose(whole(*MAPS)[0], ablated(*MAPS)[0], atol=1e-4)


def test_without_cross_encoders_the_scales_do_not_know_of_each_other():
    former, other = small(cross_encoder=False), (MAPS[0], torch.randn(2, 128, 2, 3))
    assert torch.equal(former(*MAPS)[0], former(*other)[0])
    assert not torch.equal(small()(*MAPS)[0], small()(*other)[0])


def test_layers_out_of_range_are_refused_before_anything_is_built():
    with pytest.raises(UsageError, match="layers must be 0 to 4, not 5"):
        small(layers=5)
    with pytest.raises(UsageError, match="drop_ratio"):
        small(drop_ratio=1.0)


def test_every_ablation_is_an_option_of_the_named_models():
    model = create_model("dsformer_dinov2_vitb14", layers=1, relative_position=False, self_encoder=False)
    assert not any(".self_encoders." in name for name in model.state_dict())
    assert any(".cross_encoder." in name for name in model.state_dict())


def test_dropkey_acts_in_training_only():
    former = small(drop_ratio=0.5)
    assert torch.equal(former(*MAPS)[0], former(*MAPS)[0])
    former.train()
    first, second = former(*MAPS)[0], former(*MAPS)[0]
    assert not torch.equal(first, second)
    assert first.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dropkey_never_makes_nan(dtype):
    logits = torch.full((1, 1, 4, 4), -6e4, dtype=dtype)
    assert drop_keys(logits, 1.0).float().softmax(-1).isfinite().all()
    assert drop_keys(logits, 1.0).softmax(-1).isfinite().all()


def test_position_embeddings_of_other_grids_keep_what_they_encode():
    rows = torch.arange(4.0).repeat_interleave(6)
    embedding = torch.stack([rows, torch.ones(24)], dim=-1)[None]  # (1, 24, 2): the row, and a constant
    assert resize_position_embedding(embedding, (4, 6), (4, 6)) is embedding
    resized = resize_position_embedding(embedding, (4, 6), (8, 3)).reshape(8, 3, 2)
    torch.testing.assert_close(resized[..., 1], torch.ones(8, 3))
    assert (resized[1:, :, 0] > resized[:-1, :, 0]).all()
    torch.testing.assert_close(resized[..., 0], resized[:, :1, 0].expand(8, 3))


def test_maps_of_other_sizes_are_taken():
    fine, coarse = small()(torch.randn(1, 64, 5, 3), torch.randn(1, 128, 3, 2))
    assert (fine.shape, coarse.shape) == ((1, 64, 5, 3), (1, 64, 3, 2))


def test_it_runs_in_bfloat16():
    former = small()
    exact = former(*MAPS)
    for tokens, wanted in zip(former.bfloat16()(*(m.bfloat16() for m in MAPS)), exact, strict=True):
        assert tokens.dtype == torch.bfloat16
        torch.testing.assert_close(tokens.float(), wanted, atol=0.1, rtol=0)


def test_an_export_leaves_the_model_as_it_was():
    former = small()
    before = former(*MAPS)
    exported = torch.export.export(former, MAPS).module()
    for tokens, wanted, traced in zip(former(*MAPS), before, exported(*MAPS), strict=True):
        assert torch.equal(tokens, wanted)
        torch.testing.assert_close(traced, wanted)
