"""Pictures of a source -> shards of a build, on this machine."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial

import cv2
import numpy as np
import pyarrow as pa

from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Described, Extractor
from dsformer_core.pictures import Picture, PictureError
from dsformer_core.place_map.parts import RECORD, bytes_column
from dsformer_core.place_map.shards import Shards
from dsformer_core.sources import GeotaggedPicture, Skipped

THUMBNAIL_SIDE = 240
# Pixels. Networks take any picture, and describe the icons and placeholders among them, too.
SMALLEST_SIDE = 32


def describe_shards(
    pictures: Sequence[GeotaggedPicture],
    shards: Shards,
    numbers: Sequence[int],
    extractor: Extractor,
    *,
    source: str,
    batch_size: int,
    workers: int,
    thumbnails: bool,
    on_skipped: Callable[[Skipped], None] = lambda skipped: None,
) -> Generator[int, None, None]:
    """Describes the pictures of some shards in one stream and writes each shard when its last picture is done.

    A shard's bytes do not depend on what was described before it.

    Args:
        pictures: all of the source, N.
        shards: where they go.
        numbers: of the shards to make, ascending.
        extractor: the network.
        source: what pictures come from that do not say it themselves.
        batch_size: pictures that enter the network at a time.
        workers: threads that decode.
        thumbnails: whether small pictures are kept.
        on_skipped: called with each picture that cannot be used; what it raises ends the work.

    Yields:
        How many pictures are finished, one at a time.
    """
    rows = [row for number in numbers for row in shards.rows(number)]
    width, height = extractor.decode_size
    suffices = (max(width, THUMBNAIL_SIDE), max(height, THUMBNAIL_SIDE)) if thumbnails else (width, height)
    made: dict[int, bytes] = {}

    def load(row: int) -> Picture:
        picture = pictures[row].load(at_least=suffices)
        if min(picture.shape[:2]) < SMALLEST_SIDE:
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            raise PictureError(f"{pictures[row].image}: {size} pixels are too few to show a place")
        if thumbnails:
            made[row] = _thumbnail(picture)
        return picture

    stream = extractor.extract_pictures(
        (partial(load, row) for row in rows), batch_size=batch_size, workers=workers, together=shards.size
    )
    with closing(stream) as described:
        for number in numbers:
            kept: list[tuple[int, Described]] = []
            skipped: list[Skipped] = []
            for row in shards.rows(number):
                _, found = next(described)
                if isinstance(found, DsformerError):
                    image = pictures[row].image
                    skipped.append(Skipped(image, str(found).removeprefix(f"{image}: ")))
                    on_skipped(skipped[-1])
                else:
                    kept.append((row, found))
                if row != shards.rows(number)[-1]:
                    yield 1
            chosen = [(pictures[row], found, made.pop(row, None)) for row, found in kept]
            shards.write(number, records(chosen, source, shards.dtype), skipped)
            yield 1


def records(pictures: Sequence[tuple[GeotaggedPicture, Described, bytes | None]], source: str, dtype: str) -> pa.Table:
    """Described pictures in the columns of `RECORD`.

    Args:
        pictures: each with what the network says of it, and its thumbnail if there is one.
        source: what pictures come from that do not say it themselves.
        dtype: in which descriptors are kept.
    """
    if not pictures:
        return RECORD.empty_table()
    found = [described for _, described, _ in pictures]
    codes = [described.codes for described in found if described.codes is not None]
    columns = {name: [getattr(one, name) for one, _, _ in pictures] for name in RECORD.names if name in _OF_PICTURES}
    columns["source"] = [one.source or source for one, _, _ in pictures]
    return pa.table(
        columns
        | {
            "descriptor": bytes_column(np.concatenate([one.descriptors for one in found]).astype(dtype)),
            "code": bytes_column(np.concatenate(codes)) if codes else pa.nulls(len(found), pa.binary()),
            "thumbnail": [thumbnail for _, _, thumbnail in pictures],
        },
        schema=RECORD,
    )


_OF_PICTURES = frozenset(GeotaggedPicture.__dataclass_fields__)


def _thumbnail(picture: Picture) -> bytes:
    """A small JPEG."""
    height, width = picture.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return encoded.tobytes()
