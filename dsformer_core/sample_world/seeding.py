"""Random numbers that depend on what is drawn, never on when it is drawn."""

from zlib import crc32

import cv2
import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """A generator of its own for one element of the world.

    Args:
        key: what names the element, e.g. ``(town_seed, "facade", 17)``. Integers may be negative.

    Returns:
        A generator whose stream depends on `key` alone.
    """
    return np.random.default_rng([crc32(part.encode()) if isinstance(part, str) else part & 0xFFFFFFFF for part in key])


def smooth_noise(random: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> np.ndarray:
    """Fractal value noise.

    Args:
        random: where the numbers come from.
        shape: (height, width) in pixels.
        cell: size of the coarsest lump in pixels.
        octaves: number of layers; each is half as coarse and half as strong as the one before.

    Returns:
        (height, width) float32, roughly in [-1, 1], mean near 0.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 1.0)
        grid = random.random((int(height / step) + 2, int(width / step) + 2), dtype=np.float32) * 2 - 1
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
    return total
