"""Which classes come when: the same for the same seed, wherever a training was interrupted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch.utils.data


@dataclass(frozen=True)
class Draw:
    """One picture to train on.

    Attributes:
        class_index: of its class within the view, from 0.
        random: decides which picture of the class; uniform over [0, 2**62).
    """

    class_index: int
    random: int


class ClassSampler(torch.utils.data.Sampler[Draw]):
    """Draws without end: every class once in random order, then every class once in another order, and so on.

    The whole sequence is a function of (seed, epoch, group, view), and a process takes every `world_size`-th of it. So
    any number of processes see the same draws together, none of them twice.

    Args:
        class_count: at least 1.
        seed: of the training.
        epoch: from 0.
        group: of the epoch.
        view: of the group.
        start: how many draws of the sequence were taken before, by all processes together.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        class_count: int,
        *,
        seed: int,
        epoch: int,
        group: int,
        view: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if class_count < 1:
            raise ValueError("there is no class to draw from")
        self.class_count = class_count
        self.stream = (seed, epoch, group, view)
        self.first, self.step = start + rank, world_size

    def __iter__(self) -> Iterator[Draw]:
        """Begins at `start` every time."""
        number = self.first
        while True:
            this_round, place = divmod(number, self.class_count)
            generator = np.random.default_rng((*self.stream, this_round))
            classes = generator.permutation(self.class_count)
            randoms = generator.integers(0, 1 << 62, self.class_count)
            for index in range(place, self.class_count, self.step):
                yield Draw(int(classes[index]), int(randoms[index]))
                number += self.step
