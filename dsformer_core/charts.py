"""Small charts as SVG text and maps as PNG bytes, for pages that are read in light, in dark and on paper.

Charts take their colours from the page: `--accent` for what is shown, `--muted` for words, `--line` for axes.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_WIDTH, _HEIGHT = 380, 150
_FOOT = 18
_ROSE = 190


@dataclass(frozen=True)
class DotMap:
    """A picture of places.

    Attributes:
        png: the file's bytes.
        aspect: width over height.
        metres: how wide it is on the ground.
    """

    png: bytes
    aspect: float
    metres: float


def bars(counts: npt.ArrayLike, labels: Sequence[str], words: str) -> str:
    """Columns side by side, the highest with its number.

    Args:
        counts: (B,) heights, >= 0.
        labels: (B,) below them; empty where there is no room for one.
        words: what the chart shows, for those who cannot see it.
    """
    heights = np.asarray(counts, dtype=np.float64)
    most = max(float(heights.max(initial=0)), 1e-12)
    step = _WIDTH / len(heights)
    top = 14
    body = _HEIGHT - _FOOT - top
    parts = []
    for number, (height, label) in enumerate(zip(heights, labels, strict=True)):
        tall = body * height / most
        if height > 0:
            tall = max(tall, 1.5)
            parts.append(
                f'<rect x="{number * step + 0.1 * step:.1f}" y="{_HEIGHT - _FOOT - tall:.1f}" width="{0.8 * step:.1f}" '
                f'height="{tall:.1f}" rx="1.5" fill="var(--accent)"/>'
            )
        if label:
            parts.append(_text((number + 0.5) * step, _HEIGHT - 4, label))
    highest = int(np.argmax(heights))
    if heights[highest] > 0:
        place = min(max((highest + 0.5) * step, 16), _WIDTH - 16)
        parts.append(
            _text(place, 10, f"{heights[highest]:,.3g}" if heights[highest] < 1 else f"{heights[highest]:,.0f}")
        )
    axis = f'<path d="M0 {_HEIGHT - _FOOT}H{_WIDTH}" stroke="var(--line)"/>'
    return _svg(_WIDTH, _HEIGHT, words, axis + "".join(parts))


def histogram(values: npt.ArrayLike, edges: npt.ArrayLike, words: str, *, every: int = 1, unit: str = "") -> str:
    """How often values lie between edges; those beyond the ends are counted in the outermost columns.

    Args:
        values: (N,), NaN left out.
        edges: (B + 1,) ascending.
        words: as of `bars`.
        every: of how many columns one has its lower edge below it.
        unit: behind the first of these.
    """
    limits = np.asarray(edges, dtype=np.float64)
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    last = limits[-1] - 1e-9 * (limits[-1] - limits[0])
    counts, _ = np.histogram(np.clip(known, limits[0], last), limits)
    labels = [f"{edge:g}" if number % every == 0 else "" for number, edge in enumerate(limits[:-1])]
    labels[0] += unit
    return bars(counts, labels, words)


def rose(counts: npt.ArrayLike, words: str) -> str:
    """How much lies in which direction; the area of a petal is in proportion.

    Args:
        counts: (S,) of equal sectors of the compass, the first one's middle in the north, then clockwise.
        words: as of `bars`.
    """
    heights = np.asarray(counts, dtype=np.float64)
    middle, reach = _ROSE / 2, _ROSE / 2 - 14
    parts = [
        f'<circle cx="{middle}" cy="{middle}" r="{reach * share:.1f}" fill="none" stroke="var(--line)"/>'
        for share in (0.5, 1)
    ]
    half = np.pi / len(heights) * 0.9
    for number, length in enumerate(np.sqrt(heights / max(float(heights.max(initial=0)), 1e-12)) * reach):
        turn = 2 * np.pi * number / len(heights)
        ends = [
            (middle + length * np.sin(angle), middle - length * np.cos(angle)) for angle in (turn - half, turn + half)
        ]
        (left, top), (right, bottom) = ends
        parts.append(
            f'<path d="M{middle} {middle}L{left:.1f} {top:.1f}A{length:.1f} {length:.1f} 0 0 1 '
            f'{right:.1f} {bottom:.1f}Z" fill="var(--accent)" fill-opacity="0.85"/>'
        )
    for letter, turn in zip("NESW", np.arange(4) * np.pi / 2, strict=True):
        place = reach + 8
        parts.append(_text(middle + place * np.sin(turn), middle - place * np.cos(turn) + 4, letter))
    return _svg(_ROSE, _ROSE, words, "".join(parts))


def promises(points: Sequence[tuple[float, float, int]], words: str) -> str:
    """What was promised (to the right) against what was kept (up), a dot for each step, larger where there were more.

    Args:
        points: (promised share, kept share, how many).
        words: as of `bars`.
    """
    side, edge = _ROSE, 24
    inner = side - edge - 12

    def at(share: float, kept: float) -> tuple[float, float]:
        return edge + share * inner, 12 + (1 - kept) * inner

    (left, bottom), (right, top) = at(0, 0), at(1, 1)
    parts = [
        f'<path d="M{left} {bottom}H{right}M{left} {bottom}V{top}" stroke="var(--line)"/>',
        f'<path d="M{left} {bottom}L{right} {top}" stroke="var(--muted)" stroke-dasharray="3 4"/>',
        *(_text(at(share, 0)[0], side - 4, f"{share:g}") for share in (0, 0.5, 1)),
        *(_text(edge - 12, at(0, share)[1] + 4, f"{share:g}") for share in (0.5, 1)),
    ]
    total = max(sum(count for _, _, count in points), 1)
    for promised, kept, count in points:
        x, y = at(promised, kept)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 8 * np.sqrt(count / total):.1f}" fill="var(--accent)" '
            f'fill-opacity="0.75"><title>{count} promised {promised:.2f}, kept {kept:.2f}</title></circle>'
        )
    return _svg(side, side, words, "".join(parts))


def dot_map(
    places: npt.NDArray[np.float64],
    colours: npt.NDArray[np.uint8],
    within: npt.NDArray[np.float64],
    *,
    width: int = 1000,
) -> DotMap:
    """Places as dots on nothing, so that they lie on a page of any colour.

    Args:
        places: (N, 2) metres to the east and to the north, N >= 1.
        colours: (N, 3) of 255; where dots meet, the later one is seen.
        within: (2, 2), the south-western and the north-eastern corner of the picture, all places between them.
        width: pixels at most to either side.

    """
    margin = 10
    low, high = within
    extent = np.maximum(high - low, 20.0)
    scale = (width - 2 * margin) / float(extent.max())
    # A street that runs straight north would be a picture of a few pixels' width.
    size = np.maximum(extent * scale, (width - 2 * margin) / 3) + 2 * margin
    offset = (size - extent * scale) / 2
    pixels = np.rint((places - low + (extent - (high - low)) / 2) * scale + offset).astype(np.int64)
    pixels[:, 1] = int(size[1]) - pixels[:, 1]
    # Of those in one pixel the last is seen.
    _, last = np.unique(pixels[::-1] @ np.array([1, width * 4]), return_index=True)
    seen = np.sort(len(pixels) - 1 - last)
    radius = float(np.clip(160 / np.sqrt(len(seen)), 1.5, 7))
    image = Image.new("RGBA", (int(size[0]), int(size[1])), (0, 0, 0, 0))
    brush = ImageDraw.Draw(image)
    for (x, y), colour in zip(pixels[seen].tolist(), colours[seen].tolist(), strict=True):
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, 255))
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return DotMap(buffer.getvalue(), float(size[0] / size[1]), float(size[0] / scale))


def shades(values: npt.NDArray[np.float64], ramp: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] -> (N, 3) colours of 255 along a ramp of "#rrggbb"; NaN takes the first."""
    steps = np.array([[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in ramp])
    at = np.clip(np.nan_to_num(values), 0, 1) * (len(ramp) - 1)
    mixed = [np.interp(at, np.arange(len(ramp)), steps[:, channel]) for channel in range(3)]
    return np.rint(np.stack(mixed, axis=-1)).astype(np.uint8)


def _text(x: float, y: float, words: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="11" fill="var(--muted)">'
        f"{html.escape(words)}</text>"
    )


def _svg(width: float, height: float, words: str, inside: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(words, quote=True)}">{inside}</svg>'
    )
