"""Procedural surfaces: what walls, roofs and fences are made of."""

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from dsformer_core.sample_world.seeding import smooth_noise

Painter = Callable[[np.random.Generator, tuple[int, int], np.ndarray, float], np.ndarray]


def paint_material(
    material: str, random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float
) -> np.ndarray:
    """Paints a flat piece of a material.

    Args:
        material: a key of `MATERIALS`.
        random: where the irregularities come from.
        shape: (height, width) in pixels.
        colour: (3,) RGB albedo in [0, 255].
        scale: pixels per metre.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    relief = MATERIALS[material](random, shape, colour, scale)
    weather = 1 + 0.07 * smooth_noise(random, shape, 3.0 * scale) + 0.025 * random.standard_normal(shape, np.float32)
    return np.clip(relief * weather[..., None], 0, 255).astype(np.uint8)


def _plaster(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    grain = smooth_noise(random, shape, 0.25 * scale, 2)
    streaks = cv2.resize(random.standard_normal((2, shape[1]), np.float32), (shape[1], shape[0]))
    streaks = cv2.GaussianBlur(streaks, (0, 0), 0.12 * scale + 0.3)
    return colour * (1 + 0.03 * grain - 0.10 * np.maximum(streaks, 0))[..., None]


def _courses(
    random: np.random.Generator, shape: tuple[int, int], scale: float, course: float, length: float, joint: float
) -> tuple[np.ndarray, np.ndarray]:
    """Running bond: per pixel a random number of its brick in [-1, 1], and whether it lies in a joint."""
    y = np.arange(shape[0]) / scale
    x = np.arange(shape[1]) / scale
    row = (y / course).astype(int)
    along = x[None, :] / length + 0.5 * (row % 2)[:, None]
    column = along.astype(int)
    tint = random.uniform(-1, 1, (row[-1] + 1, column.max() + 1)).astype(np.float32)
    in_joint = ((y / course) % 1 * course < joint)[:, None] | (along % 1 * length < joint)
    return tint[row[:, None], column], in_joint


def _brick(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    tint, joint = _courses(random, shape, scale, 0.085, 0.26, 0.018)
    hue = np.array([0.10, 0.14, 0.16], np.float32)
    bricks = colour * (1 + tint[..., None] * hue)
    mortar = 0.45 * colour + 0.55 * np.array([176, 170, 158])
    return np.where(joint[..., None], mortar, bricks)


def _stone(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    tint, joint = _courses(random, shape, scale, random.uniform(0.3, 0.5), random.uniform(0.6, 1.0), 0.025)
    grain = 0.05 * smooth_noise(random, shape, 0.15 * scale, 2)
    return colour * np.where(joint, 0.68, 1 + 0.09 * tint + grain)[..., None]


def _siding(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    phase = (np.arange(shape[0]) / scale / 0.16) % 1
    board = np.where(phase > 0.88, 0.66, 0.94 + 0.10 * phase)
    return colour * (board[:, None] * (1 + 0.04 * smooth_noise(random, shape, 0.6 * scale, 2)))[..., None]


def _timber(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    """Half-timbering: plaster panels between dark posts, rails and braces."""
    wall = np.ascontiguousarray(np.clip(_plaster(random, shape, colour, scale), 0, 255).astype(np.uint8))
    beam = [int(c) for c in random.uniform((48, 32, 22), (86, 58, 40))]
    thick = max(1, round(0.16 * scale))
    posts = np.arange(0, shape[1] + 1, random.uniform(1.0, 1.5) * scale)
    rails = np.arange(shape[0], -1, -1.45 * scale)
    for x in posts:
        cv2.line(wall, (int(x), 0), (int(x), shape[0]), beam, thick)
    for y in rails:
        cv2.line(wall, (0, int(y)), (shape[1], int(y)), beam, thick)
    for left, right in itertools.pairwise(posts):
        for low, high in itertools.pairwise(rails):
            if random.random() < 0.3:
                ends = (int(left), int(right)) if random.random() < 0.5 else (int(right), int(left))
                cv2.line(wall, (ends[0], int(low)), (ends[1], int(high)), beam, thick, cv2.LINE_AA)
    return wall.astype(np.float32)


def _panels(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    tint, joint = _courses(random, shape, scale, random.uniform(0.8, 1.6), random.uniform(1.2, 2.4), 0.03)
    return colour * np.where(joint, 0.6, 1 + 0.035 * tint)[..., None]


def _tiles(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    """Roof tiles: every course shades the one below."""
    tint, joint = _courses(random, shape, scale, 0.28, 0.24, 0.03)
    phase = (np.arange(shape[0]) / scale / 0.28) % 1
    return colour * ((0.78 + 0.28 * phase)[:, None] * np.where(joint, 0.8, 1 + 0.14 * tint))[..., None]


def _metal(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    seam = (np.arange(shape[1]) / scale / 0.5) % 1
    return colour * (np.where(seam < 0.06, 1.25, np.where(seam > 0.94, 0.7, 1.0)) * np.ones(shape))[..., None]


def _hedge(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    leaves = smooth_noise(random, shape, 0.35 * scale, 3) + 0.5 * random.standard_normal(shape, np.float32)
    return colour * (0.85 + 0.33 * leaves)[..., None]


def _planks(random: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, scale: float) -> np.ndarray:
    tint, _ = _courses(random, (1, shape[1]), scale, 1.0, 0.14, 0.0)
    gap = (np.arange(shape[1]) / scale / 0.14) % 1 < 0.12
    return colour * (np.where(gap, 0.4, 1 + 0.12 * tint) * np.ones(shape))[..., None]


MATERIALS: dict[str, Painter] = {
    "plaster": _plaster,
    "brick": _brick,
    "stone": _stone,
    "siding": _siding,
    "timber": _timber,
    "panels": _panels,
    "tiles": _tiles,
    "metal": _metal,
    "hedge": _hedge,
    "planks": _planks,
}
