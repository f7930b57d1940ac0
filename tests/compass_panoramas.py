"""Panoramas whose colours say which way one looks: what a crop shows can be read off its pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

MIDDLE, SWING = 127.5, 110.0


def compass_panorama(width: int, height: int, heading_deg: float) -> np.ndarray:
    """Red and green are cosine and sine of the compass bearing, blue grows from the upper edge to the lower one."""
    bearing = np.radians(heading_deg + ((np.arange(width) + 0.5) / width - 0.5) * 360)
    picture = np.empty((height, width, 3))
    picture[..., 0] = MIDDLE + SWING * np.cos(bearing)
    picture[..., 1] = MIDDLE + SWING * np.sin(bearing)
    picture[..., 2] = ((np.arange(height) + 0.5) / height * 255)[:, None]
    return picture.round().astype(np.uint8)


def write_panorama(path: Path, width: int, height: int, heading_deg: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without chroma subsampling, so that colours stay with their columns.
    Image.fromarray(compass_panorama(width, height, heading_deg)).save(path, quality=95, subsampling=0)
    return path


def bearings_deg(crop: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (W,) compass bearing of every column."""
    red, green = crop[..., 0].mean(axis=0) - MIDDLE, crop[..., 1].mean(axis=0) - MIDDLE
    return np.degrees(np.arctan2(green, red)) % 360


def difference_deg(first: np.ndarray | float, second: np.ndarray | float) -> np.ndarray:
    """Between two bearings, in [-180, 180)."""
    return (np.asarray(first) - second + 180) % 360 - 180


def heights(crop: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H,) where every line was in the panorama, 0 the upper edge and 1 the lower one."""
    return crop[..., 2].mean(axis=1) / 255
