"""Videos whose frames say their number: H.264 with frames stored in another order than shown, at uneven times."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 30_000
BITS, CELL = 10, 32


def numbered(number: int) -> np.ndarray:
    """A picture of vertical bars: the bits of a number."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    return np.repeat(np.repeat(np.array(bits, np.uint8) * 255, CELL)[None, :, None], 240, 0).repeat(3, 2)


def number_in(picture: np.ndarray) -> int:
    """The number in an upright picture of any scale."""
    row = picture[picture.shape[0] // 2, :, 1]
    middles = ((np.arange(BITS) + 0.5) * len(row) / BITS).astype(int)
    return int(sum(1 << bit for bit, value in enumerate(row[middles]) if value > 128))


def write_video(
    path: Path, count: int, *, created: str | None = None, uneven: bool = False, keys: int = 30
) -> list[float]:
    """Writes ten frames a second; returns when each is shown, in seconds since the first."""
    random = np.random.default_rng(0)
    steps = random.integers(1500, 4500, count) if uneven else np.full(count, 3000)
    stamps = np.concatenate([[0], np.cumsum(steps)[:-1]])
    with av.open(str(path), "w") as container:
        if created is not None:
            container.metadata["creation_time"] = created
        stream = container.add_stream("libx264", rate=10, options={"g": str(keys), "bf": "3", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = BITS * CELL, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = int(stamp), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [float(stamp) / TICKS for stamp in stamps]
