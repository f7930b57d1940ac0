"""A made-up town of two streets, and a robot that drives through it."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from dsformer_core.localization.fusion import Estimate, FusionConfig, Tracker
from dsformer_core.place_map import Matches, PlaceMap
from tests.synthetic import ORIGIN, unit, write_map

SPACING, LENGTH, APART = 5.0, 80, 300.0


@dataclass
class Town:
    """Street 0 runs east, street 1 north from far away; metres along them.

    Attributes:
        place_map: its map.
        views: (2, LENGTH, 256) what is seen at each reference.
        other_world: (LENGTH, 256) what is seen along a street that is not in the map.
    """

    place_map: PlaceMap
    views: np.ndarray
    other_world: np.ndarray

    def utm(self, street: int, along: float) -> np.ndarray:
        return ORIGIN + (np.array([along, 0.0]) if street == 0 else np.array([-APART, APART + along]))

    def yaw(self, street: int) -> float:
        return 0.0 if street == 0 else np.pi / 2

    def look(self, street: int | None, along: float, seed: int, *, noise: float = 0.35, back: bool = False) -> Matches:
        """What a picture finds; street None is that of the other world."""
        return self.place_map.search(self.view(street, along, seed, noise=noise, back=back)[None])[0]

    def view(self, street: int | None, along: float, seed: int, *, noise: float, back: bool = False) -> np.ndarray:
        """The descriptor of a picture."""
        views = self.other_world if street is None else self.views[street]
        if back:
            views = -views
        row = min(int(along // SPACING), LENGTH - 2)
        share = along / SPACING - row
        view = (1 - share) * views[row] + share * views[row + 1]
        random = np.random.default_rng([seed, int(1000 * along)])
        view = unit(view) + noise * unit(random.normal(size=view.shape))
        return unit(view)


def smooth_views(random: np.random.Generator, count: int) -> np.ndarray:
    """Neighbours see much of the same, pictures 25 m apart little."""
    steps = random.normal(size=(count, 256))
    return unit(np.array([sum(0.75**lag * steps[max(0, row - lag)] for lag in range(10)) for row in range(count)]))


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    random = np.random.default_rng(3)
    views = np.stack([smooth_views(random, LENGTH) for _ in range(2)])
    along = SPACING * np.arange(LENGTH)
    east = ORIGIN + np.column_stack([along, np.zeros(LENGTH)])
    north = ORIGIN + np.column_stack([np.full(LENGTH, -APART), APART + along])
    yaw = np.repeat([0.0, np.pi / 2], LENGTH)
    folder = tmp_path_factory.mktemp("fusion")
    place_map = write_map(folder / "town.map", np.concatenate(views), np.vstack([east, north]), yaw)
    return Town(place_map, views, smooth_views(random, LENGTH))


@dataclass
class Robot:
    """Drives at 5 m/s, with a picture every 2.5 m and odometry every quarter of that."""

    town: Town
    config: FusionConfig = field(default_factory=FusionConfig)
    odometry: bool = True
    camera_yaw: float = 0.0
    stamp: float = 100.0
    way: float = 0.0
    pictures: int = 0

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.town.place_map, config=self.config)

    def drive(self, street: int | None, start: float, metres: float) -> list[Estimate]:
        """Begins with a picture at once: who calls it with another place kidnaps the robot."""
        found = []
        for along in np.arange(start, start + metres, 2.5):
            if self.odometry:
                for part in range(1, 5) if found else [0]:
                    self.tracker.add_odometry(self.stamp + 0.125 * part, self.way + 0.625 * part, 0.0, 0.0)
            if found:
                self.stamp, self.way = self.stamp + 0.5, self.way + 2.5
            self.pictures += 1
            matches = self.town.look(street, float(along), self.pictures)
            found.append(self.tracker.add_picture(self.stamp, matches, camera_yaw=self.camera_yaw))
        self.stamp += 0.5
        return found

    def error(self, estimate: Estimate, street: int, along: float) -> float:
        return float(np.hypot(*(estimate.hypotheses[0].utm - self.town.utm(street, along))))


@pytest.fixture
def robot(town: Town) -> Robot:
    return Robot(town)
