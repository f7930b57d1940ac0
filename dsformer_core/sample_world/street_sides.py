"""What stands along the streets besides houses: trees, lamps, signs, places for parked cars."""

from dataclasses import dataclass

import numpy as np

from dsformer_core.sample_world.buildings import Building
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.street_network import Street, StreetNetwork


@dataclass(frozen=True, eq=False)
class Fixture:
    """Something upright at a point.

    Attributes:
        kind: "tree", "conifer", "lamp", "sign", "bin", "cabinet" or "pole".
        position: (2,) metres in the town frame.
        height: metres.
        towards_road: (2,) unit vector.
        key: seed of its looks.
    """

    kind: str
    position: np.ndarray
    height: float
    towards_road: np.ndarray
    key: int


def furnish(seed: int, network: StreetNetwork, buildings: tuple[Building, ...]) -> tuple[Fixture, ...]:
    """Places trees, lamps, signs and bins along every street, and trees in the yards.

    Args:
        seed: of the town.
        network: its streets.
        buildings: its houses, in which no tree may stand.

    Returns:
        The fixtures, none of them on a road.
    """
    fixtures: list[Fixture] = []
    centres = np.array([building.footprint.mean(axis=0) for building in buildings])
    for street in network.streets:
        for side in (1, -1):
            fixtures += _pavement(seed, street, side)
            fixtures += _yards(seed, street, side, centres)
    starts = np.array([street.start for street in network.streets])
    ends = np.array([street.end for street in network.streets])
    roads = np.array([street.half_road for street in network.streets])
    return tuple(f for f in fixtures if _off_the_roads(f.position, starts, ends, roads))


def _off_the_roads(point: np.ndarray, starts: np.ndarray, ends: np.ndarray, roads: np.ndarray) -> bool:
    along = ends - starts
    share = np.clip(((point - starts) * along).sum(axis=1) / (along**2).sum(axis=1), 0, 1)
    return bool((np.linalg.norm(point - starts - share[:, None] * along, axis=1) > roads + 0.2).all())


def _pavement(seed: int, street: Street, side: int) -> list[Fixture]:
    random = generator(seed, "pavement", *street.nodes, side)
    along = street.direction
    outward = np.array([-along[1], along[0]]) * side
    edge = street.start + outward * (street.half_road + 0.45)
    fixtures = []

    def put(kind: str, t: float, height: float) -> None:
        fixtures.append(Fixture(kind, edge + along * t, height, -outward, int(random.integers(2**31))))

    if side > 0 or street.half_road > 4.5:
        for t in np.arange(10 + 6 * (side < 0), street.length - 8, random.uniform(20, 28)).tolist():
            put("lamp", t, (4.6, 6.5, 6.0)[street.district])
    if street.trees:
        for t in np.arange(13 + random.uniform(0, 5), street.length - 11, random.uniform(8, 14)).tolist():
            if random.random() < 0.85:
                put("tree", t, random.uniform(6.5, 11.5))
    for t in (11.0, street.length - 11.0):
        if random.random() < 0.45:
            put("sign", t, random.uniform(2.4, 3.0))
    for _ in range(random.integers(0, 4)):
        put(str(random.choice(("bin", "pole", "cabinet"))), random.uniform(12, max(13, street.length - 12)), 1.0)
    return fixtures


def _yards(seed: int, street: Street, side: int, centres: np.ndarray) -> list[Fixture]:
    random = generator(seed, "yards", *street.nodes, side)
    along = street.direction
    outward = np.array([-along[1], along[0]]) * side
    fixtures = []
    for _ in range(int(random.integers(*((0, 3), (1, 4), (3, 9))[street.district]))):
        depth = random.uniform(1.5, 4.0) if street.district == 2 and random.random() < 0.5 else random.uniform(14, 24)
        point = street.start + along * random.uniform(8, street.length - 8) + outward * (street.half_width + depth)
        if len(centres) == 0 or np.linalg.norm(centres - point, axis=1).min() > 7.5:
            kind = "conifer" if random.random() < 0.2 else "tree"
            fixtures.append(Fixture(kind, point, random.uniform(4, 12), -outward, int(random.integers(2**31))))
    return fixtures
