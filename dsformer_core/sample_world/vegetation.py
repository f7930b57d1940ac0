"""Trees, painted once per kind and season."""

from functools import lru_cache

import cv2
import numpy as np

from dsformer_core.sample_world.facade_texture import Paint
from dsformer_core.sample_world.seeding import generator

SIZE = 512
BROADLEAVED = 10
CONIFERS = 3
_LEAVES = {
    "summer": [(70, 104, 36), (88, 120, 44), (54, 88, 40), (104, 126, 56)],
    "autumn": [(190, 112, 30), (170, 74, 28), (204, 156, 44), (128, 112, 46)],
}


@lru_cache(maxsize=64)
def paint_tree(kind: int, season: str) -> Paint:
    """Paints a tree that fills a square of one metre, to be stretched to its height.

    Args:
        kind: below `BROADLEAVED` a deciduous tree, the next `CONIFERS` evergreen.
        season: one of `conditions.SEASONS`; deciduous trees are bare in winter.

    Returns:
        RGBA paint.
    """
    random = generator(kind, "tree")
    paint = np.zeros((SIZE, SIZE, 4), np.uint8)
    if kind >= BROADLEAVED:
        _conifer(random, paint, season)
        return Paint(paint, SIZE)
    colour = np.array(_LEAVES.get(season, _LEAVES["summer"])[kind % 4]) * random.uniform(0.85, 1.15)
    paint[..., :3] = (70, 60, 50) if season == "winter" else np.clip(colour * 0.6, 0, 255)
    bark = random.uniform(0.8, 1.2) * np.array([74, 62, 52])
    trunk = SIZE * random.uniform(0.24, 0.30)
    forks = 7 if season == "winter" else 4
    _branch(random, paint, np.array([SIZE / 2, SIZE - 1.0]), -np.pi / 2, trunk, SIZE * 0.04, bark, forks)
    if season != "winter":
        _crown(random, paint, colour)
    return Paint(paint, SIZE)


def _branch(
    random: np.random.Generator, paint: np.ndarray, base: np.ndarray, angle: float, length: float, thick: float,
    bark: np.ndarray, depth: int,
) -> None:  # fmt: skip
    tip = np.clip(base + length * np.array([np.cos(angle), np.sin(angle)]), 0.03 * SIZE, 0.97 * SIZE)
    shade = random.uniform(0.75, 1.15)
    ends = [tuple(int(v * 16) for v in point) for point in (base, tip)]
    cv2.line(paint, ends[0], ends[1], (*(bark * shade), 255), max(1, round(thick)), cv2.LINE_AA, 4)
    if depth:
        for _ in range(2 if length < 0.2 * SIZE else 3):
            turn = random.normal(0, 0.5) + random.choice((-0.3, 0.3))
            upward = float(np.clip(angle + turn, -np.pi + 0.25, -0.25))
            _branch(random, paint, tip, upward, length * random.uniform(0.6, 0.86), thick * 0.62, bark, depth - 1)


def _crown(random: np.random.Generator, paint: np.ndarray, colour: np.ndarray) -> None:
    """Clumps of leaves: dark and deep first, light and near last."""
    wide, high = random.uniform(0.30, 0.44), random.uniform(0.24, 0.33)
    centre = np.array([0.5, high + 0.04])
    clumps = 60
    for order in range(clumps):
        light = order / clumps
        angle, radius = random.uniform(0, 2 * np.pi), np.sqrt(random.uniform(0, 1)) * (1 - 0.25 * light)
        middle = centre + np.array([wide * radius * np.cos(angle), high * radius * np.sin(angle) - 0.05 * light])
        count = 150
        leaves = middle + random.normal(0, 0.042, (count, 2)) * [1.15, 0.9]
        upward = np.clip((middle[1] + 0.04 - leaves[:, 1]) / 0.1, -0.5, 1)
        height = np.clip(1 - leaves[:, 1] / (2 * high), 0, 1)
        shades = (0.42 + 0.4 * light + 0.3 * upward * light + 0.22 * height) * random.uniform(0.8, 1.2, count)
        for (x, y), shade in zip(leaves, shades, strict=True):
            tone = np.clip(colour * shade, 0, 255)
            radii = (int(random.integers(3, 6)), int(random.integers(2, 4)))
            cv2.ellipse(
                paint,
                (int(x * SIZE), int(y * SIZE)),
                radii,
                float(random.uniform(0, 180)),
                0,
                360,
                (*tone, 255),
                -1,
                cv2.LINE_AA,
            )


def _conifer(random: np.random.Generator, paint: np.ndarray, season: str) -> None:
    colour = np.array([48, 74, 44]) * random.uniform(0.8, 1.2)
    paint[..., :3] = np.clip(colour * 0.7, 0, 255)
    cv2.line(paint, (SIZE // 2, SIZE - 1), (SIZE // 2, SIZE // 2), (70, 56, 44, 255), 10)
    slim = random.uniform(0.20, 0.30)
    for y in np.linspace(0.03, 0.92, 60):
        reach = slim * y + 0.01
        for _ in range(int(12 + 60 * y)):
            x = random.uniform(-1, 1) * reach
            shade = random.uniform(0.55, 1.2) * (1 - 0.4 * abs(x) / reach)
            tone = np.clip(colour * shade, 0, 255)
            if season == "winter" and random.random() < 0.3:
                tone = np.array([214.0, 220.0, 228.0]) * min(shade + 0.2, 1.0)
            top = (int((0.5 + x) * SIZE), int((y - 0.015) * SIZE))
            foot = (int((0.5 + x * 1.15) * SIZE), int((y + 0.03 + 0.03 * abs(x) / reach) * SIZE))
            cv2.line(paint, top, foot, (*tone, 255), 3, cv2.LINE_AA)
