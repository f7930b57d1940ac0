"""Learned whitening: what differs within places stops telling pictures apart."""

import numpy as np
import pytest
import torch

from dsformer_core.training import learned_whitening
from dsformer_core.training.learned_whitening import whitening


def recall(queries: np.ndarray, references: np.ndarray) -> float:
    queries, references = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, references))
    return float(((queries @ references.T).argmax(axis=1) == np.arange(len(queries))).mean())


def test_what_changes_within_places_is_ignored() -> None:
    random = np.random.default_rng(0)
    places = random.normal(size=(400, 40)) * np.linspace(0.2, 1, 40)
    light = 2 * np.linalg.qr(random.normal(size=(40, 6)))[0].T  # six ways in which every picture may differ

    def pictures(places: np.ndarray) -> np.ndarray:
        return places + random.normal(size=(len(places), 6)) @ light + 0.05 * random.normal(size=places.shape) + 3

    projection, mean = whitening(np.stack([pictures(places[:300]) for _ in range(4)], axis=1), 24)
    assert projection.shape == (24, 40)
    queries, references = pictures(places[300:]), pictures(places[300:])
    assert recall((queries - mean) @ projection.T, (references - mean) @ projection.T) > 0.95
    assert recall(queries, references) < 0.5


def test_directions_come_by_what_they_tell() -> None:
    random = np.random.default_rng(1)
    strength = np.array([3.0, 1.0, 0.3])
    features = random.normal(size=(100, 1, 3)) * strength + random.normal(size=(100, 5, 3))
    projection, _ = whitening(features, 3)
    assert np.abs(projection).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_order_of_pictures_does_not_matter() -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(50, 1, 8)) + 0.3 * random.normal(size=(50, 3, 8))
    one, _ = whitening(features, 8)
    other, _ = whitening(features[random.permutation(50)][:, random.permutation(3)], 8)
    torch.testing.assert_close(torch.from_numpy(np.abs(one)), torch.from_numpy(np.abs(other)), atol=1e-6, rtol=1e-6)


def test_what_few_classes_do_not_tell_comes_by_how_much_it_varies() -> None:
    random = np.random.default_rng(3)
    strength = np.array([0.1, 0.1, 0.2, 1.0, 0.5, 2.0])
    features = np.zeros((3, 200, 6)) + random.normal(size=(3, 200, 6)) * strength
    features[:, :, :2] += np.array([[3.0, 0.0], [-3.0, 1.0], [0.0, -1.0]])[:, None]
    projection, _ = whitening(features, 6)
    assert np.abs(projection[2:]).argmax(axis=1).tolist() == [5, 3, 4, 2]
    disturbed, _ = whitening(features * (1 + 1e-7 * random.normal(size=features.shape)), 6)
    np.testing.assert_allclose(np.abs(disturbed), np.abs(projection), atol=1e-3 * projection.max())


def test_classes_in_blocks_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(4).normal(size=(21, 3, 8)).astype(np.float32)
    whole, mean = whitening(features, 8)
    within = (features - features.mean(axis=1, keepdims=True)).reshape(-1, 8).astype(np.float64)
    scatter = within.T @ within / len(within)
    scatter += np.trace(scatter) / 8 * np.eye(8)
    np.testing.assert_allclose(whole @ scatter @ whole.T, np.eye(8), atol=1e-5)
    monkeypatch.setattr(learned_whitening, "_BLOCK", 5)
    blocks, _ = whitening(features, 8)
    np.testing.assert_allclose(blocks, whole, atol=1e-9)
    np.testing.assert_allclose(mean, features.mean(axis=(0, 1)), atol=1e-6)
