"""Against a transcription of the formulas in float64, a pair at a time."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.training.objectives import MultiSimilarity, MultiSimilarityOfCodes
from dsformer_core.training.recipe import MultiSimilarityOfCodesRecipe, MultiSimilarityRecipe

Array = npt.NDArray[np.float64]


def mined(cosines: Array, places: npt.NDArray[np.int64], epsilon: float) -> tuple[npt.NDArray[np.bool_], ...]:
    """(B, B) which positive and which negative pairs are hard."""
    same = places[:, None] == places
    positive, negative = same & ~np.eye(len(places), dtype=bool), ~same
    lowest = np.where(positive, cosines, np.inf).min(axis=1, keepdims=True)
    highest = np.where(negative, cosines, -np.inf).max(axis=1, keepdims=True)
    return positive & (cosines - epsilon < highest), negative & (cosines + epsilon > lowest)


def reference(vectors: Array, places: npt.NDArray[np.int64], recipe: MultiSimilarityRecipe) -> tuple[float, Array]:
    """The loss, and a mask of the pairs that count."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    positive, negative = mined(cosines, places, recipe.miner_epsilon)
    near = np.where(positive, np.exp(-recipe.alpha * (cosines - recipe.base)), 0).sum(axis=1)
    far = np.where(negative, np.exp(recipe.beta * (cosines - recipe.base)), 0).sum(axis=1)
    loss = float((np.log1p(near) / recipe.alpha + np.log1p(far) / recipe.beta).mean())
    counted = positive | negative
    return 0.0 if max(positive.sum(), negative.sum()) <= 1 else loss, counted


def batch(seed: int, places: int, pictures: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors about a centre per place."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(places, 512, generator=generator).repeat_interleave(pictures, dim=0)
    vectors = centres + spread * torch.randn(places * pictures, 512, generator=generator)
    return torch.nn.functional.normalize(vectors, dim=1), torch.arange(places).repeat_interleave(pictures)


batches = {
    "seed": st.integers(0, 2**31),
    "places": st.integers(2, 8),
    "pictures": st.integers(2, 5),
    "spread": st.floats(0.2, 6),
}


@settings(max_examples=25, deadline=None)
@given(
    **batches,
    alpha=st.floats(0.5, 4),
    beta=st.floats(5, 60),
    base=st.floats(-0.2, 0.6),
    miner_epsilon=st.floats(0, 0.3),
)
def test_it_is_the_multi_similarity_loss(
    seed: int, places: int, pictures: int, spread: float, **numbers: float
) -> None:
    recipe = MultiSimilarityRecipe(kind="multi_similarity", **numbers)
    vectors, labels = batch(seed, places, pictures, spread)
    expected, _ = reference(vectors.double().numpy(), labels.numpy(), recipe)
    assert MultiSimilarity(recipe)(vectors, labels).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(**batches, weight=st.floats(0, 2))
def test_of_codes_it_has_the_constraint_over_the_mined_pairs(
    seed: int, places: int, pictures: int, spread: float, weight: float
) -> None:
    recipe = MultiSimilarityOfCodesRecipe(kind="multi_similarity", of="codes", constraint_weight=weight)
    floats, labels = batch(seed, places, pictures, spread)
    z = floats.double().numpy()
    b = np.where(z >= 0, 1.0, -1.0)
    expected, counted = reference(b, labels.numpy(), recipe)
    if counted.any():
        expected += weight * float(((z @ z.T - b @ b.T / 512)[counted] ** 2).mean())
    assert MultiSimilarityOfCodes(recipe)(floats, labels).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.1, 5.0])
def test_its_gradient_passes_the_sign_as_if_it_were_not_there(weight: float) -> None:
    """The gradient of hash floats is that of codes, of a loss written down with codes as variables of their own."""
    recipe = MultiSimilarityOfCodesRecipe(kind="multi_similarity", of="codes", constraint_weight=weight)
    floats, labels = batch(0, 4, 3, 2.0)
    floats = floats.double().requires_grad_()
    MultiSimilarityOfCodes(recipe)(floats, labels).backward()

    z = floats.detach().clone().requires_grad_()
    b = torch.where(z >= 0, 1.0, -1.0).double().detach().requires_grad_()
    unit = torch.nn.functional.normalize(b, dim=1)
    cosines = unit @ unit.T
    positive, negative = map(torch.from_numpy, mined(cosines.detach().numpy(), labels.numpy(), recipe.miner_epsilon))
    near = (torch.exp(-recipe.alpha * cosines) * positive).sum(dim=1).log1p() / recipe.alpha
    far = (torch.exp(recipe.beta * cosines) * negative).sum(dim=1).log1p() / recipe.beta
    apart = (z @ z.T - b @ b.T / 512)[positive | negative]
    ((near + far).mean() + weight * apart.square().mean()).backward()
    assert b.grad is not None and b.grad.abs().sum() > 0
    assert floats.grad is not None
    torch.testing.assert_close(floats.grad, b.grad + (z.grad if weight else 0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("of", ["descriptors", "codes"])
def test_half_precision_around_it_changes_nothing(of: str) -> None:
    objective = {
        "descriptors": MultiSimilarity(MultiSimilarityRecipe(kind="multi_similarity")),
        "codes": MultiSimilarityOfCodes(MultiSimilarityOfCodesRecipe(kind="multi_similarity", of="codes")),
    }[of]
    vectors, labels = batch(0, 4, 3, 2.0)
    expected = objective(vectors, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(objective(vectors, labels), expected)
        assert objective(vectors.half(), labels).dtype == torch.float32


@pytest.mark.parametrize("of", ["descriptors", "codes"])
def test_where_no_pair_is_hard_there_is_no_loss_and_no_gradient(of: str) -> None:
    objective = {
        "descriptors": MultiSimilarity(MultiSimilarityRecipe(kind="multi_similarity", miner_epsilon=0)),
        "codes": MultiSimilarityOfCodes(
            MultiSimilarityOfCodesRecipe(kind="multi_similarity", of="codes", miner_epsilon=0)
        ),
    }[of]
    vectors, labels = batch(0, 3, 2, 0.0)
    vectors.requires_grad_()
    loss = objective(vectors, labels)
    loss.backward()
    assert loss.item() == 0 and vectors.grad is not None and not vectors.grad.any()
