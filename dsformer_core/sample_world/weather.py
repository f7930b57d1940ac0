"""Rain: a wet road that mirrors the street, streaks in the air, drops on the lens."""

import cv2
import numpy as np

from dsformer_core.sample_world.seeding import smooth_noise


def wet_ground(light: np.ndarray, ground: np.ndarray, horizon: float, random: np.random.Generator) -> np.ndarray:
    """Mirrors in the ground what stands above it.

    What a column shows above the line where its ground ends is mirrored about that line, which is exact for an upright
    wall and a level camera.

    Args:
        light: (H, W, 3) float32 linear light.
        ground: (H, W) float32, share of ground in a pixel.
        horizon: row of the horizon.
        random: where the ripples come from.

    Returns:
        The light of the wet street.
    """
    height, width = ground.shape
    on_ground = ground > 0.5
    run = np.where(on_ground.all(axis=0), height, np.argmin(on_ground[::-1], axis=0))
    contact = cv2.blur((height - run).astype(np.float32)[None], (5, 1))[0]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    ripple = smooth_noise(random, (height, width), max(width / 25, 2.0), 3)
    depth_below = rows - contact
    mirrored_row = contact - depth_below * (1 + 0.10 * ripple) + 1.5 * ripple
    mirrored_column = columns + 0.035 * depth_below * ripple
    soft = cv2.GaussianBlur(light, (0, 0), sigmaX=max(width / 400, 0.5), sigmaY=max(height / 60, 0.5))
    mirror = cv2.remap(soft, mirrored_column, mirrored_row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    grazing = np.exp(-np.maximum(rows - horizon, 0) / (0.22 * height))
    puddles = np.clip(0.75 + 0.5 * smooth_noise(random, (height, width), max(width / 6, 2.0), 2), 0.35, 1.2)
    share = (ground * np.clip((0.10 + 0.62 * grazing) * puddles, 0, 0.85))[..., None]
    return (light * (1 - share) + mirror * share).astype(np.float32)


def falling_rain(light: np.ndarray, sky: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Streaks of falling drops, lit by the sky.

    Args:
        light: (H, W, 3) float32 linear light.
        sky: (3,) light of the sky.
        random: where the drops fall.

    Returns:
        The light with rain before it.
    """
    height, width = light.shape[:2]
    veil = np.zeros((height, width), np.uint8)
    slant = random.normal(0, 0.12)
    count = int(width * height / 900)
    x, y = random.uniform(0, width, count), random.uniform(-0.1 * height, height, count)
    length = random.gamma(2.0, height / 60, count)
    for x0, y0, reach, shade in zip(x, y, length, random.uniform(20, 110, count), strict=True):
        cv2.line(veil, (int(x0), int(y0)), (int(x0 + slant * reach), int(y0 + reach)), int(shade), 1, cv2.LINE_AA)
    share = (cv2.GaussianBlur(veil, (0, 0), 0.6).astype(np.float32) / 255 * 0.55)[..., None]
    return light * (1 - share) + share * (0.9 * sky + 0.02).astype(np.float32)


def drops_on_lens(light: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A few drops on the lens, each a small blurred picture of the scene turned upside down."""
    height, width = light.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    share = np.zeros((height, width), np.float32)
    source_x, source_y = columns.copy(), rows.copy()
    for _ in range(int(random.integers(2, 9))):
        radius = random.uniform(0.008, 0.03) * width
        x, y = random.uniform(0, width), random.uniform(0, height)
        distance = np.hypot(columns - x, (rows - y) * 0.85) / radius
        inside = distance < 1
        source_x[inside] = (x - 3.5 * (columns - x))[inside]
        source_y[inside] = (y - 3.5 * (rows - y))[inside]
        share = np.maximum(share, np.clip((1 - distance) * 3, 0, 0.9))
    blurred = cv2.GaussianBlur(light, (0, 0), max(width / 130, 0.5))
    seen = cv2.remap(blurred, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return light * (1 - share[..., None]) + seen * share[..., None]
