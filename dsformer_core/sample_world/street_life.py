"""What stands and moves on the streets, as drawings: trees, lamps, signs, vehicles, people."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import hypot

import numpy as np

from dsformer_core.sample_world.canvas import Canvas, Texture
from dsformer_core.sample_world.facade_texture import Paint
from dsformer_core.sample_world.fittings import ARM_M, paint_box, paint_lamp_head, paint_pole, paint_sign, paint_walker
from dsformer_core.sample_world.scene import Scene
from dsformer_core.sample_world.street_sides import Fixture
from dsformer_core.sample_world.traffic import Walker, moving_vehicles, walkers
from dsformer_core.sample_world.vegetation import BROADLEAVED, CONIFERS, paint_tree
from dsformer_core.sample_world.vehicles import Vehicle, vehicle_surfaces

DOWN = np.array([0.0, 0.0, -1.0])
RANGE_M = 130.0
SMALL_RANGE_M = 75.0
KEEP_CLEAR_M = 4.5
OUT_OF_SIGHT_M = 7.0


@dataclass(frozen=True, eq=False)
class Drawing:
    """A textured plane to be drawn.

    Attributes:
        distance: from the camera, metres; far ones are drawn first.
        texture: makes its texture.
        homography: from `Canvas.homography`.
        polygon: (K, 2) outline on the plane, metres.
    """

    distance: float
    texture: Callable[[], Texture]
    homography: np.ndarray
    polygon: np.ndarray


class StreetLife:
    """Collects the drawings for one picture."""

    def __init__(self, canvas: Canvas, scene: Scene, position: np.ndarray, timestamp: float) -> None:
        self.canvas, self.scene, self.position = canvas, scene, position
        self.drawings: list[Drawing] = []
        self._ground_rows = canvas.projection[:, [0, 1, 3]].tolist()
        self._width = canvas.inverse_depth.shape[1]
        self._focal_length = float(np.linalg.norm(canvas.projection[0, :3]))
        town = scene.town
        for fixture in town.fixtures:
            self._fixture(fixture)
        near = [street for street in town.network.streets if street.distance(position[:2]) < SMALL_RANGE_M + 15]
        on_the_road = moving_vehicles(town.seed, scene.seed, near, scene.condition, timestamp)
        for vehicle in (*scene.parked, *on_the_road):
            self._vehicle(vehicle)
        for walker in walkers(town.seed, scene.seed, near, scene.condition, timestamp):
            self._walker(walker)

    def _distance(self, x: float, y: float, reach: float) -> float | None:
        """Metres to a ground point; None where it is out of range or out of sight by more than `OUT_OF_SIGHT_M`."""
        away = hypot(x - self.position[0], y - self.position[1])
        if not 0.8 < away < reach:
            return None
        across, _, ahead = (a * x + b * y + c for a, b, c in self._ground_rows)
        beside = OUT_OF_SIGHT_M * self._focal_length
        seen = ahead > -OUT_OF_SIGHT_M and -beside < across < self._width * max(ahead, 0.0) + beside
        return away if seen else None

    def _upright(
        self,
        paint: Paint,
        foot: np.ndarray,
        width: float,
        height: float,
        right: np.ndarray,
        light: np.ndarray,
        away: float,
    ) -> None:
        """An upright picture over a (3,) foot point, stretched to its size."""
        pixels = partial(_stretched, partial(self.scene.sprite, paint, light), width, height)
        origin = foot - right * width / 2 - DOWN * height
        homography = self.canvas.homography(origin, right, DOWN)
        self.drawings.append(
            Drawing(away, pixels, homography, np.array([[0, 0], [width, 0], [width, height], [0, height]]))
        )

    def _facing(self, x: float, y: float) -> np.ndarray:
        """Horizontal unit vector to the right as seen from the camera."""
        aside = np.array([y - self.position[1], self.position[0] - x, 0.0])
        return aside / np.linalg.norm(aside)

    def _fixture(self, fixture: Fixture) -> None:
        x, y = fixture.position
        away = self._distance(x, y, RANGE_M if fixture.kind in ("tree", "conifer") else SMALL_RANGE_M)
        if away is None:
            return
        foot, height = np.array([x, y, 0.0]), fixture.height
        light = self.scene.light_at(foot - DOWN * height * 0.6)
        facing = self._facing(x, y)
        if fixture.kind == "conifer":
            paint = paint_tree(BROADLEAVED + fixture.key % CONIFERS, self.scene.condition.season)
            self._upright(paint, foot, height, height, facing, light, away)
        elif fixture.kind == "tree":
            width = height * (0.85 + 0.3 * (fixture.key % 97) / 97)
            paint = paint_tree(fixture.key % BROADLEAVED, self.scene.condition.season)
            self._upright(paint, foot, width, height, facing, light, away)
        elif fixture.kind == "lamp":
            self._upright(paint_pole(height, 0.13, 62), foot, 0.13, height, facing, light, away)
            out = np.append(fixture.towards_road, 0.0)
            middle = foot + out * (ARM_M / 2) - DOWN * (height - 0.35)
            self._upright(paint_lamp_head(fixture.key), middle, ARM_M, 0.5, -out, light, away - 0.01)
        elif fixture.kind == "sign":
            self._upright(paint_pole(height, 0.07, 130), foot, 0.07, height, facing, light, away)
            plate = foot - DOWN * (height - 0.75)
            along = np.append(fixture.towards_road, 0.0)
            right = along if along @ facing > 0 else -along
            self._upright(paint_sign(fixture.key % 40), plate, 0.7, 0.7, right, light, away - 0.05)
        elif fixture.kind == "pole":
            self._upright(paint_pole(0.95, 0.12, 70), foot, 0.12, 0.95, facing, light, away)
        else:
            self._upright(paint_box(fixture.key % 24), foot, 0.95, 0.95, facing, light, away)

    def _walker(self, walker: Walker) -> None:
        away = self._distance(walker.x, walker.y, SMALL_RANGE_M)
        if away is not None and away > 2.0:
            foot = np.array([walker.x, walker.y, 0.0])
            light = self.scene.light_at(foot - DOWN)
            height = walker.height * 2.0 / 1.85
            self._upright(
                paint_walker(walker.looks), foot, height / 2, height, self._facing(walker.x, walker.y), light, away
            )

    def _vehicle(self, vehicle: Vehicle) -> None:
        away = self._distance(vehicle.x, vehicle.y, SMALL_RANGE_M + 15)
        ahead = np.array([np.cos(vehicle.yaw), np.sin(vehicle.yaw)])
        offset = self.position[:2] - (vehicle.x, vehicle.y)
        along, aside = abs(offset @ ahead), abs(offset[0] * ahead[1] - offset[1] * ahead[0])
        if away is None or (along < vehicle.length / 2 + KEEP_CLEAR_M and aside < vehicle.width / 2 + 0.4):
            return
        for surface in vehicle_surfaces(vehicle):
            normal = surface.normal
            if not surface.two_sided and normal @ (self.position - surface.origin) <= 0:
                continue
            middle = surface.origin + surface.right * surface.width / 2 + surface.down * surface.height / 2
            light = self.scene.light_at(middle - DOWN * 0.4, normal) * (0.72 + 0.28 * normal[2])
            texture = partial(
                _stretched, partial(self.scene.sprite, surface.paint(), light), surface.width, surface.height
            )
            homography = self.canvas.homography(surface.origin, surface.right, surface.down)
            distance = 200.0 if surface.two_sided else float(np.linalg.norm(middle - self.position))
            self.drawings.append(Drawing(distance, texture, homography, surface.polygon))


def _stretched(texture: Callable[[], Texture], width: float, height: float) -> Texture:
    return texture().stretched(width, height)
