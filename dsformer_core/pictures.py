"""Picture files -> upright HxWx3 uint8 RGB arrays, or one line that says why not."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from dsformer_core.errors import DsformerError

Picture = npt.NDArray[np.uint8]

# 200 megapixels decode to 600 MB. Pillow's own guard against decompression bombs is one number per process, and would
# refuse what is allowed here; it is replaced.
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Pillow speaks of large pictures and damaged EXIF blocks on stderr; what matters of that is in a PictureError.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Not all that Pillow knows: EPS would start an interpreter, and most others never come from a camera.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "BMP", "GIF", "PPM")

_END_OF_JPEG = b"\xff\xd9"
# From OpenCV 4.11 on JPEGs are decoded to RGB, before that to BGR.
_COLOUR: int = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)
_JPEG_FLAGS = {
    scale: flag | _COLOUR | cv2.IMREAD_IGNORE_ORIENTATION
    for scale, flag in (
        (1, 0),
        (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
        (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
        (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    )
}

# EXIF orientation (EXIF 2.32, tag 0x0112) -> what makes the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureLoader(Protocol):
    """Decodes one picture; safe to call from any thread."""

    def __call__(self, *, at_least: tuple[int, int] | None = None) -> Picture:
        """Decodes it, perhaps smaller. See `read_picture`."""
        ...


class PictureError(DsformerError):
    """A picture cannot be read. The message starts with its name."""


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image.Image]:
    """Opens one picture file: its header is read, its pixels are not yet.

    Yields:
        The image. What goes wrong with it while the block runs becomes a PictureError, too.

    Raises:
        PictureError: names the file and says what is wrong with it.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise PictureError(f"{path}: {error.strerror or error}") from error
        yield stack.enter_context(_opened(file, str(path)))


def read_picture(path: str | Path, *, at_least: tuple[int, int] | None = None) -> Picture:
    """Reads one picture file.

    Grey, palette and CMYK pictures become RGB; transparency is dropped, as `PIL.Image.convert("RGB")` drops it; 16-bit
    samples keep their upper byte; of several frames the first is taken; EXIF orientation is applied.

    Args:
        path: a JPEG, PNG, TIFF, WebP, JPEG 2000, BMP, GIF or PPM file.
        at_least: width and height that suffice. A JPEG more than twice as large is decoded at 1/2, 1/4 or 1/8 of its
            size, several times faster, but never below this.

    Returns:
        HxWx3 uint8 RGB.

    Raises:
        PictureError: names the file and says what is wrong with it.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}") from error
    return decode_picture(data, str(path), at_least=at_least)


def decode_picture(data: bytes, name: str, *, at_least: tuple[int, int] | None = None) -> Picture:
    """The same for a picture file that is in memory.

    Args:
        data: what the file holds.
        name: what messages call it.
        at_least: see `read_picture`.

    Raises:
        PictureError: starts with `name` and says what is wrong.
    """
    with _opened(BytesIO(data), name) as image:
        if (
            image.format == "JPEG"
            and image.mode == "RGB"
            and (pixels := _decoded_jpeg(image, data, at_least)) is not None
        ):
            return pixels
        if at_least is not None:
            # The longer side for both, because the picture may yet be turned.
            image.draft(image.mode, (max(at_least), max(at_least)))
        return upright_rgb(image, name)


def _decoded_jpeg(image: Image.Image, data: bytes, at_least: tuple[int, int] | None) -> Picture | None:
    """The pixels of an ordinary JPEG through OpenCV: what Pillow gives, bit for bit, in a third of the time.

    Both stand on libjpeg-turbo, but Pillow copies the pixels three times. What is turned, damaged or cut short is left
    to Pillow, which says why.
    """
    ordinary = image.format == "JPEG" and image.mode == "RGB" and _orientation(image) == 1
    # Drivers of cameras fill their buffers up with zeros.
    if not ordinary or not data.rstrip(b"\0").endswith(_END_OF_JPEG):
        return None
    needed = 1 if at_least is None else max(at_least)
    fits = 1 if at_least is None else min(image.width // needed, image.height // needed)
    scale = next((scale for scale in (8, 4, 2) if scale <= fits), 1)
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), _JPEG_FLAGS[scale])
    if pixels is not None and _COLOUR == cv2.IMREAD_COLOR:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return pixels


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(_too_large(name, f"{width}x{height}"))
            yield image
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(_too_large(name, "its header claims more")) from error
    except UnidentifiedImageError as error:
        file.seek(0)
        reason = f"not a picture that can be read ({', '.join(FORMATS)})" if file.read(1) else "empty, 0 bytes"
        raise PictureError(f"{name}: {reason}") from error
    except MemoryError as error:
        raise PictureError(f"{name}: not enough memory to decode it") from error
    except Exception as error:
        # Pillow's decoders let many kinds escape on damaged data: OSError, SyntaxError, ValueError, struct.error, ...
        detail = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: damaged or cut short ({detail})") from error


def upright_rgb(image: Image.Image, name: str) -> Picture:
    """The pixels of an image of `open_picture`, as `read_picture` gives them; for who asked for a scale of its own.

    Args:
        image: opened, perhaps with a reduced scale asked for (`PIL.Image.Image.draft`).
        name: what messages call it.

    Raises:
        PictureError: its samples have no agreed brightness.
    """
    image.load()
    # Asked after loading: Pillow turns a TIFF while it loads it, and then no longer says that it should be.
    upright = _UPRIGHT.get(_orientation(image))
    rgb = _to_rgb(image, name)
    return np.array(rgb if upright is None else rgb.transpose(upright))


def _too_large(name: str, size: str) -> str:
    return f"{name}: too large ({size}; at most {MAX_PIXELS // 1_000_000} megapixels are read): scale it down"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or where the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        samples = np.asarray(image, np.int64)
        if samples.min() < 0 or samples.max() > 65535:
            raise PictureError(f"{name}: 32-bit samples have no agreed brightness: save it with 8 or 16 bits")
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise PictureError(f"{name}: floating-point samples have no agreed brightness: save it with 8 or 16 bits")
    if "transparency" in image.info:
        # Pillow warns about palettes with transparency that are converted in one step.
        image = image.convert("RGBA")
    return image.convert("RGB")
