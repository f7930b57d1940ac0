"""sensor_msgs Image and CompressedImage -> HxWx3 uint8 RGB, or one line that says what is wrong with the message.

A message is checked before any library touches it, because both libraries trust what a message says about itself. The
conversion is cv_bridge's where a small conversion shows that it works (its wheels and numpy 2 do not always agree),
else that of rosbags-image, which knows neither row padding nor grey JPEGs; both are dealt with before it is called.
"""

import io
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.errors import DsformerError
from dsformer_core.image_messages import ENCODINGS, LAYOUTS, ImageMessageError, TightImage, tight_image
from dsformer_core.pictures import MAX_PIXELS, Picture

__all__ = [
    "ENCODINGS",
    "ImageMessageError",
    "Picture",
    "compressed_converters",
    "decode",
    "decode_compressed",
    "decode_raw",
    "libraries",
    "raw_converters",
]

# Pillow loads most of its formats late, and until then does not know their names.
PillowImage.init()

_TRIAL_SIDE = 8

# What compressed transports send; image_transport's own are JPEG, PNG and TIFF.
_FILE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "BMP")


def decode(message: Image | CompressedImage) -> Picture:
    """The picture in a message.

    Args:
        message: an Image of one of `ENCODINGS` with any row padding and byte order, or a CompressedImage that holds a
            picture file.

    Returns:
        HxWx3 uint8 RGB; 16-bit samples are scaled to 8 bits, alpha is dropped.

    Raises:
        ImageMessageError: the message contradicts itself or is of a kind that is not read.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message, _compressed_converter()[1])
    return decode_raw(message)


def libraries() -> str:
    """Which library decodes what on this machine, in words.

    Raises:
        DsformerError: nothing here can decode image messages.
    """
    return f"Image with {_raw_converter('rgb8')[0]}, CompressedImage with {_compressed_converter()[0]}"


@cache
def _raw_converter(encoding: str) -> tuple[str, "RawConverter"]:
    for name, convert in raw_converters(encoding).items():
        return name, convert
    raise DsformerError(f"nothing here can decode {encoding} images: pip install rosbags-image")


@cache
def _compressed_converter() -> tuple[str, "CompressedConverter"]:
    for name, convert in compressed_converters().items():
        return name, convert
    raise DsformerError("nothing here can decode compressed images: pip install rosbags-image")


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


def decode_compressed(message: CompressedImage, convert: "CompressedConverter") -> Picture:
    """`decode` for a CompressedImage, with a library of the caller's choice (one of `compressed_converters`)."""
    _check_compressed(message)
    try:
        return _rgb8_of_opencv(convert(message))
    except Exception as error:
        raise ImageMessageError(f"compressed image ('{message.format}') is damaged: {_line(error)}") from error


def _check_compressed(message: CompressedImage) -> None:
    if "compressedDepth" in message.format:
        raise ImageMessageError(f"compressed image ('{message.format}') is a depth image, not a picture")
    data = bytes(message.data)
    if not data:
        raise ImageMessageError(f"compressed image ('{message.format}') is empty")
    try:
        # Reads the header only. OpenCV would allocate whatever the header claims.
        with PillowImage.open(io.BytesIO(data), formats=_FILE_FORMATS) as header:
            width, height = header.size
    except PillowImage.DecompressionBombError:
        raise ImageMessageError(
            f"compressed image is too large: at most {MAX_PIXELS // 1_000_000} megapixels"
        ) from None
    except Exception as error:
        # Pillow's parsers let many kinds of exception escape on damaged headers.
        raise ImageMessageError(f"compressed image ('{message.format}') is not a picture: {len(data)} bytes") from error
    if width * height > MAX_PIXELS:
        raise ImageMessageError(f"compressed image of {width}x{height} is too large")
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-1024:]:
        # OpenCV paints the missing part grey and says nothing; a half-grey street is no street.
        raise ImageMessageError(f"compressed image ('{message.format}') is cut short: no end-of-image marker")


RawConverter = Callable[[TightImage], Any]
CompressedConverter = Callable[[CompressedImage], Any]


def _rgb8(picture: Any) -> Picture:
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError("the converter returned no RGB picture")
    return picture


def _rgb8_of_opencv(picture: Any) -> Picture:
    """What OpenCV decodes a picture file to (grey, BGR or BGRA) as RGB."""
    if picture is None:
        raise ValueError("it cannot be decoded")
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 2 or picture.shape[2] == 1:
        return _rgb8(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
    return _rgb8(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB if picture.shape[2] == 3 else cv2.COLOR_BGRA2RGB))


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


def compressed_converters() -> dict[str, CompressedConverter]:
    """Every library on this machine that passes a trial with a CompressedImage, the preferred one first."""
    candidates: dict[str, CompressedConverter] = {}
    with suppress(Exception):
        from cv_bridge import CvBridge

        candidates["cv_bridge"] = CvBridge().compressed_imgmsg_to_cv2
    with suppress(ImportError):
        from rosbags.image import compressed_image_to_cvimage

        candidates["rosbags-image"] = compressed_image_to_cvimage
    png = cv2.imencode(".png", np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))[1]
    trial = CompressedImage(format="png", data=png.tobytes())
    return {name: convert for name, convert in candidates.items() if _converts_colours(trial, convert)}


def _converts_colours(trial: CompressedImage, convert: CompressedConverter) -> bool:
    with suppress(ImageMessageError):
        return decode_compressed(trial, convert).tolist() == [[[3, 2, 1], [6, 5, 4]]]
    return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
