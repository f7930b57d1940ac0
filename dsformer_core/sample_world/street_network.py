"""The streets of an invented town: a grid that history has bent, with blocks merged and cut diagonally."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsformer_core.sample_world.seeding import generator

BLOCK_M = 78.0


@dataclass(frozen=True, eq=False)
class Street:
    """A straight street between two crossings.

    Attributes:
        number: its place in the network's list.
        nodes: the two crossings.
        start: (2,) metres in the town frame.
        end: (2,) metres in the town frame.
        half_road: metres from the middle to the kerb.
        pavement: width of each pavement, metres.
        parking: whether cars park along the kerb.
        trees: whether trees stand along the kerb.
        cobbled: paved with setts instead of asphalt.
        district: 0 old town, 1 brick quarter, 2 garden suburb.
    """

    number: int
    nodes: tuple[int, int]
    start: np.ndarray
    end: np.ndarray
    half_road: float
    pavement: float
    parking: bool
    trees: bool
    cobbled: bool
    district: int

    @cached_property
    def length(self) -> float:
        """Metres between the crossings' centres."""
        return float(np.linalg.norm(self.end - self.start))

    @cached_property
    def direction(self) -> np.ndarray:
        """(2,) unit vector from start to end."""
        return (self.end - self.start) / self.length

    @property
    def half_width(self) -> float:
        """Metres from the middle to the building line."""
        return self.half_road + self.pavement

    def distance(self, point: np.ndarray) -> float:
        """Metres from a (2,) point to the street's middle line."""
        share = min(max(float((point - self.start) @ self.direction), 0.0), self.length)
        return float(np.linalg.norm(point - self.start - share * self.direction))


@dataclass(frozen=True, eq=False)
class StreetNetwork:
    """Crossings, the streets between them and the blocks they enclose.

    Attributes:
        nodes: (N, 2) metres in the town frame.
        streets: every street once.
        blocks: per block the cycle of its crossings.
    """

    nodes: np.ndarray
    streets: tuple[Street, ...]
    blocks: tuple[tuple[int, ...], ...]

    def between(self, first: int, second: int) -> Street:
        """The street that joins two neighbouring crossings."""
        return next(street for street in self.streets if set(street.nodes) == {first, second})


def make_street_network(seed: int, size_m: float) -> StreetNetwork:
    """Lays out the streets of a town about the origin of its frame.

    Args:
        seed: of the town.
        size_m: length of the town's side, metres.

    Returns:
        A connected network in which every street borders at least one block.
    """
    random = generator(seed, "streets")
    per_side = max(2, round(size_m / BLOCK_M)) + 1
    nodes = _bent_grid(random, per_side, size_m)
    blocks = _blocks(random, per_side)
    district_axis = random.uniform(0, 2 * np.pi)
    pairs = sorted(
        {(min(a, b), max(a, b)) for block in blocks for a, b in zip(block, block[1:] + block[:1], strict=True)}
    )
    streets = tuple(
        _street(generator(seed, "street", *pair), number, pair, nodes, district_axis, size_m)
        for number, pair in enumerate(pairs)
    )
    return StreetNetwork(nodes, streets, tuple(blocks))


def _bent_grid(random: np.random.Generator, per_side: int, size_m: float) -> np.ndarray:
    def ticks() -> np.ndarray:
        gaps = random.uniform(0.72, 1.35, per_side - 1)
        return np.concatenate([[0], np.cumsum(gaps) / gaps.sum()]) - 0.5

    x, y = (axis.ravel() * size_m for axis in np.meshgrid(ticks(), ticks()))
    points = np.stack([x, y], axis=1)
    for wavelength in (1.1 * size_m, 0.6 * size_m):
        across = random.uniform(0, 2 * np.pi)
        along = np.array([np.cos(across), np.sin(across)])
        phase = points @ along * 2 * np.pi / wavelength + random.uniform(0, 2 * np.pi)
        points = points + np.outer(np.sin(phase), [-along[1], along[0]]) * min(0.055 * wavelength, 20.0)
    points += random.normal(0, 3.0, points.shape)
    turn = random.uniform(0, np.pi / 2)
    return points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def _blocks(random: np.random.Generator, per_side: int) -> list[tuple[int, ...]]:
    cells = [(row, column) for row in range(per_side - 1) for column in range(per_side - 1)]
    taken: set[tuple[int, int]] = set()
    blocks: list[tuple[int, ...]] = []
    for row, column in cells:
        if (row, column) in taken:
            continue
        a, b = row * per_side + column, row * per_side + column + 1
        c, d = b + per_side, a + per_side
        neighbour = (row, column + 1)
        fate = random.random()
        if fate < 0.16 and column + 2 < per_side and neighbour not in taken:
            taken.add(neighbour)
            blocks.append((a, b, b + 1, c + 1, c, d))
        elif fate > 0.84:
            blocks += [(a, b, c), (a, c, d)] if random.random() < 0.5 else [(a, b, d), (b, c, d)]
        else:
            blocks.append((a, b, c, d))
    return blocks


def _street(
    random: np.random.Generator,
    number: int,
    pair: tuple[int, int],
    nodes: np.ndarray,
    district_axis: float,
    size_m: float,
) -> Street:
    start, end = nodes[pair[0]], nodes[pair[1]]
    place = (start + end) / 2 @ np.array([np.cos(district_axis), np.sin(district_axis)]) / size_m
    district = 0 if place < -0.14 else 1 if place < 0.16 else 2
    parking = bool(random.random() < (0.5, 0.75, 0.5)[district])
    return Street(
        number=number,
        nodes=pair,
        start=start,
        end=end,
        half_road=float(random.uniform(3.0, 3.6) + (2.1 if parking else 0.0)),
        pavement=float(random.uniform(*((1.8, 3.0), (2.0, 3.2), (2.2, 3.4))[district])),
        parking=parking,
        trees=bool(random.random() < (0.25, 0.4, 0.75)[district]),
        cobbled=bool(random.random() < (0.6, 0.1, 0.0)[district]),
        district=district,
    )
