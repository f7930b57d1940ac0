"""SelaVPR++: a frozen backbone adapted at its side, two branches, three variants."""

import pytest
import torch
import torch.nn.functional as F

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.models import create_model, save_checkpoint
from dsformer_core.models.aggregation import assignment
from dsformer_core.models.hashing import signs
from dsformer_core.models.selavprpp import MultiConvAdapter, patch_map

PICTURES = torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(0))  # 4 x 6 tokens


def small(name="selavprpp_base", *, awake=True, **options):
    """Two adapted blocks, whose adapters have an effect where they are awake."""
    torch.manual_seed(0)
    model = create_model(name, blocks={"selavprpp_base": 2, "selavprpp_large": 10}[name], **options)
    for part in ("adapters", "hash_adapters") if awake else ():
        for parameter in getattr(model, part, torch.nn.Module()).parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def bare(model, images):
    """The backbone by itself, block after block."""
    tokens, _ = model.backbone.embed(images)
    states = [tokens]
    for block in model.backbone.vit.blocks:
        states.append(block(states[-1]))
    return states


@pytest.mark.parametrize(("name", "blocks", "adapters", "gem"), [("base", 12, 12, 2048), ("large", 24, 16, 4096)])
def test_parameters_and_shapes_are_as_specified(name, blocks, adapters, gem):
    with torch.device("meta"):
        model = create_model(f"selavprpp_{name}", variant="rerank")
        others = {a: create_model(f"selavprpp_{name}", aggregation=a).descriptor_dim for a in ("boq", "salad")}
    assert len(model.backbone.vit.blocks) == blocks
    assert len(model.adapters) == len(model.hash_adapters) == adapters
    of_one = sum(p.numel() for p in model.adapters[0].parameters())
    assert of_one == {"base": 762_768, "large": 1_354_944}[name]
    head = sum(p.numel() for p in model.head.parameters())
    assert head / 1e6 == pytest.approx({"base": 2.17, "large": 5.25}[name], abs=0.01)
    assert model.descriptor_dim == gem
    assert others == {"boq": 12288, "salad": 8448}
    assert model.preprocessing.size == (322, 322)


@pytest.mark.parametrize("name", ["selavprpp_base", "selavprpp_large"])
def test_untrained_adapters_leave_the_backbone_as_it_is(name):
    model = small(name, awake=False)
    tokens, grid = model.backbone.embed(PICTURES)
    assert torch.equal(model.adapters[0](tokens, grid), torch.zeros_like(tokens))
    # Without an effect of its adapters the side state stays what it began as.
    states = bare(model, PICTURES)
    begins_as = model.backbone.vit.norm(states[model.first_adapted])
    features = model.represent(PICTURES)
    assert torch.equal(features.maps[0], patch_map(begins_as, grid))
    assert torch.equal(features.class_token, begins_as[:, 0])


@pytest.mark.parametrize("name", ["selavprpp_base", "selavprpp_large"])
def test_the_frozen_stream_never_sees_the_adapters(name):
    model = small(name)
    seen = []
    for block in model.backbone.vit.blocks:
        block.register_forward_hook(lambda _block, _inputs, output: seen.append(output))
    model.train()(PICTURES).sum().backward()
    for ours, alone in zip(seen, bare(model, PICTURES)[1:], strict=False):
        assert torch.equal(ours, alone)
        assert not ours.requires_grad
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.adapters.parameters())


def test_an_adapter_doubles_the_class_token_and_convolves_the_others():
    torch.manual_seed(0)
    adapter = MultiConvAdapter(64).eval()
    torch.nn.init.eye_(adapter.up.weight)
    tokens = torch.randn(1, 1 + 12, 64)
    out = adapter(tokens, (3, 4))
    hidden = F.relu(adapter.down(tokens))
    torch.testing.assert_close(out[:, 0, :32], 2 * hidden[:, 0])
    # Convolutions that begin nearly at zero, normalised: what is left is next to nothing.
    torch.testing.assert_close(out[:, 1:, :32], hidden[:, 1:], atol=1e-3, rtol=0)
    assert not torch.equal(out[:, 1:, :32], hidden[:, 1:])


@pytest.mark.parametrize("aggregation", ["gem", "boq", "salad"])
def test_both_branches_in_one_pass_are_those_of_two(aggregation):
    model = small(aggregation=aggregation, variant="rerank")
    with torch.inference_mode():
        descriptors, codes = model.describe(PICTURES)
        assert torch.equal(descriptors, model(PICTURES))
        assert torch.equal(codes, model.codes(PICTURES))
    assert (codes.dtype, codes.shape) == (torch.int8, (2, 512))
    assert set(codes.unique().tolist()) == {-1, 1}


def test_the_hashing_variant_has_bits_only():
    model = small(variant="hashing")
    assert not hasattr(model, "adapters")
    assert not hasattr(model, "head")
    with torch.inference_mode():
        descriptors, codes = model.describe(PICTURES)
        assert descriptors.shape == (2, model.descriptor_dim) == (2, 512)
        assert torch.equal(signs(descriptors).to(torch.int8), codes)
        assert torch.equal(model(PICTURES), descriptors)


@pytest.mark.parametrize("name", ["selavprpp_base", "gem_mobilenet_v2"])
def test_without_a_hash_branch_there_are_no_codes(name):
    with torch.device("meta"):
        model = create_model(name)
    with pytest.raises(UsageError, match="has no hash branch, so no codes: it is of the variant 'standard'"):
        model.codes(PICTURES)


def test_zero_is_plus_one_and_the_gradient_passes_unchanged():
    numbers = torch.tensor([-7.0, -0.5, -0.0, 0.0, 0.5, 7.0], requires_grad=True)
    weights = torch.arange(6.0)
    (signs(numbers) * weights).sum().backward()
    assert signs(numbers).tolist() == [-1, -1, 1, 1, 1, 1]
    assert torch.equal(numbers.grad, weights)


def test_wrong_options_are_one_line():
    for options, message in (
        ({"variant": "both"}, "there is no variant 'both'; choose one of: standard, hashing, rerank"),
        ({"variant": "hashing", "aggregation": "boq"}, "has no float branch to aggregate: leave the aggregation out"),
        ({"aggregation": "mean"}, "there is no aggregation 'mean'; choose one of: gem, boq, salad"),
        ({"blocks": 13}, "blocks must be 1 to 12, not 13"),
    ):
        with pytest.raises(UsageError, match=message):
            create_model("selavprpp_base", **options)
    with pytest.raises(UsageError, match="needs a class token, which this backbone has not; choose gem or boq"):
        create_model("dsformer_resnet50", aggregation="salad", layers=0)
    with pytest.raises(UsageError, match="has no variant 'hashing'; its variants are: standard, rerank"):
        create_model("gem_mobilenet_v2", variant="hashing")


def test_released_weights_are_of_gem_alone_and_say_so():
    with pytest.raises(UsageError, match=r"'official' of selavprpp_base are of aggregation gem: .*none of boq"):
        create_model("selavprpp_base", weights="official", aggregation="boq")
    with pytest.raises(UsageError, match=r"no such weights of selavprpp_base \(official, .*none of boq or salad"):
        create_model("selavprpp_base", weights="boq")
    with pytest.raises(UsageError, match=r"'official-rerank' of selavprpp_large are of variant rerank: of gem,"):
        create_model("selavprpp_large", weights="official-rerank", variant="standard")
    with pytest.raises(DsformerError, match=r"SelaVPRplusplus_base\.pth\) are not on this machine: run"):
        create_model("selavprpp_base", weights="official", variant="rerank")


@pytest.mark.parametrize("name", ["selavprpp_base", "gem_mobilenet_v2"])
def test_a_hash_branch_is_added_to_a_trained_model(name, tmp_path, caplog):
    standard = small() if name == "selavprpp_base" else create_model(name)
    save_checkpoint(standard, tmp_path / "standard.safetensors")
    both = create_model(name, weights=tmp_path / "standard.safetensors", variant="rerank")
    assert "holds no hash branch" in caplog.text
    with torch.inference_mode():
        assert torch.equal(both(PICTURES), standard(PICTURES))
    if name == "gem_mobilenet_v2":
        torch.testing.assert_close(both.hash_floats(PICTURES), standard(PICTURES))
    else:
        for copied, own in zip(both.hash_adapters.parameters(), both.adapters.parameters(), strict=True):
            assert torch.equal(copied, own)
            assert copied is not own
    save_checkpoint(both, tmp_path / "both.safetensors")
    again = create_model(name, weights=tmp_path / "both.safetensors")
    with torch.inference_mode():
        assert torch.equal(again.codes(PICTURES), both.codes(PICTURES))
    with pytest.raises(UsageError, match="was made with variant 'rerank', not 'standard': leave options out"):
        create_model(name, weights=tmp_path / "both.safetensors", variant="standard")


@pytest.mark.parametrize("name", ["selavprpp_base", "dsformer_tiny"])
def test_training_codes_leaves_the_float_branch_bit_for_bit(name):
    model = small(variant="rerank") if name == "selavprpp_base" else create_model(name, variant="rerank")
    model.freeze_descriptors()
    model.train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    signs(model.hash_floats(PICTURES)).sum().backward()
    optimizer.step()
    changed = {
        key.partition(".")[0] for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])
    }
    assert changed == ({"hash_adapters", "hash_branch"} if name == "selavprpp_base" else {"hash_branch"})


def test_salad_serves_dsformer_where_there_is_a_class_token():
    model = create_model("dsformer_dinov2_vitb14", aggregation="salad", layers=0)
    with torch.inference_mode():
        descriptors = model(PICTURES)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))
    assert not torch.allclose(descriptors[0], descriptors[1], atol=1e-4)


@pytest.mark.parametrize("tokens", [5, 24])
def test_optimal_transport_gives_every_token_once(tokens):
    clusters = 8
    scores = torch.randn(2, clusters, tokens, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    share = assignment(scores, torch.tensor(1.0), iterations=200)
    assert bool((share >= 0).all())
    assert bool((share.sum(dim=1) <= 1 + 1e-5).all())
    if tokens > clusters:
        torch.testing.assert_close(share.sum(dim=2), torch.ones(2, clusters, dtype=torch.float64), atol=1e-5, rtol=0)
