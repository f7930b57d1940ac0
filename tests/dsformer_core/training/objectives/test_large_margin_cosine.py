import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.training.objectives import Classifier
from dsformer_core.training.recipe import LargeMarginCosineRecipe

DIM = 512


def reference(descriptors: np.ndarray, vectors: np.ndarray, classes: np.ndarray, scale: float, margin: float) -> float:
    """Equation 4 of the CosFace paper, in float64."""
    cosines = descriptors @ vectors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    cosines /= np.linalg.norm(vectors, axis=0)
    rows = np.arange(len(classes))
    cosines[rows, classes] -= margin
    logits = scale * cosines
    logits -= logits.max(axis=1, keepdims=True)
    return float(-(logits[rows, classes] - np.log(np.exp(logits).sum(axis=1))).mean())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(2, 40),
    scale=st.floats(1, 128),
    margin=st.floats(0, 0.9),
)
def test_it_is_the_large_margin_cosine_loss(seed: int, classes: int, scale: float, margin: float) -> None:
    torch.manual_seed(seed)
    classifier = Classifier(classes, DIM, LargeMarginCosineRecipe(scale=scale, margin=margin), 0.01)
    descriptors = torch.nn.functional.normalize(torch.randn(7, 512), dim=1)
    labels = torch.randint(classes, (7,))
    expected = reference(
        descriptors.double().numpy(), classifier.weight.detach().double().numpy(), labels.numpy(), scale, margin
    )
    assert abs(classifier(descriptors, labels).item() - expected) < 1e-3 * max(1.0, expected)


def test_half_precision_around_it_changes_neither_its_weights_nor_its_precision() -> None:
    torch.manual_seed(0)
    classifier = Classifier(10, DIM, LargeMarginCosineRecipe(), 0.01)
    descriptors, labels = torch.nn.functional.normalize(torch.randn(4, 512), dim=1), torch.arange(4)
    expected = classifier(descriptors, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = classifier(descriptors, labels)
        classifier(descriptors.half(), labels).backward()
    assert torch.equal(inside, expected)
    assert classifier.weight.dtype == torch.float32
    assert classifier.weight.grad is not None and torch.isfinite(classifier.weight.grad).all()


def test_an_easy_problem_is_solved_in_a_few_steps() -> None:
    """Starting vectors of the length that 0.01 is meant for: with longer ones Adam would hardly turn them."""
    torch.manual_seed(0)
    classifier = Classifier(50, DIM, LargeMarginCosineRecipe(), 0.01)
    descriptors = torch.nn.functional.normalize(torch.randn(50, 512), dim=1)
    for _ in range(30):
        classifier.optimizer.zero_grad()
        loss = classifier(descriptors, torch.arange(50))
        loss.backward()
        classifier.optimizer.step()
    assert loss.item() < 0.1


def test_it_moves_with_its_optimizer() -> None:
    classifier = Classifier(5, DIM, LargeMarginCosineRecipe(), 0.01)
    classifier(torch.randn(2, 512), torch.tensor([0, 1])).backward()
    classifier.optimizer.step()
    classifier.move(torch.device("meta"))
    (state,) = classifier.optimizer.state.values()
    assert state["exp_avg"].device.type == classifier.weight.device.type == "meta"
    assert state["step"].device.type == "cpu"


def test_imprinted_classes_are_recognised_at_once() -> None:
    torch.manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(6, 512), dim=1)
    classifier = Classifier(6, DIM, LargeMarginCosineRecipe(), 0.01)
    before = classifier.weight.norm(dim=0).mean()
    unknown = classifier(means, torch.arange(6))
    classifier.imprint(means)
    assert classifier(means, torch.arange(6)) < 0.01 * unknown
    torch.testing.assert_close(classifier.weight.norm(dim=0), before.expand(6))
