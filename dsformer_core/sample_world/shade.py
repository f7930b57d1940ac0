"""Who stands in whose light: one raster of shadow heights answers for the ground and for every wall."""

import cv2
import numpy as np

from dsformer_core.sample_world.ground import Raster
from dsformer_core.sample_world.lighting import Light
from dsformer_core.sample_world.town import Town

SCALE = 3.0
STEP_M = 0.7


class Shade:
    """Direct and scattered light at any point of a town.

    Attributes:
        tops: raster of the height up to which a point above the ground lies in shadow, metres.
        openness: raster of the share of the sky's light that reaches the ground, 0 to 1.
        lamplight: raster of the light that lamps throw on the ground.
    """

    def __init__(self, town: Town, light: Light, leafy: bool) -> None:
        built = [town.network.nodes, *(building.footprint for building in town.buildings)]
        reach = max(float(np.abs(points).max()) for points in built) + 25
        size = int(2 * reach * SCALE)
        self.west, self.north = -reach, reach
        tops = np.zeros((size, size), np.float32)
        solid = np.zeros((size, size), np.uint8)
        fall = light.sun_direction[2] / np.linalg.norm(light.sun_direction[:2])
        away = -light.sun_direction[:2] / np.linalg.norm(light.sun_direction[:2])
        casters = []
        for building in town.buildings:
            cv2.fillConvexPoly(solid, self._pixels(building.footprint), 255)
            height = (building.design.wall_height + building.design.ridge_height) / 2
            casters.append((building.footprint, height))
        ring = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
        for fixture in town.fixtures:
            if fixture.kind == "conifer" or (fixture.kind == "tree" and leafy):
                casters.append((fixture.position + ring * fixture.height * 0.28, fixture.height * 0.85))
        longest = min(60.0, 22 / fall)
        shifts = np.arange(longest, 0, -STEP_M)
        drawn = [
            (height - s * fall, outline + away * s) for outline, height in casters for s in shifts if height > s * fall
        ]
        for height, outline in sorted(drawn, key=lambda item: item[0]):
            cv2.fillConvexPoly(tops, self._pixels(outline), float(height))
        self.tops = self._raster(cv2.GaussianBlur(tops, (0, 0), 0.8))
        crowding = cv2.GaussianBlur(solid.astype(np.float32) / 255, (0, 0), 1.8 * SCALE)
        self.openness = self._raster(1 - 0.75 * crowding)
        lamps = np.zeros((size, size), np.float32)
        for fixture in town.fixtures:
            if fixture.kind == "lamp":
                x, y = self._pixels((fixture.position + fixture.towards_road * 1.2)[None])[0]
                if 0 <= x < size and 0 <= y < size:
                    lamps[y, x] = 1
        spread = [cv2.GaussianBlur(lamps, (0, 0), s * SCALE) * (s * SCALE) ** 2 for s in (2.2, 5.5)]
        self.lamplight = self._raster(0.9 * spread[0] + 2.2 * spread[1])
        self.lamp_points = np.array([f.position for f in town.fixtures if f.kind == "lamp"]).reshape(-1, 2)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return ((points - [self.west, self.north]) * [SCALE, -SCALE]).round().astype(np.int32)

    def _raster(self, pixels: np.ndarray) -> Raster:
        return Raster(pixels, self.west, self.north, SCALE)

    def in_sun(self, points: np.ndarray) -> np.ndarray:
        """Share of the sun's light that reaches (..., 3) points, 0 to 1."""
        column = np.clip((points[..., 0] - self.west) * SCALE, 0, self.tops.pixels.shape[1] - 1).astype(int)
        row = np.clip((self.north - points[..., 1]) * SCALE, 0, self.tops.pixels.shape[0] - 1).astype(int)
        return np.clip((points[..., 2] - self.tops.pixels[row, column]) / 0.5 + 0.5, 0, 1)
