"""The samples of a sensor_msgs/Image, checked and put in order, whoever made the message: a node or a bag.

A message is checked here before any library touches it, because libraries trust what a message says about itself.
"""

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from dsformer_core.errors import DsformerError
from dsformer_core.pictures import MAX_PIXELS, Picture


class ImageMessageError(DsformerError):
    """An image message cannot be decoded. The message says which value is wrong."""


@dataclass(frozen=True)
class Layout:
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


# REP-118 and sensor_msgs/image_encodings. Single-channel 16-bit "16UC1" and "32FC1" are depth, not pictures.
LAYOUTS = {
    "mono8": Layout(1, 1, "mono8"),
    "8UC1": Layout(1, 1, "mono8"),
    "rgb8": Layout(1, 3, "rgb8"),
    "bgr8": Layout(1, 3, "bgr8"),
    "8UC3": Layout(1, 3, "bgr8"),
    "rgba8": Layout(1, 4, "rgba8"),
    "bgra8": Layout(1, 4, "bgra8"),
    "8UC4": Layout(1, 4, "bgra8"),
    "mono16": Layout(2, 1, "mono16"),
    "rgb16": Layout(2, 3, "rgb16"),
    "bgr16": Layout(2, 3, "bgr16"),
    "rgba16": Layout(2, 4, "rgba16"),
    "bgra16": Layout(2, 4, "bgra16"),
    "uyvy": Layout(1, 2, "yuv422", even_width=True),
    "yuv422": Layout(1, 2, "yuv422", even_width=True),
    "yuyv": Layout(1, 2, "yuv422_yuy2", even_width=True),
    "yuv422_yuy2": Layout(1, 2, "yuv422_yuy2", even_width=True),
    **{f"bayer_{order}8": Layout(1, 1, f"bayer_{order}8") for order in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{order}16": Layout(2, 1, f"bayer_{order}16") for order in ("rggb", "bggr", "gbrg", "grbg")},
}

ENCODINGS = tuple(LAYOUTS)
"""Encodings of raw images that are understood."""


class TightImage(NamedTuple):
    """The fields of a sensor_msgs/Image that converters read: no row padding, this machine's byte order."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Picture


class ImageMessage(Protocol):
    """A sensor_msgs/Image of rclpy or of rosbags."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def tight_image(message: ImageMessage) -> TightImage:
    """The same picture without row padding and in this machine's byte order.

    Raises:
        ImageMessageError: the message contradicts itself or is of a kind that is not read.
    """
    layout = _check(message)
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


def _check(message: ImageMessage) -> Layout:
    layout = LAYOUTS.get(message.encoding)
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
