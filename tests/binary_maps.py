"""What maps that are searched by codes are made of, for their tests."""

import numpy as np

from dsformer_core.place_map import IndexRequest
from tests.synthetic import ORIGIN, unit

BINARY = IndexRequest("binary")


def places(count: int, seed: int = 0, dimension: int = 512) -> np.ndarray:
    """Descriptors of several views of each place, which share most of what they say."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(1, dimension)) + random.normal(size=(max(1, count // 10), dimension))
    return unit(middles[random.integers(0, len(middles), count)] + 0.5 * random.normal(size=(count, dimension)))


def spots(count: int) -> np.ndarray:
    return ORIGIN + np.random.default_rng(1).uniform(-500, 500, (count, 2))
