"""What of a panorama or an ordinary picture is shown to a network: 90 degrees towards a focal point, or all there is.

A panorama is equirectangular and 360 degrees wide; its heading is the compass bearing of its centre column, so that a
column's bearing grows to the right and the seam lies opposite to the heading.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from dsformer_core.geodesy import UtmZone, grid_convergence, to_latlon
from dsformer_core.pictures import Picture, open_picture, upright_rgb

Array = npt.NDArray[np.float64]
Size = tuple[int, int]
"""Height and width in pixels."""

Aspect = Literal["keep", "squeeze"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)

FIELD_OF_VIEW_DEG = 90.0

# Of a pixel; what float arithmetic may add to an edge.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in pixels, not necessarily whole ones.

    Attributes:
        left: of its left edge; below 0 or beyond the width where it reaches across a panorama's seam.
        top: of its upper edge.
        width: at most the picture's.
        height: at most the picture's.
    """

    left: float
    top: float
    width: float
    height: float


def offsets_deg(positions: Array, focal: Array, heading_deg: Array, zone: UtmZone | None) -> Array:
    """How far right of a panorama's centre column a focal point is seen.

    Args:
        positions: (N, 2) metres, where the panoramas were taken.
        focal: (N, 2) metres.
        heading_deg: (N,) compass bearing of the centre columns, degrees clockwise from true north.
        zone: of both coordinates; None where unknown, then grid north is taken for true north.

    Returns:
        (N,) degrees in [-180, 180).
    """
    towards = focal - positions
    bearing = np.arctan2(towards[:, 0], towards[:, 1])
    if zone is not None:
        bearing = bearing + grid_convergence(*to_latlon(focal, zone), zone)
    return np.mod(np.degrees(bearing) - heading_deg + 180, 360) - 180


def panorama_window(
    picture: Size, offset_deg: float, aspect: Aspect, output: Size, *, field_of_view_deg: float = FIELD_OF_VIEW_DEG
) -> Window:
    """The part of a panorama that becomes a picture.

    Args:
        picture: height and width of the panorama.
        offset_deg: where the window's centre lies, degrees right of the centre column.
        aspect: ``squeeze`` takes the field of view and the whole height, as the official code does; ``keep`` takes of
            that the largest part with the proportions of `output`, about the same centre, as EigenPlaces takes a
            square.
        output: height and width of the picture that it becomes.
        field_of_view_deg: how far it reaches from side to side at most, in (0, 360].
    """
    height, width = picture
    centre = width * (0.5 + offset_deg / 360)
    return _window(centre, height, width * field_of_view_deg / 360, aspect, output)


def picture_window(picture: Size, aspect: Aspect, output: Size) -> Window:
    """The part of an ordinary picture that becomes a training picture: all, or what has the proportions of `output`."""
    height, width = picture
    return _window(width / 2, height, width, aspect, output)


def _window(centre: float, height: float, width: float, aspect: Aspect, output: Size) -> Window:
    kept_height, kept_width = height, width
    if aspect == "keep":
        scale = min(height / output[0], width / output[1])
        kept_height, kept_width = scale * output[0], scale * output[1]
    return Window(centre - kept_width / 2, (height - kept_height) / 2, kept_width, kept_height)


def read_views(
    path: str | Path, offsets: Sequence[float | None], size: Size, aspect: Aspect, *, enlarge: bool = True
) -> list[Picture]:
    """Reads views of one file, which is decoded once, with no more pixels than they need where it is a JPEG.

    Args:
        path: of a panorama or an ordinary picture.
        offsets: per view, degrees right of the panorama's centre column; None for an ordinary picture.
        size: height and width of each view.
        aspect: as for `panorama_window`.
        enlarge: whether views have `size` even where the file has fewer pixels for them.

    Returns:
        Per view (H, W, 3) uint8 RGB.

    Raises:
        PictureError: the file cannot be read.
    """
    with open_picture(path) as image:
        height, width = image.height, image.width
        # Every view of a file has a window of the same size.
        window = _window_of((height, width), offsets[0], aspect, size)
        if not enlarge:
            size = min(size[0], round(window.height)), min(size[1], round(window.width))
        # Reduced by 2, 4 or 8 as long as the window keeps the pixels that the view has.
        shrink = max(1.0, min(window.height / size[0], window.width / size[1]))
        image.draft(image.mode, (math.ceil(width / shrink), math.ceil(height / shrink)))
        pixels = upright_rgb(image, str(path))
    decoded = pixels.shape[0], pixels.shape[1]
    return [cut(pixels, _window_of(decoded, offset, aspect, size), size) for offset in offsets]


def _window_of(picture: Size, offset_deg: float | None, aspect: Aspect, size: Size) -> Window:
    if offset_deg is None:
        return picture_window(picture, aspect, size)
    return panorama_window(picture, offset_deg, aspect, size)


def cut(pixels: Picture, window: Window, size: Size) -> Picture:
    """A window of a picture, resized (bilinear, antialiased); beyond one side edge the other side follows.

    Args:
        pixels: (H, W, 3).
        window: what to take.
        size: height and width of the result.

    Returns:
        (*size, 3) uint8.
    """
    height, width = pixels.shape[:2]
    # The filter reaches a little beyond the window.
    margin = math.ceil(window.width / size[1]) + 1
    first, last = math.floor(window.left) - margin, math.ceil(window.left + window.width) + margin
    if window.left < -_ROUNDING or window.left + window.width > width + _ROUNDING:
        strip = pixels.take(np.arange(first, last), axis=1, mode="wrap")
    else:
        first, last = max(0, first), min(width, last)
        strip = np.ascontiguousarray(pixels[:, first:last])
    left, top = max(0.0, window.left - first), max(0.0, window.top)
    box = left, top, min(left + window.width, strip.shape[1]), min(top + window.height, height)
    return np.asarray(Image.fromarray(strip).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))
