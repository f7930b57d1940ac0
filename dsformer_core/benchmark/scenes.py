"""Pictures to measure with where none are given: they show nothing, but their sizes and files are a camera's."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (1280, 720)


def made_up_scene(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG of as many bytes as a camera makes of a street, about 0.1 per pixel.

    Args:
        seed: same seed, same picture.
        size: width and height.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    noise = rng.integers(0, 255, (height, width, 3), np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.8))
    brush = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        red, green, blue = (int(value) for value in rng.integers(0, 255, 3))
        brush.rectangle((x, y, x + width // 10, y + height // 5), fill=(red, green, blue))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
