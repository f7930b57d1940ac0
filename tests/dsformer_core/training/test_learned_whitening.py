"""Learned whitening: what differs within places stops telling pictures apart."""

import numpy as np
import torch

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

    classes = np.repeat(np.arange(300), 4)
    projection, mean = whitening(pictures(places[classes]), classes, 24)
    assert projection.shape == (24, 40)
    queries, references = pictures(places[300:]), pictures(places[300:])
    assert recall((queries - mean) @ projection.T, (references - mean) @ projection.T) > 0.95
    assert recall(queries, references) < 0.5


def test_directions_come_by_what_they_tell() -> None:
    random = np.random.default_rng(1)
    classes = np.repeat(np.arange(100), 5)
    strength = np.array([3.0, 1.0, 0.3])
    features = random.normal(size=(100, 3))[classes] * strength + random.normal(size=(500, 3))
    projection, _ = whitening(features, classes, 3)
    assert np.abs(projection).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_order_of_pictures_does_not_matter() -> None:
    random = np.random.default_rng(2)
    classes = np.repeat(np.arange(50), 3)
    features = random.normal(size=(50, 8))[classes] + 0.3 * random.normal(size=(150, 8))
    order = random.permutation(150)
    one, _ = whitening(features, classes, 8)
    other, _ = whitening(features[order], classes[order] + 7, 8)
    torch.testing.assert_close(torch.from_numpy(np.abs(one)), torch.from_numpy(np.abs(other)), atol=1e-6, rtol=1e-6)
