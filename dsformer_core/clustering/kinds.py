"""Whether images are panoramas or ordinary pictures, by their shape.

Taken for panoramas, 90 degrees would be cut out of pictures that hold less, and nothing would fail.
"""

import numpy as np
import pyarrow as pa

from dsformer_core.clustering.inputs import Located
from dsformer_core.clustering.partition import PANORAMAS, PICTURES
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.pictures import PictureError, open_picture

# Width over height. A full turn is at least twice as wide as high (equirectangular; a little less where it was
# rounded), SF-XL's is 6.5 times. In between lie wide cameras' pictures, too: 2.4 in the cinema, 3.3 in KITTI.
_NARROWEST_PANORAMA = 1.95
_WIDEST_PICTURE = 4.0
# Images that are looked at, spread over all.
_SAMPLE = 15


def kind_of_images(located: Located, said: str | None) -> str:
    """The kind of images, by the median shape of some.

    Args:
        located: images.
        said: what they are said to be: ``panoramas``, ``pictures``, or None where shape decides.

    Raises:
        UsageError: images that are said to be panoramas are too narrow, or nothing is said and shape does not decide.
        DsformerError: nothing is said, and none of the images that were looked at can be read.
    """
    if said == PICTURES:
        return said
    assert located.images is not None and located.images_root is not None
    chosen = np.unique(np.linspace(0, len(located.images) - 1, _SAMPLE).astype(np.int64))
    seen: list[tuple[float, str]] = []
    unreadable: list[PictureError] = []
    for name in located.images.take(pa.array(chosen)).to_pylist():
        try:
            with open_picture(located.images_root / name) as picture:
                seen.append((picture.width / picture.height, f"{name}: {picture.width} x {picture.height} pixels"))
        except PictureError as error:
            unreadable.append(error)
    if not seen:
        if said is None:
            raise DsformerError(
                f"{unreadable[0]}; none of {len(chosen)} images can be read: say of which --kind they are"
            )
        return said
    aspect, words = sorted(seen)[len(seen) // 2]
    if aspect >= _WIDEST_PICTURE:
        return PANORAMAS
    if aspect < _NARROWEST_PANORAMA and said == PANORAMAS:
        raise UsageError(
            f"{words} are no panorama of a full turn, which is at least twice as wide as high: say --kind pictures"
        )
    if aspect >= _NARROWEST_PANORAMA and said is None:
        raise UsageError(
            f"{words} may be a panorama, or a picture of a wide camera: say --kind panoramas or --kind pictures"
        )
    return said or PICTURES
