"""From light to a picture: haze, glow, exposure, white balance, tone curve, noise."""

import cv2
import numpy as np

from dsformer_core.sample_world.camera import Camera, CameraPose
from dsformer_core.sample_world.canvas import Canvas
from dsformer_core.sample_world.lighting import DECODED
from dsformer_core.sample_world.scene import Scene
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.weather import drops_on_lens, falling_rain, wet_ground

SATURATION = 1.15 * np.eye(3) - 0.15 * np.array([0.2126, 0.7152, 0.0722])
"""Pushes colours away from the grey of equal luminance."""
CURVE_STEPS = 1024.0
TONE_CURVE = (255 * (1 - np.exp(-1.5 * (np.arange(4096) / CURVE_STEPS) ** 2)) ** (1 / 2.2)).astype(np.float32)
"""Grey level of the root of light, `CURVE_STEPS` entries per unit."""


def develop(canvas: Canvas, ground: np.ndarray, scene: Scene, pose: CameraPose, camera: Camera) -> np.ndarray:
    """Turns encoded light into the picture that a camera would store.

    Args:
        canvas: light and depth, oversampled.
        ground: (H, W) bool, where the canvas shows the ground.
        scene: the drive.
        pose: of the camera; with the seed it decides the noise.
        camera: size of the picture.

    Returns:
        (camera.height, camera.width, 3) uint8 RGB.
    """
    size = (camera.width, camera.height)
    light = cv2.LUT(cv2.resize(canvas.colour, size, interpolation=cv2.INTER_AREA), DECODED)
    near = cv2.resize(canvas.inverse_depth, size, interpolation=cv2.INTER_AREA)
    light_of = scene.light
    random = generator(
        scene.town.seed, scene.seed, "picture", *(round(v * 100) for v in (pose.easting, pose.northing, pose.yaw))
    )
    if scene.condition.light == "night":
        light = light * _headlights(near, camera)
    raining = scene.condition.weather == "rain"
    if raining:
        horizon = (camera.height - 1) / 2 + camera.focal_length * np.tan(pose.pitch)
        light = wet_ground(
            light, cv2.resize(ground.astype(np.float32), size, interpolation=cv2.INTER_AREA), horizon, random
        )
    clear = np.where(near > 0, np.exp(-light_of.haze_per_m / np.maximum(near, 1e-4)), 1.0).astype(np.float32)[..., None]
    light = light * clear + light_of.haze.astype(np.float32) * (1 - clear)
    if raining:
        light = falling_rain(light, light_of.sky, random)
        light = drops_on_lens(light, random)
    light = _glow(light)
    sensor = SATURATION @ np.diag(light_of.exposure * light_of.white_balance)
    light = np.maximum(cv2.transform(light, sensor), 0)
    grey = TONE_CURVE[np.minimum(np.sqrt(light) * np.float32(CURVE_STEPS), len(TONE_CURVE) - 1).astype(np.uint16)]
    grey += light_of.noise * random.standard_normal((*size[::-1], 1), np.float32)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _headlights(near: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W, 1) gain of what the vehicle's own headlights reach."""
    x = (np.arange(camera.width, dtype=np.float32) - (camera.width - 1) / 2) / camera.focal_length
    y = (np.arange(camera.height, dtype=np.float32) - (camera.height - 1) / 2) / camera.focal_length
    beam = np.exp(-((x[None, :] / 0.42) ** 2) - (((y - 0.10) / 0.16) ** 2)[:, None])
    return (1 + 9.0 * beam / (1 + (1 / np.maximum(near, 1e-3) / 16) ** 2))[..., None].astype(np.float32)


def _glow(light: np.ndarray) -> np.ndarray:
    """Light that scatters in the lens around what is very bright."""
    height, width = light.shape[:2]
    small = cv2.resize(light, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    small = np.maximum(small - 1.0, 0)
    halo = cv2.GaussianBlur(small, (0, 0), max(width / 320, 0.5)) + 0.6 * cv2.GaussianBlur(
        small, (0, 0), max(width / 90, 0.5)
    )
    return light + 0.35 * cv2.resize(halo, (width, height), interpolation=cv2.INTER_LINEAR)
