"""sensor_msgs Image and CompressedImage -> HxWx3 uint8 RGB, or one line that says what is wrong with the message.

A CompressedImage holds a picture file, and is read as one. An Image is checked before any library touches it, because
both libraries trust what a message says about itself. The conversion is cv_bridge's where a small conversion shows that
it works (its wheels and numpy 2 do not always agree), else that of rosbags-image, which does not know row padding; that
is dealt with before it is called.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.errors import DsformerError
from dsformer_core.image_messages import ENCODINGS, LAYOUTS, ImageMessageError, TightImage, tight_image
from dsformer_core.pictures import Picture, PictureError, decode_picture

__all__ = [
    "ENCODINGS",
    "ImageMessageError",
    "Picture",
    "decode",
    "decode_compressed",
    "decode_raw",
    "libraries",
    "raw_converters",
]

_TRIAL_SIDE = 8


def decode(message: Image | CompressedImage, *, at_least: tuple[int, int] | None = None) -> Picture:
    """The picture in a message.

    Args:
        message: an Image of one of `ENCODINGS` with any row padding and byte order, or a CompressedImage that holds a
            picture file.
        at_least: width and height that suffice of a picture file, see `dsformer_core.pictures.read_picture`.

    Returns:
        HxWx3 uint8 RGB; 16-bit samples are scaled to 8 bits, alpha is dropped.

    Raises:
        ImageMessageError: the message contradicts itself or is of a kind that is not read.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message, at_least=at_least)
    return decode_raw(message)


def libraries() -> str:
    """Which library decodes what on this machine, in words.

    Raises:
        DsformerError: nothing here can decode image messages.
    """
    return f"Image with {_raw_converter('rgb8')[0]}, CompressedImage with OpenCV"


@cache
def _raw_converter(encoding: str) -> tuple[str, "RawConverter"]:
    for name, convert in raw_converters(encoding).items():
        return name, convert
    raise DsformerError(f"nothing here can decode {encoding} images: pip install rosbags-image")


def decode_raw(message: Image, convert: "RawConverter | None" = None) -> Picture:
    """`decode` for an Image, on request with a library of the caller's choice (one of `raw_converters`)."""
    image = tight_image(message)
    convert = convert or _raw_converter(message.encoding)[1]
    try:
        return _rgb8(convert(image))
    except Exception as error:
        # Whatever the library says about samples that passed the checks, the camera's next picture may be good.
        raise ImageMessageError(
            f"{message.encoding} image of {message.width}x{message.height}: {_line(error)}"
        ) from error


def decode_compressed(message: CompressedImage, *, at_least: tuple[int, int] | None = None) -> Picture:
    """`decode` for a CompressedImage, with what reads picture files: so a robot sees what its map was made of."""
    name = f"compressed image ('{message.format}')"
    if "compressedDepth" in message.format:
        raise ImageMessageError(f"{name} is a depth image, not a picture")
    try:
        return decode_picture(bytes(message.data), name, at_least=at_least)
    except PictureError as error:
        raise ImageMessageError(str(error)) from error


RawConverter = Callable[[TightImage], Any]


def _rgb8(picture: Any) -> Picture:
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError("the converter returned no RGB picture")
    return picture


def raw_converters(encoding: str) -> dict[str, RawConverter]:
    """Every library on this machine that passes a trial with Images of one encoding, the preferred one first."""
    candidates: dict[str, RawConverter] = {}
    with suppress(Exception):  # cv_bridge built against another numpy fails with more than ImportError.
        from cv_bridge import CvBridge

        bridge = CvBridge()
        candidates["cv_bridge"] = lambda image: bridge.imgmsg_to_cv2(image, "rgb8")
    with suppress(ImportError):
        from rosbags.image import image_to_cvimage

        to_rgb8: Callable[[Any, str], Any] = image_to_cvimage
        candidates["rosbags-image"] = lambda image: to_rgb8(image, "rgb8")
    return {name: convert for name, convert in candidates.items() if _converts_grey(encoding, convert)}


def _converts_grey(encoding: str, convert: RawConverter) -> bool:
    """Whether samples of half the range become middle grey; ports of cv_bridge know 8 bits but not always 16."""
    layout = LAYOUTS[encoding]
    row = _TRIAL_SIDE * layout.channels * layout.sample_bytes
    data = np.full(row * _TRIAL_SIDE, 128, np.uint8).tobytes()
    trial = Image(height=_TRIAL_SIDE, width=_TRIAL_SIDE, encoding=encoding, step=row, data=data)
    with suppress(ImageMessageError):
        # YUV is stretched from its limited range, to 130.
        return bool(np.all(np.abs(decode_raw(trial, convert).astype(int) - 128) <= 3))
    return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
