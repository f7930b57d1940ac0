"""Windows: frames, glazing bars, curtains and what the glass reflects."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Pane:
    """One window that may be lit at night.

    Attributes:
        box: (x0, y0, x1, y1) pixels in its paint.
        shop: whether it belongs to a shop, which is lit more often and colder.
    """

    box: tuple[int, int, int, int]
    shop: bool


def paint_window(
    wall: np.ndarray,
    glass: np.ndarray,
    box: tuple[int, ...],
    style: str,
    trim: tuple[int, ...],
    random: np.random.Generator,
    scale: float,
) -> Pane:
    """Paints one window into a wall.

    Args:
        wall: (H, W, 3) uint8 RGB, painted in place.
        glass: (H, W) uint8, set to 255 where the glass is not covered by a frame.
        box: (x0, y0, x1, y1) pixels.
        style: "cross", "sash", "plain", "georgian", "arched", "band" or "shop".
        trim: RGB of the frame.
        random: where curtains and reflections come from.
        scale: pixels per metre.

    Returns:
        The window's place, for lighting it.
    """
    x0, y0, x1, y1 = (max(0, int(v)) for v in box)
    x1, y1 = min(x1, wall.shape[1]), min(y1, wall.shape[0])
    pane = Pane((x0, y0, x1, y1), style == "shop")
    if x1 - x0 < 4 or y1 - y0 < 4:
        return pane
    inside = _interior(random, y1 - y0, x1 - x0, style == "shop")
    clear = np.full(inside.shape[:2], 255, np.uint8)
    frame = [int(c) for c in trim]
    for bar, thick in _bars(style, x1 - x0, y1 - y0, max(1, round(0.055 * scale))):
        cv2.line(inside, bar[0], bar[1], frame, thick)
        cv2.line(clear, bar[0], bar[1], 0, thick)
    reveal = max(1, round(0.07 * scale))
    inside[:reveal] = (inside[:reveal] * 0.45).astype(np.uint8)
    inside[:, :reveal] = (inside[:, :reveal] * 0.7).astype(np.uint8)
    if style == "arched":
        keep = np.zeros(inside.shape[:2], np.uint8)
        radius = (x1 - x0) // 2
        cv2.ellipse(keep, (radius, radius), (radius, radius), 0, 180, 360, 255, -1)
        keep[radius:] = 255
        clear &= keep
        inside = np.where(keep[..., None] > 0, inside, wall[y0:y1, x0:x1])
    wall[y0:y1, x0:x1] = inside
    glass[y0:y1, x0:x1] = clear
    return pane


def _interior(random: np.random.Generator, height: int, width: int, shop: bool) -> np.ndarray:
    """What one sees in the glass by day: a dark room, curtains or goods, and the sky mirrored in it."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    sky = random.uniform(0.25, 0.9) * np.clip(1.15 - y / height, 0, 1)
    tilt = random.uniform(-0.8, 0.8)
    sheen = np.clip(np.sin((x + tilt * y) / max(width, 8) * random.uniform(3, 7) + random.uniform(0, 6)) * 2.5, 0, 1)
    dark = np.array([30, 34, 38], np.float32) * random.uniform(0.6, 1.4)
    room = np.broadcast_to(dark, (height, width, 3)).copy()
    if shop:
        for _ in range(random.integers(4, 12)):
            left, wide = random.integers(width), random.integers(3, max(4, width // 4))
            top = int(height * random.uniform(0.35, 0.9))
            cv2.rectangle(
                room, (int(left), top), (int(left + wide), height), [float(c) for c in random.uniform(40, 190, 3)], -1
            )
    elif random.random() < 0.65:
        cloth = random.uniform(120, 225) * np.array([1, random.uniform(0.9, 1), random.uniform(0.8, 1)])
        folds = (0.85 + 0.15 * np.sin(x[0] * random.uniform(0.8, 1.6)))[None, :, None] * cloth
        reach = random.uniform(0.12, 0.42) * width
        covered = y < random.uniform(0.2, 0.95) * height if random.random() < 0.3 else (x < reach) | (x > width - reach)
        room = np.where(covered[..., None], np.broadcast_to(folds, room.shape), room)
    mirrored = np.array([150, 172, 200], np.float32)
    share = np.clip(0.18 + 0.35 * sky + 0.18 * sheen * sky, 0, 0.8)[..., None]
    return np.ascontiguousarray(np.clip(room * (1 - share) + mirrored * share, 0, 255).astype(np.uint8))


def _bars(style: str, width: int, height: int, thick: int) -> list[tuple[tuple[tuple[int, int], tuple[int, int]], int]]:
    """The frame's and glazing bars' lines with their thickness."""
    right, bottom, middle = width - 1, height - 1, width // 2
    outline = [
        ((0, 0), (right, 0)),
        ((0, bottom), (right, bottom)),
        ((0, 0), (0, bottom)),
        ((right, 0), (right, bottom)),
    ]
    lines = [(line, 2 * thick) for line in outline]
    if style in ("cross", "arched"):
        lines += [(((middle, 0), (middle, bottom)), thick), (((0, height // 3), (right, height // 3)), thick)]
    elif style == "sash":
        lines.append((((0, height // 2), (right, height // 2)), thick + 1))
    elif style == "georgian":
        lines += [(((0, height * k // 4), (right, height * k // 4)), max(1, thick // 2)) for k in (1, 2, 3)]
        lines += [(((width * k // 3, 0), (width * k // 3, bottom)), max(1, thick // 2)) for k in (1, 2)]
        lines.append((((0, height // 2), (right, height // 2)), thick + 1))
    elif style == "band":
        lines += [(((width * k // 3, 0), (width * k // 3, bottom)), thick) for k in (1, 2)]
    return lines
