"""sensor_msgs Image and CompressedImage -> HxWx3 uint8 RGB, or one line that says what is wrong with the message.

A message is checked here before any library touches it, because both libraries trust what a message says about itself.
The conversion is cv_bridge's where a small conversion shows that it works (its wheels and numpy 2 do not always agree),
else that of rosbags-image, which knows neither row padding nor grey JPEGs; both are dealt with before it is called.
"""

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.errors import DsformerError
from dsformer_core.pictures import MAX_PIXELS

Picture = npt.NDArray[np.uint8]

# Pillow loads most of its formats late, and until then does not know their names.
PillowImage.init()


class ImageMessageError(DsformerError):
    """An image message cannot be decoded. The message says which value is wrong."""


@dataclass(frozen=True)
class _Layout:
    """How the samples of one encoding lie in memory.

    Attributes:
        sample_bytes: bytes per sample, 1 or 2.
        channels: samples per pixel.
        name: what both libraries call the encoding (they agree on fewer names than cameras use).
        even_width: whether two neighbouring pixels share their colour.
    """

    sample_bytes: int
    channels: int
    name: str
    even_width: bool = False


_TRIAL_SIDE = 8

# What compressed transports send; image_transport's own are JPEG, PNG and TIFF.
_FILE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "BMP")

# REP-118 and sensor_msgs/image_encodings. Single-channel 16-bit "16UC1" and "32FC1" are depth, not pictures.
_ENCODINGS = {
    "mono8": _Layout(1, 1, "mono8"),
    "8UC1": _Layout(1, 1, "mono8"),
    "rgb8": _Layout(1, 3, "rgb8"),
    "bgr8": _Layout(1, 3, "bgr8"),
    "8UC3": _Layout(1, 3, "bgr8"),
    "rgba8": _Layout(1, 4, "rgba8"),
    "bgra8": _Layout(1, 4, "bgra8"),
    "8UC4": _Layout(1, 4, "bgra8"),
    "mono16": _Layout(2, 1, "mono16"),
    "rgb16": _Layout(2, 3, "rgb16"),
    "bgr16": _Layout(2, 3, "bgr16"),
    "rgba16": _Layout(2, 4, "rgba16"),
    "bgra16": _Layout(2, 4, "bgra16"),
    "uyvy": _Layout(1, 2, "yuv422", even_width=True),
    "yuv422": _Layout(1, 2, "yuv422", even_width=True),
    "yuyv": _Layout(1, 2, "yuv422_yuy2", even_width=True),
    "yuv422_yuy2": _Layout(1, 2, "yuv422_yuy2", even_width=True),
    **{f"bayer_{order}8": _Layout(1, 1, f"bayer_{order}8") for order in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{order}16": _Layout(2, 1, f"bayer_{order}16") for order in ("rggb", "bggr", "gbrg", "grbg")},
}

ENCODINGS = tuple(_ENCODINGS)
"""Encodings of raw images that are understood."""


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
    layout = _check_raw(message)
    convert = convert or _raw_converter(message.encoding)[1]
    try:
        return _rgb8(convert(_tight(message, layout)))
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


def _check_raw(message: Image) -> _Layout:
    layout = _ENCODINGS.get(message.encoding)
    if layout is None:
        raise ImageMessageError(
            f"image encoding '{message.encoding}' is not a picture's: known are {', '.join(ENCODINGS)}"
        )
    width, height, step, size = message.width, message.height, message.step, len(message.data)
    if not width or not height:
        raise ImageMessageError(f"image has no pixels: width {width}, height {height}")
    if width * height > MAX_PIXELS:
        raise ImageMessageError(f"image of {width}x{height} is too large: at most {MAX_PIXELS // 1_000_000} megapixels")
    if layout.even_width and width % 2:
        raise ImageMessageError(f"image width {width} is odd, but {message.encoding} stores pixels in pairs")
    row = width * layout.channels * layout.sample_bytes
    if step < row:
        raise ImageMessageError(
            f"image step {step} is wrong: a row of {width} {message.encoding} pixels takes {row} bytes"
        )
    # Some drivers leave out the padding of the last row, so nothing is missing without it.
    if size < step * (height - 1) + row:
        raise ImageMessageError(f"image data is cut short: {size} bytes, step x height is {step} x {height}")
    return layout


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


class TightImage(NamedTuple):
    """The fields of a sensor_msgs/Image that converters read: no row padding, this machine's byte order."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Picture


RawConverter = Callable[[TightImage], Any]
CompressedConverter = Callable[[CompressedImage], Any]


def _tight(message: Image, layout: _Layout) -> TightImage:
    row = message.width * layout.channels * layout.sample_bytes
    samples = np.frombuffer(message.data, np.uint8)
    if message.step != row:
        whole_rows = samples[: message.step * (message.height - 1)].reshape(-1, message.step)[:, :row]
        last_row = samples[message.step * (message.height - 1) :][:row]
        samples = np.concatenate([whole_rows.ravel(), last_row])
    samples = samples[: row * message.height]
    if layout.sample_bytes == 2:
        samples = samples.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False).view(np.uint8)
    return TightImage(message.height, message.width, layout.name, int(sys.byteorder == "big"), row, samples)


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
    layout = _ENCODINGS[encoding]
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
