"""Pictures of any size -> what a network gets of them.

Between the two stands one antialiased bilinear resize of the whole picture, as in training. On a CPU it is
torchvision's, on uint8: of photographs within 0.01/255 of Pillow's on average, and eight times faster. On a GPU it is
PyTorch's, rounded where Pillow rounds (`resize_on_device`): within as much where a CPU computes it. CUDA has kernels of
its own for it, which nobody has compared.
"""

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dsformer_core.models.registry import Preprocessing
from dsformer_core.pictures import Picture

REDUCED_AT_LEAST = 2.4
"""Times the network's size below which a JPEG is not decoded at a fraction of its own. libjpeg reduces by leaving out
fine structure, which the resize would have weighed otherwise. Of photographs the network then gets what it would get of
the full decode within 0.45 grey levels of 255 on average, of which rounding to uint8 alone makes 0.27, and descriptors
keep a cosine of 0.999. At 1.6, which would halve 1280x720 for 224x224, it would be 0.7 grey levels and 0.997."""

RESIZING_DEVICES = ("cuda",)
"""Kinds of devices that resize pictures themselves. Elsewhere threads do, while the network computes."""

LARGEST_REDUCTION = 9
"""Times the network's size, in width or height, above which threads resize all the same: dozens of pictures wait in
memory for their turn. Full HD is 8.6 times 224, and no JPEG is decoded as large."""


def decode_size(preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height below which a picture must not be decoded for a network, for the sake of its descriptor."""
    height, width = preprocessing.size
    return math.ceil(REDUCED_AT_LEAST * width), math.ceil(REDUCED_AT_LEAST * height)


class NetworkInput:
    """Prepares pictures for one network on one device.

    Args:
        preprocessing: of the network.
        device: where it computes.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._size, self._device = preprocessing.size, device
        self._resizes_on_device = device.type in RESIZING_DEVICES
        self._mean = torch.tensor(preprocessing.mean, device=device).view(3, 1, 1) * 255
        self._std = torch.tensor(preprocessing.std, device=device).view(3, 1, 1) * 255

    def ready(self, image: Picture, name: str) -> Picture:
        """A picture as `batch` takes it: what can be done of it without the device, for threads.

        Args:
            image: as for `resized`.
            name: likewise.

        Raises:
            ValueError: as there.
        """
        if not self._resizes_on_device:
            return self.resized(image, name)
        _check(image, name)
        if max(side / size for side, size in zip(image.shape, self._size, strict=False)) > LARGEST_REDUCTION:
            return self.resized(image, name)
        return _writable(image)

    def resized(self, image: Picture, name: str) -> Picture:
        """A picture of the network's size; the very same where it has that already.

        Args:
            image: HxWx3 uint8 RGB, upright.
            name: what messages call it.

        Raises:
            ValueError: it is no such array.
        """
        _check(image, name)
        pixels = torch.from_numpy(_writable(image)).permute(2, 0, 1)
        found: Picture = resize(pixels, list(self._size), antialias=True).permute(1, 2, 0).numpy()
        return found

    def batch(self, pictures: Sequence[Picture]) -> Tensor:
        """Pictures of `ready` or `resized` -> (B, 3, H, W) float32 on its device, normalised, contiguous.

        To a GPU go bytes, a quarter of what floats are, from memory that it reads by itself and that PyTorch keeps for
        the next batch. Those of the network's size that follow each other go together, others one by one: as floats, a
        picture of 1920x1080 is 25 MB.
        """
        images = torch.empty((len(pictures), 3, *self._size), device=self._device)
        start = 0
        for of_its_size, run in groupby(pictures, key=lambda one: one.shape[:2] == self._size):
            for part in [list(run)] if of_its_size else ([one] for one in run):
                pixels = self._on_device(part)
                images[start : start + len(part)] = resize_on_device(pixels, self._size)
                start += len(part)
        return images.sub_(self._mean).div_(self._std)

    def _on_device(self, pictures: list[Picture]) -> Tensor:
        """(B, 3, H, W) uint8 of pictures of one size."""
        tensors = [torch.from_numpy(one) for one in pictures]
        if self._device.type == "cpu":
            # Channels apart while they are bytes: a third less time than while they become floats.
            return torch.stack([one.permute(2, 0, 1) for one in tensors])
        pixels = torch.empty((len(tensors), *tensors[0].shape), dtype=torch.uint8, pin_memory=True)
        torch.stack(tensors, out=pixels)
        return pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)


def resize_on_device(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """What `NetworkInput.resized` does, with operators that every device has.

    Width first and then height, each rounded to whole grey levels, as Pillow does it. Computed on a CPU, it is of
    photographs within 0.01 levels of 255 of Pillow and of torchvision on average, of noise within 0.03; single numbers
    differ by one, hardly any by two. Rounded at the end alone, it would be 0.1 of photographs.

    Args:
        pixels: (B, 3, H, W) uint8.
        size: height and width to resize to.

    Returns:
        (B, 3, *size): float32 whole numbers from 0 to 255; the very `pixels` where they have that size.
    """
    height, _ = pixels.shape[-2:]
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    found = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    for step in ((height, size[1]), size):
        found = F.interpolate(found, size=step, mode="bilinear", antialias=True).add_(0.5).floor_()
    return found


def _check(image: Picture, name: str) -> None:
    """Refuses what is no picture.

    Raises:
        ValueError: names it.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"{name} is {what}; pictures are HxWx3 uint8 RGB arrays")
    if 0 in image.shape:
        raise ValueError(f"{name} has no pixels: its shape is {image.shape}")


def _writable(image: Picture) -> Picture:
    """The picture, copied where torch would not take its memory: of negative strides, or, with a warning, read-only."""
    return np.require(image, requirements=["C", "W"])
