"""Pictures of every kind become upright RGB; what is none becomes one line that names it."""

import io
import struct
import warnings
import zlib
from tempfile import NamedTemporaryFile

import cv2
import numpy as np
import pytest
from PIL import Image

from dsformer_core.errors import DsformerError
from dsformer_core.pictures import MAX_PIXELS, PictureError, read_picture

GRADIENT = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes, **options) -> np.ndarray:
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read_picture(file.name, **options)


def with_opencv(samples: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, samples)[1].tobytes()


def claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(16))) + chunk(b"IEND", b"")


def test_rgb_comes_back_as_it_was(tmp_path):
    for suffix in ("png", "tiff", "bmp", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(COLOURS).save(path, lossless=True)
        picture = read_picture(path)
        assert picture.dtype == np.uint8 and picture.flags.writeable and picture.flags.c_contiguous
        np.testing.assert_array_equal(picture, COLOURS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_grey(kind):
    picture = decoded(encoded(Image.fromarray(GRADIENT), kind))
    assert picture.shape == (48, 64, 3)
    np.testing.assert_allclose(picture, np.repeat(GRADIENT[:, :, None], 3, axis=2), atol=4)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_keeps_its_upper_byte(suffix):
    picture = decoded(with_opencv(GRADIENT.astype(np.uint16) * 256 + 17, suffix))
    np.testing.assert_array_equal(picture[:, :, 0], GRADIENT)
    assert (picture == picture[:, :, :1]).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colour_keeps_its_upper_byte(suffix):
    samples = COLOURS[:, :, ::-1].astype(np.uint16) * 256 + 17
    np.testing.assert_array_equal(decoded(with_opencv(samples, suffix)), COLOURS)


def test_transparency_is_dropped():
    alpha = np.full((48, 64, 1), 7, np.uint8)
    rgba = Image.fromarray(np.concatenate([COLOURS, alpha], axis=2))
    np.testing.assert_array_equal(decoded(encoded(rgba, "PNG")), COLOURS)
    grey = Image.fromarray(np.concatenate([GRADIENT[:, :, None], alpha], axis=2), "LA")
    np.testing.assert_array_equal(decoded(encoded(grey, "PNG"))[:, :, 1], GRADIENT)


def test_cmyk_looks_like_its_rgb():
    smooth = Image.fromarray(np.stack([GRADIENT, GRADIENT[::-1], np.full_like(GRADIENT, 90)], axis=2))
    picture = decoded(encoded(smooth.convert("CMYK"), "JPEG", quality=95))
    np.testing.assert_allclose(picture, np.asarray(smooth), atol=12)


def test_palettes_and_bits_and_the_first_of_several_frames():
    red = Image.new("RGB", (5, 4), "red")
    expected = np.tile(np.array([255, 0, 0], np.uint8), (4, 5, 1))
    palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(decoded(encoded(palette, "PNG")), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoded(encoded(palette, "PNG", transparency=b"\0\1")), expected)
    frames = encoded(red, "GIF", save_all=True, append_images=[Image.new("RGB", (5, 4), "blue")])
    np.testing.assert_array_equal(decoded(frames), expected)
    assert (decoded(encoded(Image.new("1", (3, 3), 1), "PNG")) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation, kind):
    """The stored pixels are made by what the EXIF standard says each number means, not by Pillow's inverse."""
    stored = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: np.rot90(COLOURS),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOURS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    np.testing.assert_array_equal(decoded(data), COLOURS)


def test_a_damaged_exif_block_does_not_cost_the_picture():
    data = encoded(Image.fromarray(COLOURS), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert decoded(data).shape == (48, 64, 3)


def test_a_single_pixel():
    assert decoded(encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")).tolist() == [[[9, 8, 7]]]


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True, "quality": 40}])
@pytest.mark.parametrize(("at_least", "scale"), [(None, 1), (160, 2), (100, 4), (50, 8), (10, 8)])
def test_an_ordinary_jpeg_is_what_pillow_makes_of_it(options, at_least, scale):
    """Another library decodes those; the bits must not tell which."""
    noise = np.random.default_rng(0).integers(0, 256, (437, 611, 3), np.uint8)
    data = encoded(Image.fromarray(noise).resize((661, 437)), "JPEG", **options)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (image.width // scale, image.height // scale))
        expected = np.asarray(image)
    sides = None if at_least is None else (at_least, at_least)
    for content in (data, data + b"appended"):  # Pillow's turn where something follows
        found = decoded(content, at_least=sides)
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable and found.flags.c_contiguous


def test_a_large_jpeg_may_be_decoded_smaller_but_not_too_small():
    large = Image.fromarray(COLOURS).resize((1600, 1200))
    data = encoded(large, "JPEG")
    assert decoded(data).shape == (1200, 1600, 3)
    assert decoded(data, at_least=(300, 300)).shape == (300, 400, 3)
    assert decoded(data, at_least=(801, 10)).shape == (1200, 1600, 3)
    assert decoded(encoded(large, "PNG"), at_least=(100, 100)).shape == (1200, 1600, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decoded(encoded(large, "JPEG", exif=exif), at_least=(400, 300))
    assert turned.shape == (800, 600, 3)


JPEG = encoded(Image.fromarray(COLOURS), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty, 0 bytes"),
        (b"no picture", "not a picture"),
        (JPEG[: len(JPEG) // 2], "damaged or cut short"),
        (encoded(Image.fromarray(COLOURS), "PNG")[:-200], "damaged or cut short"),
        (JPEG[:10], "damaged or cut short"),
        (claiming(64, 48), "damaged or cut short"),
        (claiming(20_000, 20_000), "too large"),
        (claiming(60_000, 60_000), "too large"),
        (encoded(Image.fromarray(GRADIENT.astype(np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(GRADIENT.astype(np.int32) * 70_000), "TIFF"), "32-bit"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_it(tmp_path, data, reason):
    path = tmp_path / "street.jpg"
    path.write_bytes(data)
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert issubclass(PictureError, DsformerError)


def test_too_large_is_found_out_before_decoding_and_without_other_words():
    """Also where warnings are errors."""
    for width in (MAX_PIXELS // 1000 + 1, MAX_PIXELS // 400):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(PictureError, match="at most 200 megapixels"):
                decoded(claiming(width, 1000))


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(PictureError, match=r"missing\.jpg: No such file"):
        read_picture(tmp_path / "missing.jpg")
    with pytest.raises(PictureError, match="Is a directory"):
        read_picture(tmp_path)


def test_any_damage_is_a_picture_error_or_a_picture():
    """Every byte in turn, and no traceback."""
    for data in (JPEG, encoded(Image.fromarray(COLOURS[:8, :8]), "TIFF", compression="tiff_lzw")):
        for position in range(0, len(data), 7):
            damaged = bytearray(data)
            damaged[position] ^= 0xFF
            try:
                picture = decoded(bytes(damaged))
            except PictureError:
                continue
            assert picture.dtype == np.uint8 and picture.ndim == 3
