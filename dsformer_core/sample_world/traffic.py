"""Who is on the streets during a drive: parked cars, moving vehicles, people on the pavements."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsformer_core.sample_world.conditions import Condition
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.street_network import Street, StreetNetwork
from dsformer_core.sample_world.vehicles import BODY_COLOURS, Vehicle

BAY_M = 5.9
LANE_M = 1.6
QUEUE_M = 14.0
EVERYDAY = (("hatchback", 0.36), ("saloon", 0.22), ("estate", 0.16), ("suv", 0.16), ("van", 0.10))


@dataclass(frozen=True)
class Walker:
    """Somebody on a pavement.

    Attributes:
        looks: seed of body and clothes.
        x: metres east in the town frame.
        y: metres north.
        height: metres.
    """

    looks: int
    x: float
    y: float
    height: float


def parked_vehicles(town_seed: int, drive_seed: int, network: StreetNetwork) -> list[Vehicle]:
    """The cars along the kerbs; they stay for a whole drive and are others in the next."""
    vehicles = []
    for street in (street for street in network.streets if street.parking):
        for side in (1, -1):
            random = generator(town_seed, drive_seed, "parked", *street.nodes, side)
            full = random.uniform(0.25, 0.9)
            for t in np.arange(15.5, street.length - 15.5, BAY_M).tolist():
                vehicle = _choose(random, EVERYDAY[:-1] if random.random() < 0.9 else EVERYDAY)
                aside = street.half_road - 1.03 + random.normal(0, 0.06)
                along, turn = t + random.normal(0, 0.25), random.normal(0, 0.015)
                if random.random() < full:
                    vehicles.append(
                        _on_street(street, vehicle, along, side * aside, turn + (np.pi if side > 0 else 0.0))
                    )
    return vehicles


def moving_vehicles(
    town_seed: int, drive_seed: int, streets: Sequence[Street], condition: Condition, timestamp: float
) -> list[Vehicle]:
    """The vehicles under way on some streets at an instant; each drives its street end to end again and again."""
    vehicles = []
    for street in streets:
        for side in (1, -1):
            random = generator(town_seed, drive_seed, "moving", *street.nodes, side)
            speed = random.uniform(5, 11)
            slots = max(1, int(street.length / QUEUE_M))
            phases = (np.arange(slots) + random.uniform(0, 0.1, slots)) * street.length / slots
            for phase in phases[random.random(slots) < 0.6 * condition.traffic]:
                kinds = (*EVERYDAY, ("bus", 0.06))
                vehicle = _choose(random, kinds)
                travelled = (phase + speed * timestamp) % street.length
                along = street.length - travelled if side > 0 else travelled
                way = np.pi if side > 0 else 0.0
                vehicles.append(replace(_on_street(street, vehicle, along, side * LANE_M, way), lights=True))
    return vehicles


def walkers(
    town_seed: int, drive_seed: int, streets: Sequence[Street], condition: Condition, timestamp: float
) -> list[Walker]:
    """The people on the pavements of some streets at an instant."""
    people = []
    for street in streets:
        random = generator(town_seed, drive_seed, "walkers", *street.nodes)
        share = (0.15 + condition.traffic) * (
            0.35 if condition.light == "night" or condition.weather == "rain" else 1.0
        )
        for _ in range(random.poisson(share * street.length / 14)):
            side, speed = random.choice((-1, 1)), random.uniform(-1.5, 1.5)
            along = (random.uniform(0, street.length) + speed * timestamp) % street.length
            aside = side * (street.half_road + random.uniform(0.5, max(0.6, street.pavement - 0.4)))
            point = street.start + street.direction * along + _left(street) * aside
            people.append(
                Walker(int(random.integers(24)), float(point[0]), float(point[1]), float(random.uniform(1.55, 1.9)))
            )
    return people


def _choose(random: np.random.Generator, kinds: tuple[tuple[str, float], ...]) -> tuple[str, int]:
    names, weights = zip(*kinds, strict=True)
    share = np.array(weights) / sum(weights)
    return str(random.choice(names, p=share)), int(random.integers(len(BODY_COLOURS)))


def _left(street: Street) -> np.ndarray:
    return np.array([-street.direction[1], street.direction[0]])


def _on_street(street: Street, vehicle: tuple[str, int], along: float, aside: float, turn: float) -> Vehicle:
    point = street.start + street.direction * along + _left(street) * aside
    yaw = float(np.arctan2(street.direction[1], street.direction[0]) + turn)
    return Vehicle(vehicle[0], vehicle[1], float(point[0]), float(point[1]), yaw)
