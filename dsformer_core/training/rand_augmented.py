"""RandAugment in the processes that load, where there are more of them than devices and nothing waits for a kernel."""

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dsformer_core.training.data import Draw


class RandAugmented(Dataset[tuple[Tensor, int]]):
    """Pictures after some random operations one after another (Cubuk et al., "RandAugment", CVPR workshops 2020).

    Which ones is decided by the draw alone: the same wherever it is loaded, and after a restart.

    Args:
        pictures: gives a picture (3, H, W) uint8 and its class for every draw.
        operations: how many, >= 1.
    """

    def __init__(self, pictures: Dataset[tuple[Tensor, int]], operations: int) -> None:
        self.pictures = pictures
        # On bytes, as its tables of strengths are made for.
        self.rand_augment = v2.RandAugment(operations, interpolation=v2.InterpolationMode.BILINEAR)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        """(3, H, W) uint8, and the class's index."""
        picture, class_index = self.pictures[draw]
        # Loaded in the process that trains, it must not touch the numbers that dropout and augmentation use.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw.random)
            return self.rand_augment(picture), class_index
