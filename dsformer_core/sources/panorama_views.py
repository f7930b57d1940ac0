"""Equirectangular panoramas cut into views, each with a heading of its own."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dsformer_core.panoramas import FIELD_OF_VIEW_DEG, cut, panorama_window
from dsformer_core.pictures import Picture, PictureError, PictureLoader, open_picture
from dsformer_core.sources.shared import Shared
from dsformer_core.sources.source import GeotaggedPicture, Skipped, Source

VIEWS = 8

# Panoramas kept decoded: the views of one are asked for one after the other, by a few threads.
_KEPT = 2


class PanoramaViews:
    """Any source whose pictures are panoramas, a whole turn wide, with the heading in the middle column."""

    def __init__(
        self, source: Source, *, views: int = VIEWS, fov: float = FIELD_OF_VIEW_DEG, detect: bool = False
    ) -> None:
        """Nothing is read yet.

        Args:
            source: gives the panoramas.
            views: how many each becomes, at equal angles.
            fov: degrees from side to side of each view, which is square.
            detect: whether only files twice as wide as high are panoramas, and the rest stay as they are.
        """
        self.name = source.name
        self._source = source
        self._offsets = [number * 360 / views for number in range(views)]
        self._fov = fov
        self._detect = detect

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Finds the source's pictures, and names their views. See `Source.scan`."""
        found, skipped = self._source.scan(on_progress)
        pictures = []
        for picture in found:
            try:
                is_panorama = not self._detect or _is_twice_as_wide(picture)
            except PictureError as error:
                skipped.append(Skipped(picture.image, str(error).removeprefix(f"{picture.image}: ")))
                continue
            if not is_panorama:
                pictures.append(picture)
            elif math.isnan(picture.heading_deg):
                skipped.append(Skipped(picture.image, "a panorama whose heading is unknown"))
            else:
                pictures += [self._view(picture, offset) for offset in self._offsets]
        return pictures, skipped

    def _view(self, panorama: GeotaggedPicture, offset: float) -> GeotaggedPicture:
        return replace(
            panorama,
            id=f"{panorama.id}@{offset:03.0f}",
            image=f"{panorama.image}#view={offset:03.0f}",
            load=partial(load_view, panorama.image, panorama.load, offset, self._fov),
            heading_deg=(panorama.heading_deg + offset) % 360,
            camera_yaw_deg=panorama.camera_yaw_deg - offset,
        )


def load_view(
    name: str, load: PictureLoader, offset: float, fov: float, *, at_least: tuple[int, int] | None = None
) -> Picture:
    """A square view of a panorama about its horizon. Safe to call from any thread.

    Args:
        name: of the panorama.
        load: decodes it.
        offset: where the view's centre lies, degrees right of the panorama's middle column.
        fov: degrees from side to side.
        at_least: width and height of the view that suffice.

    Returns:
        HxWx3 uint8 RGB, of as many pixels as the panorama has there.

    Raises:
        PictureError: the panorama cannot be read.
    """
    # A panorama is at least twice as wide as high: one of this height has a view of that width.
    side = 0 if at_least is None else math.ceil(max(at_least) * 180 / fov)
    pixels = _shared((name, side)).pixels(load)
    window = panorama_window((pixels.shape[0], pixels.shape[1]), offset, "keep", (1, 1), field_of_view_deg=fov)
    return np.ascontiguousarray(cut(pixels, window, (max(1, round(window.height)), max(1, round(window.width)))))


class _Decoded:
    """One panorama, decoded by the first thread that wants a view of it."""

    def __init__(self, key: tuple[str, int]) -> None:
        self._side = key[1]
        self._lock = threading.Lock()
        self._pixels: Picture | None = None

    def pixels(self, load: PictureLoader) -> Picture:
        with self._lock:
            if self._pixels is None:
                self._pixels = load(at_least=(self._side, self._side) if self._side else None)
            return self._pixels


_shared = Shared(_KEPT, _Decoded, lambda decoded: None)


def _is_twice_as_wide(picture: GeotaggedPicture) -> bool:
    if not Path(picture.image).is_file():
        return False
    with open_picture(picture.image) as image:
        return image.width == 2 * image.height
