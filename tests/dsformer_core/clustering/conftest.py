"""Generated cities, and towns of which every street is known."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

CORNER = np.array([548_000.0, 4_179_000.0])


@dataclass(frozen=True)
class City:
    utm: np.ndarray  # (N, 2)
    headings_deg: np.ndarray  # (N,)
    street: np.ndarray  # (N,) number of the street
    direction: np.ndarray  # (N,) of the street, degrees counterclockwise from east


@pytest.fixture(scope="session")
def make_city(shared: Path) -> Callable[[int, int], City]:
    """Invented cities, from the generator beside the checkout."""
    path = shared / "clustering" / "citygen.py"
    if not path.is_file():
        pytest.skip("no generator of cities beside this checkout")
    spec = importlib.util.spec_from_file_location("citygen", path)
    assert spec and spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    made: dict[tuple[int, int], City] = {}

    def make(count: int, seed: int) -> City:
        if (count, seed) not in made:
            values, _ = generator.make_city(count, seed)
            made[count, seed] = City(
                values["utm"], values["yaw"].astype(float), values["street_id"], values["street_dir"]
            )
        return made[count, seed]

    return make


def town(
    angle: float,
    offsets: Sequence[float] = (0.0,),
    *,
    length: float = 300.0,
    passes: int = 4,
    lane: float = 1.75,
    noise: float = 0.7,
    seed: int = 0,
) -> City:
    """Straight parallel streets, each driven `passes` times with a picture every 2.5 m.

    Args:
        angle: of the streets, degrees counterclockwise from east.
        offsets: of each street, metres to the left of the first.
        lane: metres by which passes keep to either side.
        noise: standard deviation of positions, metres.
    """
    random = np.random.default_rng(seed)
    ahead = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    left = np.array([-ahead[1], ahead[0]])
    utm, headings, street = [], [], []
    for number, offset in enumerate(offsets):
        for _ in range(passes):
            way = np.arange(random.uniform(0, 2.5), length, 2.5) - length / 2
            forward = random.random() < 0.5
            beside = offset + (-lane if forward else lane)
            utm.append(np.outer(way, ahead) + beside * left + random.normal(0, noise, (len(way), 2)))
            headings.append((90 - angle + (0 if forward else 180) + random.normal(0, 2, len(way))) % 360)
            street.append(np.full(len(way), number))
    positions = CORNER + np.concatenate(utm)
    return City(positions, np.concatenate(headings), np.concatenate(street), np.full(len(positions), angle % 180))
