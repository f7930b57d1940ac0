"""Sky: a gradient, clouds, the sun, and what stands on the horizon behind the town."""

import cv2
import numpy as np

from dsformer_core.sample_world.lighting import Light, encode
from dsformer_core.sample_world.seeding import generator, smooth_noise

WIDTH, HEIGHT = 1536, 384
LOWEST = np.radians(-6)
HIGHEST = np.radians(75)


def paint_sky(town_seed: int, light: Light, seed: int) -> np.ndarray:
    """Paints the whole sky as a panorama.

    Args:
        town_seed: decides the skyline.
        light: decides the colours.
        seed: of the drive; decides the clouds.

    Returns:
        (HEIGHT, WIDTH, 3) uint8 encoded light: columns go once around counter-clockwise from east, rows from
        `HIGHEST` down to `LOWEST`.
    """
    elevation = np.linspace(HIGHEST, LOWEST, HEIGHT, dtype=np.float32)[:, None]
    azimuth = np.linspace(0, 2 * np.pi, WIDTH, endpoint=False, dtype=np.float32)[None, :]
    lift = np.clip(np.sin(np.maximum(elevation, 0)), 0, 1) ** 0.6
    sky = light.horizon + (light.zenith - light.horizon) * lift[..., None]
    sky = np.broadcast_to(sky, (HEIGHT, WIDTH, 3)).astype(np.float32)
    sun_azimuth = np.arctan2(light.sun_direction[1], light.sun_direction[0])
    towards_sun = np.cos(elevation) * np.cos(light_elevation(light)) * np.cos(azimuth - sun_azimuth) + np.sin(
        elevation
    ) * np.sin(light_elevation(light))
    glow = (
        0.35 * np.clip(towards_sun, 0, 1) ** 12
        + 1.2 * np.clip(towards_sun, 0, 1) ** 160
        + 30.0 * (towards_sun > 0.99985)
    )
    sky = sky + glow[..., None] * light.sun * (1 - 0.9 * (light.clouds >= 1))
    cover, shading = _clouds(generator(seed, "clouds"), light.clouds)
    bright = (light.horizon * 0.55 + light.sky * 0.75 + light.sun * 0.25) * shading[..., None]
    fade = np.clip(elevation / 0.12, 0.25, 1)[..., None]
    sky = sky + (bright - sky) * cover[..., None] * fade
    _skyline(generator(town_seed, "skyline"), sky, elevation, light)
    return encode(sky)


def light_elevation(light: Light) -> float:
    """Radians of the sun above the horizon."""
    return float(np.arcsin(light.sun_direction[2]))


def _clouds(random: np.random.Generator, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) cover in [0, 1] and (H, W) brightness of the clouds."""
    shape = (HEIGHT, WIDTH // 2)
    lumps = cv2.resize(smooth_noise(random, shape, 90.0, 5), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    ramp = np.linspace(0, 1, 160, dtype=np.float32)
    lumps[:, -160:] = lumps[:, -160:] * (1 - ramp) + lumps[:, :1] * ramp
    threshold = 0.75 - 1.6 * amount
    cover = np.clip((lumps - threshold) * 1.8, 0, 1) if amount < 1 else np.full((HEIGHT, WIDTH), 0.85, np.float32)
    below = cv2.GaussianBlur(np.roll(lumps, -14, axis=0), (0, 0), 6)
    return cover, np.clip(0.92 + 0.22 * (lumps - below), 0.55, 1.25)


def _skyline(random: np.random.Generator, sky: np.ndarray, elevation: np.ndarray, light: Light) -> None:
    """Hills, towers and trees far away, in the colour of the haze."""
    azimuth = np.arange(WIDTH) / WIDTH * 2 * np.pi
    hills = sum(
        random.uniform(0.004, 0.018) * (1 + np.sin(k * azimuth + random.uniform(0, 6.3))) for k in (1, 2, 3, 5, 9)
    )
    trees = np.abs(smooth_noise(random, (1, WIDTH), 9.0, 3)[0]) * 0.008
    outline = hills + trees
    for _ in range(14):
        left, wide = random.integers(WIDTH), random.integers(4, 16)
        outline[left : left + wide] = np.maximum(outline[left : left + wide], random.uniform(0.03, 0.085))
    shade = light.haze * 0.55 + light.sky * np.array([0.10, 0.12, 0.10])
    below = elevation < outline[None, :]
    sky[below] = shade


def draw_sky(
    panorama: np.ndarray, camera_matrix: np.ndarray, rotation: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """The sky as a camera sees it.

    Args:
        panorama: from `paint_sky`.
        camera_matrix: (3, 3) intrinsics.
        rotation: (3, 3) world to camera.
        size: (width, height) pixels.

    Returns:
        (height, width, 3) uint8 encoded light.
    """
    width, height = size
    coarse = 8
    x = np.linspace(0, width - 1, width // coarse + 2)
    y = np.linspace(0, height - 1, height // coarse + 2)
    pixels = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1)
    rays = pixels @ np.linalg.inv(camera_matrix).T @ rotation
    elevation = np.arctan2(rays[..., 2], np.hypot(rays[..., 0], rays[..., 1]))
    heading = np.unwrap(np.unwrap(np.arctan2(rays[..., 1], rays[..., 0]), axis=1), axis=0)
    column = heading / (2 * np.pi) * WIDTH
    column -= np.floor(column.min() / WIDTH) * WIDTH
    row = (HIGHEST - elevation) / (HIGHEST - LOWEST) * (HEIGHT - 1)
    maps = [_upsample(grid.astype(np.float32), width, height) for grid in (column, row)]
    tripled = np.concatenate([panorama, panorama], axis=1)
    return cv2.remap(tripled, maps[0] % (2 * WIDTH - 1), maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _upsample(grid: np.ndarray, width: int, height: int) -> np.ndarray:
    """Linear interpolation whose corners are the grid's corners."""
    rows, columns = grid.shape
    to_grid = np.array([[(columns - 1) / max(width - 1, 1), 0, 0], [0, (rows - 1) / max(height - 1, 1), 0]])
    return cv2.warpAffine(grid, to_grid, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
