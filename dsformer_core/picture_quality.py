"""What a picture shows at all: blurred, too dark, overexposed, or taken through a covered lens.

`measure` serves two purposes. A map's report compares pictures of one camera, and calls those blurred, dark or burnt
out that make the map worse (`place_map.inspection.image_quality`). `flaw_of` looks at one picture of an unknown camera:
it gives up where nothing can be recognised any more, and before that it only says what may be wrong, because a picture
at night or in rain still localizes.

Its thresholds come from two rendered towns that no network was trained on, by day and under each of the renderer's
other conditions: 260 pictures, made worse step by step, against maps made by day, with `dsformer_tiny`. The share whose
best match is right (at most 25 m off; guessing gives 0.2) is 0.96 as they are, and

| contrast | right | definition | right | clipped | right |
|---|---|---|---|---|---|
| 40 and more | 0.94 | 0.03 and more | 0.89 | up to 0.3 | 0.94 |
| 10 to 20 | 0.72 | 0.02 to 0.03 | 0.79 | 0.3 to 0.6 | 0.86 |
| 6 to 10 | 0.50 | 0.009 to 0.02 | 0.46 | 0.6 to 0.9 | 0.50 |
| 3 to 6 | 0.34 | 0.008 to 0.009 | 0.21 | 0.9 to 0.97 | 0.30 |
| below 3 | 0.21 | below 0.008 | 0.28 | above | 0.21 |

As they are, they have contrasts of 44 and more (at night in rain), definitions of 0.029 and more, and 0.01 clipped at
most; real photographs of streets have contrasts of 180 and more and definitions of 0.028 and more.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

DARK_LEVEL, CLIPPED_LEVEL = 16, 250
"""Grey levels of 255 below and above which a pixel shows nothing."""

LEAST_CONTRAST, POOR_CONTRAST = 3.0, 10.0
"""Grey levels between the darkest and the brightest hundredth of a picture below which it shows nothing, or little."""

LEAST_DEFINITION, POOR_DEFINITION = 0.008, 0.02
"""Detail per contrast below which a picture shows nothing but gradients, or little more."""

MOST_CLIPPED, POOR_CLIPPED = 0.97, 0.6
"""Share of all but white pixels from which on a picture shows nothing, or little."""

# Pixels of the shorter side: three for each one of the small picture, which averages their noise away.
_ENOUGH = 360
# No camera is four times as high as wide, and a message that says so must not cost more.
_WIDTH, _HEIGHT = 160, 640
# Pixels of the small picture: what is finer is a sensor's noise, what is coarser a street's light and shade.
_FINE, _COARSE = 1.0, 3.0


@dataclass(frozen=True)
class PictureQuality:
    """What was measured of a picture, made 160 pixels wide and grey.

    Attributes:
        mean: grey level, 0 to 255.
        contrast: grey levels between its 1st and 99th percentile, without noise.
        definition: standard deviation of its detail (what is 1 to 3 pixels wide, so without noise), across or along,
            whichever is less because motion blurs one of them, divided by the contrast.
        sharpness: variance of the Laplacian, grey levels squared: finer than `definition`, and raised by noise.
        dark: share of pixels that are all but black.
        clipped: share of pixels that are all but white.
    """

    mean: float
    contrast: float
    definition: float
    sharpness: float
    dark: float
    clipped: float


def measure(picture: npt.NDArray[Any]) -> PictureQuality:
    """Measures a picture.

    Args:
        picture: HxW or HxWx3 uint8, RGB, of any size.
    """
    # Of a large picture every so many pixels are enough, and ten times as fast.
    step = max(1, min(picture.shape[:2]) // _ENOUGH)
    if step > 1:
        size = picture.shape[1] // step, picture.shape[0] // step
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    height = min(max(3, round(picture.shape[0] * _WIDTH / picture.shape[1])), _HEIGHT)
    small = cv2.resize(picture, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    grey = (cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if small.ndim == 3 else small).astype(np.float32)
    fine = cv2.GaussianBlur(grey, (0, 0), _FINE)
    low, high = np.percentile(np.asarray(fine, np.float64), (1, 99))
    contrast = float(high - low)
    side = 2 * round(3 * _COARSE) + 1
    detail = min(
        float((fine - cv2.GaussianBlur(fine, size, _COARSE, sigmaY=_COARSE)).std()) for size in ((side, 1), (1, side))
    )
    return PictureQuality(
        mean=float(grey.mean()),
        contrast=contrast,
        definition=detail / contrast if contrast else 0.0,
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        dark=float((grey < DARK_LEVEL).mean()),
        clipped=float((grey > CLIPPED_LEVEL).mean()),
    )


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a picture, in words, and whether it is worth looking at all the same."""

    words: str
    useless: bool


def flaw_of(picture: npt.NDArray[Any]) -> Flaw | None:
    """What keeps a picture from being recognised; None where nothing does.

    Args:
        picture: HxWx3 uint8 RGB.
    """
    quality = measure(picture)
    level = f"mean {quality.mean:.0f} of 255"
    flat = quality.contrast < LEAST_CONTRAST
    if quality.clipped >= POOR_CLIPPED or (flat and quality.mean >= CLIPPED_LEVEL):
        return Flaw(f"the picture is overexposed ({level})", flat or quality.clipped >= MOST_CLIPPED)
    if quality.contrast < POOR_CONTRAST and quality.mean < DARK_LEVEL:
        cause = ": there is no light, or the lens may be covered" if flat else ""
        return Flaw(f"the picture is dark ({level}){cause}", flat)
    if flat:
        return Flaw(f"the picture is all of one shade ({level}): the lens may be covered", True)
    if quality.definition < POOR_DEFINITION:
        useless = quality.definition < LEAST_DEFINITION
        cause = ", or the lens may be covered or fogged" if useless else ""
        return Flaw(f"the picture is blurred (definition {quality.definition:.3f}){cause}", useless)
    return None
