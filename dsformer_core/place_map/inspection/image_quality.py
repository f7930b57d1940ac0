"""How good a map's pictures are, as far as their thumbnails tell: blurred, too dark, burnt out."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dsformer_core.picture_quality import measure
from dsformer_core.place_map.place_map import PlaceMap

MOST_PICTURES = 2_000
"""Thumbnails that are looked at, evenly chosen."""

BLURRED = 60.0
"""Variance of the Laplacian, grey levels squared, of a picture 160 pixels wide: pictures of sharp streets have 500
and more, after a Gaussian blur of a hundredth of their width some 30."""

BLURRED_BESIDE_OTHERS = 0.2
"""Share of the map's median sharpness below which a picture is blurred, too."""

DARK_SHARE, CLIPPED_SHARE = 0.6, 0.25
"""Share of such pixels from which on a picture is called dark, or burnt out: a bright sky is a fifth of many."""


@dataclass(frozen=True, eq=False)
class Quality:
    """What P thumbnails show.

    Attributes:
        rows: (P,) int64 rows of the map, ascending.
        sharpness: (P,) variance of the Laplacian, grey levels squared.
        dark: (P,) share of pixels that are all but black.
        clipped: (P,) share of pixels that are all but white.
    """

    rows: npt.NDArray[np.int64]
    sharpness: npt.NDArray[np.float64]
    dark: npt.NDArray[np.float64]
    clipped: npt.NDArray[np.float64]

    @property
    def blurred(self) -> npt.NDArray[np.bool_]:
        """(P,) which are blurred."""
        if not len(self.rows):
            return np.zeros(0, dtype=bool)
        return self.sharpness < max(BLURRED, BLURRED_BESIDE_OTHERS * float(np.median(self.sharpness)))

    @property
    def too_dark(self) -> npt.NDArray[np.bool_]:
        """(P,) which are too dark."""
        return self.dark > DARK_SHARE

    @property
    def burnt_out(self) -> npt.NDArray[np.bool_]:
        """(P,) which are burnt out."""
        return self.clipped > CLIPPED_SHARE


def image_quality(
    place_map: PlaceMap, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Quality:
    """Looks at a map's thumbnails; at none where it keeps none or they cannot be read.

    Args:
        place_map: the map.
        on_progress: called with how many were looked at, and how many will be.
    """
    chosen = np.unique(np.linspace(0, place_map.count - 1, min(place_map.count, MOST_PICTURES)).astype(np.int64))
    rows: list[int] = []
    measured: list[tuple[float, float, float]] = []
    for done, row in enumerate(chosen.tolist()):
        path = place_map.thumbnail_path(row)
        content = np.frombuffer(path.read_bytes(), np.uint8) if path else np.empty(0, np.uint8)
        grey = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
        if grey is not None:
            rows.append(row)
            quality = measure(grey)
            measured.append((quality.sharpness, quality.dark, quality.clipped))
        on_progress(done + 1, len(chosen))
    sharpness, dark, clipped = np.array(measured, dtype=np.float64).reshape(-1, 3).T
    return Quality(np.array(rows, dtype=np.int64), sharpness, dark, clipped)
