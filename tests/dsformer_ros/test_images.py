import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.pictures import MAX_PIXELS, read_picture
from dsformer_ros.images import (
    ENCODINGS,
    ImageMessageError,
    decode,
    decode_compressed,
    decode_raw,
    libraries,
    raw_converters,
)

RAW = [(encoding, name) for encoding in ENCODINGS for name in raw_converters(encoding)]

# Smooth, so that neither chroma subsampling nor demosaicing loses much.
_rows, _columns = np.mgrid[0:48, 0:64]
PICTURE = np.stack([4 * _rows, 3 * _columns, 255 - 2 * _rows - _columns], axis=-1).astype(np.uint8)
GREY = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)


def bayer(order: str) -> np.ndarray:
    """A mosaic with the colours of `order` at (0,0), (0,1), (1,0), (1,1)."""
    mosaic = np.empty(PICTURE.shape[:2], np.uint8)
    for position, colour in enumerate(order):
        y, x = divmod(position, 2)
        mosaic[y::2, x::2] = PICTURE[y::2, x::2, "rgb".index(colour)]
    return mosaic


def yuv(first: str) -> np.ndarray:
    """BT.601 with a pair of pixels per colour, luma or chroma first."""
    limited = (
        PICTURE @ np.array([[65.738, -37.945, 112.439], [129.057, -74.494, -94.154], [25.064, 112.439, -18.285]]) / 256
    )
    luma, u, v = np.moveaxis(limited + np.array([16, 128, 128]), -1, 0).round().astype(np.uint8)
    chroma = np.where(np.arange(luma.shape[1]) % 2 == 0, u, v)
    return np.stack([luma, chroma] if first == "y" else [chroma, luma], axis=-1)


def samples_of(encoding: str) -> np.ndarray:
    """The picture as a camera of this encoding sends it."""
    if encoding.startswith("bayer_"):
        mosaic = bayer(encoding[6:10])
        return mosaic if encoding.endswith("8") else mosaic.astype(np.uint16) * 257
    if encoding in ("yuyv", "yuv422_yuy2"):
        return yuv("y")
    if encoding in ("uyvy", "yuv422"):
        return yuv("u")
    name = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}.get(encoding, encoding)
    channels = GREY if name.startswith("mono") else PICTURE if name.startswith("rgb") else PICTURE[..., ::-1]
    if name.startswith(("rgba", "bgra")):
        channels = np.dstack([channels, np.full(GREY.shape, 9, np.uint8)])
    return channels.astype(np.uint16) * 257 if name.endswith("16") else channels


def message_of(encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    samples = samples_of(encoding)
    height, width = samples.shape[:2]
    if samples.dtype == np.uint16:
        samples = samples.astype(">u2" if big_endian else "<u2").view(np.uint8)
    rows = samples.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    data = np.ascontiguousarray(rows).tobytes()
    return Image(
        height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(big_endian), data=data
    )


def expected(encoding: str) -> np.ndarray:
    grey = encoding in ("mono8", "mono16", "8UC1")
    return np.repeat(GREY[..., None], 3, 2) if grey else PICTURE


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(("encoding", "library"), RAW)
def test_every_encoding_becomes_rgb(encoding: str, padding: int, library: str) -> None:
    picture = decode_raw(message_of(encoding, padding), raw_converters(encoding)[library])
    inner = np.s_[2:-2, 2:-2]  # Demosaicing guesses at the border.
    difference = np.abs(picture[inner].astype(int) - expected(encoding)[inner])
    assert picture.shape == PICTURE.shape and picture.dtype == np.uint8
    assert difference.max() <= (6 if encoding.startswith(("bayer", "yuv", "uyvy", "yuyv")) else 1)


@pytest.mark.parametrize(("encoding", "library"), [pair for pair in RAW if pair[0] in ("mono16", "rgb16", "bgra16")])
def test_both_byte_orders_give_the_same_picture(encoding: str, library: str) -> None:
    convert = raw_converters(encoding)[library]
    little = decode_raw(message_of(encoding), convert)
    big = decode_raw(message_of(encoding, padding=2, big_endian=True), convert)
    np.testing.assert_array_equal(little, big)


def test_the_last_row_may_lack_its_padding() -> None:
    message = message_of("rgb8", padding=6)
    message.data = bytes(message.data)[:-6]
    np.testing.assert_array_equal(decode(message), PICTURE)


def changed(**fields: object) -> Image:
    message = message_of("rgb8")
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (changed(step=10), "step 10"),
        (changed(step=0), "step 0"),
        (changed(encoding="banana"), "encoding 'banana'"),
        (changed(encoding=""), "encoding ''"),
        (changed(encoding="32FC1"), "encoding '32FC1'"),
        (changed(width=0), "width 0"),
        (changed(height=0), "height 0"),
        (changed(data=bytes(100)), "cut short"),
        (changed(data=b""), "cut short"),
        (changed(step=64 * 3 + 50), "cut short"),
        (changed(width=20_000, height=20_000, step=60_000), "too large"),
        (changed(width=2**32 - 1, height=2**32 - 1, step=2**32 - 1), "too large"),
        (Image(), "encoding ''"),
        (Image(encoding="yuyv", width=3, height=2, step=6, data=bytes(12)), "odd"),
    ],
)
def test_an_image_that_contradicts_itself_is_refused_in_one_line(message: Image, word: str) -> None:
    with pytest.raises(ImageMessageError, match=word) as caught:
        decode(message)
    assert "\n" not in str(caught.value)


def file_of(kind: str, picture: np.ndarray = PICTURE) -> bytes:
    bgr = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    return cv2.imencode(f".{kind}", bgr)[1].tobytes()


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "webp", "bmp"])
def test_compressed_pictures_become_rgb(kind: str) -> None:
    picture = decode_compressed(CompressedImage(format=kind, data=file_of(kind)))
    assert np.abs(picture.astype(int) - PICTURE).mean() < (4 if kind in ("jpg", "webp") else 0.01)


@pytest.mark.parametrize(
    ("kind", "picture"),
    [("jpg", GREY), ("png", GREY), ("png", GREY.astype(np.uint16) * 257), ("png", PICTURE.astype(np.uint16) * 257)],
)
def test_grey_and_16_bit_files_become_rgb(kind: str, picture: np.ndarray) -> None:
    decoded = decode_compressed(CompressedImage(format=kind, data=file_of(kind, picture)))
    truth = PICTURE if picture.ndim == 3 else np.repeat(GREY[..., None], 3, 2)
    assert np.abs(decoded.astype(int) - truth).mean() < 2


def test_jpegs_are_read_as_the_map_builder_reads_them(tmp_path: Path) -> None:
    """Of a large one no more is decoded than the network needs, also where a driver has filled its buffer up."""
    noise = np.random.default_rng(0).integers(0, 256, (68, 120, 3), np.uint8)
    data = file_of("jpg", cv2.resize(noise, (1920, 1080)))
    (tmp_path / "a.jpg").write_bytes(data)
    sides = 224 * 12 // 5, 224 * 12 // 5
    expected = read_picture(tmp_path / "a.jpg", at_least=sides)
    assert expected.shape == (540, 960, 3)
    for content in (data, data + bytes(5_000)):
        found = decode(CompressedImage(format="jpeg", data=content), at_least=sides)
        np.testing.assert_array_equal(found, expected)


def huge_png() -> bytes:
    """A PNG whose header claims 20,000 x 20,000 pixels."""
    data = bytearray(file_of("png"))
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("form", "data", "word"),
    [
        ("jpeg", b"", "empty, 0 bytes"),
        ("jpeg", b"these are words, not a picture", "not a picture"),
        ("jpeg", file_of("jpg")[:20], "not a picture|cut short"),
        ("jpeg", file_of("jpg")[:-200], "cut short"),
        ("png", file_of("png")[:60], "damaged"),
        ("png", huge_png(), "too large|not a picture"),
        ("16UC1; compressedDepth png", file_of("png"), "depth"),
    ],
)
def test_a_compressed_image_that_is_none_is_refused_in_one_line(form: str, data: bytes, word: str) -> None:
    with pytest.raises(ImageMessageError, match=word) as caught:
        decode_compressed(CompressedImage(format=form, data=data))
    assert "\n" not in str(caught.value)


def test_the_limit_is_that_of_picture_files() -> None:
    assert MAX_PIXELS < 20_000 * 20_000


def test_some_library_knows_every_encoding() -> None:
    assert {encoding for encoding, _ in RAW} == set(ENCODINGS)


def test_both_libraries_are_named() -> None:
    assert "Image with" in libraries()


def test_without_any_library_the_reason_is_one_line() -> None:
    program = (
        "import sys; sys.modules['rosbags.image'] = None; sys.modules['cv_bridge'] = None\n"
        "from dsformer_ros.images import libraries\n"
        "try: libraries()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "DsformerError nothing here can decode rgb8 images: pip install rosbags-image\n"
