"""Batches of P places with K pictures each: the same for the same seed, wherever a training was interrupted."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch.utils.data

from dsformer_core.training.data.class_sampler import Draw

Counts = npt.NDArray[np.int64]


class PlaceSampler(torch.utils.data.Sampler[Draw]):
    """Draws without end, in rounds: in each round every place once, with K different pictures of it, side by side.

    A batch is P places after one another and never reaches into the next round, so no place is twice in it and none is
    in two batches of a round. What is left over where P does not divide the number of places, fewer than P of them,
    misses the round: other ones every time. Places with fewer than K pictures never come.

    A round goes through one city after the other, as SelaVPR++ does: so most places of a batch are of one city, where
    they are hardest to tell apart. The order of cities and that of places within each is another one in every round.

    The whole sequence is a function of (seed, epoch, group, view), and a process takes every `world_size`-th draw of
    it. So any number of processes see the same batches together.

    Args:
        counts: (N,) pictures of each place.
        cities: (N,) the number of the city that each place is in.
        pictures_per_place: K.
        places_per_batch: P.
        seed: of the training.
        epoch: from 0.
        group: of the epoch.
        view: of the group.
        start: how many draws of the sequence were taken before, by all processes together.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: fewer than P places have K pictures.
    """

    def __init__(
        self,
        counts: Counts,
        cities: Counts,
        *,
        pictures_per_place: int,
        places_per_batch: int,
        seed: int,
        epoch: int,
        group: int,
        view: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.counts, self.cities = counts, cities
        self.places = np.flatnonzero(counts >= pictures_per_place)
        if len(self.places) < places_per_batch:
            raise ValueError(f"{len(self.places)} places do not fill a batch of {places_per_batch}")
        self.pictures_per_place = pictures_per_place
        self.places_per_round = len(self.places) // places_per_batch * places_per_batch
        self.stream = (seed, epoch, group, view)
        self.first, self.step = start + rank, world_size

    def __iter__(self) -> Iterator[Draw]:
        """Begins at `start` every time."""
        number = self.first
        while True:
            this_round, place = divmod(number, self.places_per_round * self.pictures_per_place)
            generator = np.random.default_rng((*self.stream, this_round))
            places = self._order(generator)
            classes = places.repeat(self.pictures_per_place)
            randoms = self._pictures(places, generator).ravel()
            for index in range(place, len(classes), self.step):
                yield Draw(int(classes[index]), int(randoms[index]))
                number += self.step

    def _order(self, generator: np.random.Generator) -> Counts:
        """The places of a round, city by city."""
        places = generator.permutation(self.places)[: self.places_per_round]
        turns = generator.permutation(int(self.cities.max()) + 1)
        return places[np.argsort(turns[self.cities[places]], kind="stable")]

    def _pictures(self, places: Counts, generator: np.random.Generator) -> Counts:
        """(places, K) numbers of `Draw.random`, each row of them K different pictures.

        By Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987), for all places at once: of the
        pictures up to a last one, which moves up by one each time, a random one, or the last where that was taken.
        """
        counts = self.counts[places]
        chosen = np.empty((len(places), self.pictures_per_place), np.int64)
        for already in range(self.pictures_per_place):
            last = counts - self.pictures_per_place + already
            picture = generator.integers(0, last + 1)
            taken = (chosen[:, :already] == picture[:, None]).any(axis=1)
            chosen[:, already] = np.where(taken, last, picture)
        return chosen + counts[:, None] * generator.integers(0, (1 << 62) // counts[:, None], chosen.shape)
