"""A town under one condition during one drive: lit textures, made when first seen and then kept."""

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from dsformer_core.sample_world.canvas import Texture
from dsformer_core.sample_world.conditions import Condition
from dsformer_core.sample_world.facade_texture import Paint
from dsformer_core.sample_world.ground import PERIOD_M, GroundPainter, Raster
from dsformer_core.sample_world.lighting import ALBEDO, ALBEDO_ROOT, DECODED, Light, encode, make_light
from dsformer_core.sample_world.seeding import generator, smooth_noise
from dsformer_core.sample_world.shade import Shade
from dsformer_core.sample_world.sky import paint_sky
from dsformer_core.sample_world.surfaces import Surface
from dsformer_core.sample_world.town import Town
from dsformer_core.sample_world.traffic import parked_vehicles

CACHE_BYTES = 220_000_000
LAMP_COLOUR = np.array([1.0, 0.72, 0.40])
SNOW = np.array([224, 229, 236], np.float32)
BOUNCE = 0.06
"""Share of the sun's light that the ground throws back at a wall."""
BASE_SCALE = 6.0
CLOSE_SCALE = 24.0
CLOSE_SIDE_M = 64.0


class Scene:
    """What does not change from picture to picture of a drive.

    Attributes:
        town: the town.
        condition: light, weather, season, traffic.
        seed: of the drive.
        light: its light.
        shade: shadows and lamplight.
        sky: panorama, encoded light.
        parked: cars along the kerbs.
        surfaces: every house's surfaces and the fences.
        corners: (S, 4, 3) corners of every house's surface, metres.
        normals: (S, 3) their normals.
    """

    def __init__(self, town: Town, condition: Condition, seed: int) -> None:
        self.town, self.condition, self.seed = town, condition, seed
        self.light: Light = make_light(condition, seed)
        self.shade = Shade(town, self.light, leafy=condition.season != "winter")
        self.sky = paint_sky(town.seed, self.light, seed)
        self.parked = parked_vehicles(town.seed, seed, town.network)
        self.surfaces = town.surfaces
        corners = [s.at(np.array([[0, 0], [s.width, 0], [s.width, s.height], [0, s.height]])) for s in self.surfaces]
        self.corners = np.array(corners).reshape(-1, 4, 3)
        axes = np.array([(s.down, s.right) for s in self.surfaces]).reshape(-1, 2, 3)
        self.normals = np.cross(axes[:, 0], axes[:, 1])
        self.two_sided = np.array([surface.two_sided for surface in self.surfaces], bool)
        self._textures: OrderedDict[object, Texture] = OrderedDict()
        self._bytes = 0
        self._painter = GroundPainter(town.seed, town.network, condition)
        self._close_ground: tuple[tuple[float, float], list[Raster]] | None = None
        side = np.ceil((2 * -self.shade.west + 16) / (2 * PERIOD_M)) * 2 * PERIOD_M
        self._distant_ground = self._lit_ground(-side / 2, side / 2, side, BASE_SCALE, levels=3)

    def texture(self, surface: Surface) -> Texture:
        """The lit texture of a surface."""
        return self._kept(surface, lambda: self._light_up(surface))

    def sprite(self, paint: Paint, light: np.ndarray) -> Texture:
        """The texture of a paint under even (3,) light, which is rounded so that neighbours share one."""
        steps = tuple(np.round(8 * np.log2(np.maximum(light, 1e-3))).astype(int).tolist())
        light = 2 ** (np.array(steps) / 8)

        def make() -> Texture:
            rgb = ALBEDO[paint.albedo[..., :3]] * light.astype(np.float32)
            if paint.glow is not None:
                rgb += (paint.glow > 0)[..., None] * ALBEDO[paint.albedo[..., :3]] * np.float32(3.5 * self.light.lamps)
            encoded = encode(rgb)
            pixels = encoded if paint.albedo.shape[2] == 3 else np.dstack([encoded, paint.albedo[..., 3]])
            return Texture(pixels, pixels.shape[1] / paint.scale, pixels.shape[0] / paint.scale)

        return self._kept((paint, steps), make)

    def _kept(self, key: object, make: Callable[[], Texture]) -> Texture:
        if key in self._textures:
            self._textures.move_to_end(key)
            return self._textures[key]
        texture = self._textures[key] = make()
        self._bytes += 2 * texture.pixels.nbytes
        while self._bytes > CACHE_BYTES and len(self._textures) > 1:
            self._bytes -= 2 * self._textures.popitem(last=False)[1].pixels.nbytes
        return texture

    def light_at(self, point: np.ndarray, facing: np.ndarray | None = None) -> np.ndarray:
        """(3,) light on something small at a (3,) point; on its sunny side unless told where it faces."""
        share = 0.55 if facing is None else max(float(facing @ self.light.sun_direction), 0.0)
        lamps = 0.0
        if self.light.lamps and len(self.shade.lamp_points):
            near = ((self.shade.lamp_points - point[:2]) ** 2).sum(axis=1)
            lamps = self.light.lamps * float((2.0 / (8 + near)).sum())
        return 0.75 * self.light.sky + self.light.sun * share * float(self.shade.in_sun(point)) + LAMP_COLOUR * lamps

    def _light_up(self, surface: Surface) -> Texture:
        paint = surface.paint()
        albedo = self._with_snow(surface, paint)
        spots = self._grid(surface)
        normal = surface.normal
        facing = float(normal @ self.light.sun_direction)
        sun = max(abs(facing) if surface.two_sided else facing, 0.0) * self.shade.in_sun(spots + normal * 0.6)
        sky = (0.55 + 0.45 * normal[2]) * (0.62 + 0.38 * np.clip(spots[..., 2] / 9, 0, 1))
        lamps = self._lamps_on(spots, normal)
        bounce = BOUNCE * (1 - normal[2]) * max(float(self.light.sun_direction[2]), 0.0)
        light = (
            sky[..., None] * self.light.sky
            + (sun[..., None] + bounce) * self.light.sun
            + lamps[..., None] * LAMP_COLOUR
        )
        pixels = _under_light(cv2.LUT(albedo[..., :3], ALBEDO_ROOT), light)
        if self.light.lit_windows and paint.glass is not None:
            self._light_windows(pixels, paint, paint.glass, surface)
        if albedo.shape[2] == 4:
            pixels = np.dstack([pixels, albedo[..., 3]])
        return Texture(pixels, surface.width, surface.height)

    def _grid(self, surface: Surface) -> np.ndarray:
        """(r, c, 3) world points spread evenly over a surface, about one per half metre."""
        u = np.linspace(0, surface.width, min(40, int(surface.width * 2) + 2))
        v = np.linspace(0, surface.height, min(40, int(surface.height * 2) + 2))
        return surface.at(np.stack(np.meshgrid(u, v), axis=-1))

    def _lamps_on(self, spots: np.ndarray, normal: np.ndarray) -> np.ndarray:
        total = np.zeros(spots.shape[:2])
        if not self.light.lamps:
            return total
        middle = spots.reshape(-1, 3).mean(axis=0)
        for lamp in self.shade.lamp_points:
            if np.linalg.norm(lamp - middle[:2]) < 28:
                towards = np.array([*lamp, 5.2]) - spots
                distance = np.linalg.norm(towards, axis=-1)
                total += np.maximum(towards @ normal / distance, 0.12) * 5.0 / (3 + distance**2)
        return total * self.light.lamps

    def _with_snow(self, surface: Surface, paint: Paint) -> np.ndarray:
        if self.condition.season != "winter" or not (surface.snowy or paint.ledges):
            return paint.albedo
        albedo = paint.albedo.copy()
        if surface.snowy:
            random = generator(self.town.seed, "snow", surface.owner)
            cover = np.clip(smooth_noise(random, albedo.shape[:2], 40, 3) * 1.2 + 1.1, 0, 0.96)[..., None]
            albedo[..., :3] = (albedo[..., :3] * (1 - cover) + SNOW * cover).astype(np.uint8)
        for x0, y0, x1, y1 in paint.ledges:
            albedo[max(0, y0) : y1, max(0, x0) : x1, :3] = SNOW
        return albedo

    def _light_windows(self, pixels: np.ndarray, paint: Paint, glass: np.ndarray, surface: Surface) -> None:
        """Switches on some rooms; which ones depends on the house, the wall and the drive."""
        place = (round(float(v) * 10) for v in surface.origin)
        random = generator(self.town.seed, self.seed, "windows", *place)
        for pane in paint.panes:
            warm = random.uniform(0, 1)
            bright = random.uniform(0.25, 0.95)
            on = random.random() < (0.8 if pane.shop else self.light.lit_windows)
            x0, y0, x1, y1 = pane.box
            if not on or x1 <= x0 or y1 <= y0:
                continue
            colour = bright * np.array([1.0, 0.74 + 0.2 * (1 - warm), 0.36 + 0.5 * (1 - warm)])
            gloom = 0.55 + 0.45 * random.random((3, 3), np.float32)
            room = cv2.resize(gloom, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
            albedo = ALBEDO[paint.albedo[y0:y1, x0:x1]].mean(axis=2)
            goods = np.clip(0.25 + 2.2 * albedo, 0, 1.4) * room
            clear = glass[y0:y1, x0:x1, None] > 0
            room_light = clear * goods[..., None] * colour.astype(np.float32)
            pixels[y0:y1, x0:x1] = encode(DECODED[pixels[y0:y1, x0:x1]] + room_light)
        if paint.glow is not None and random.random() < 0.7:
            letters = paint.glow > 40
            pixels[letters] = encode(DECODED[pixels[letters]] + np.array([1.1, 0.9, 0.6], np.float32))

    def _lit_ground(self, west: float, north: float, side: float, scale: float, levels: int) -> list[Raster]:
        coarse = 3.0
        openness = self.shade.openness.cut(west, north, side, coarse)
        tops = self.shade.tops.cut(west, north, side, coarse)
        sun = np.clip(0.7 - tops, 0, 1) * np.float32(max(self.light.sun_direction[2], 0))
        sky_colour, sun_colour = self.light.sky.astype(np.float32), self.light.sun.astype(np.float32)
        light = openness[..., None] * sky_colour + sun[..., None] * sun_colour
        if self.light.lamps:
            lamps = self.shade.lamplight.cut(west, north, side, coarse) * np.float32(0.75 * self.light.lamps)
            light = light + lamps[..., None] * LAMP_COLOUR.astype(np.float32)
        wet = 0.55 if self.condition.weather == "rain" else 1.0
        lit = _under_light(self._painter.paint(west, north, side, scale), np.float32(wet) * light)
        lit = cv2.GaussianBlur(lit, (0, 0), 0.7)
        rasters = [Raster(lit, west, north, scale)]
        for _ in range(levels - 1):
            previous = rasters[-1]
            half = previous.pixels.shape[0] // 2
            smaller = cv2.resize(previous.pixels, (half, half), interpolation=cv2.INTER_AREA)
            rasters.append(Raster(smaller, west, north, previous.scale / 2))
        return rasters

    def ground(self, position: np.ndarray) -> list[Raster]:
        """The lit ground about a (2,) point, finest first; every raster has half the scale of the one before."""
        corner = np.floor((position - CLOSE_SIDE_M / 2) / PERIOD_M + 0.5) * PERIOD_M
        west, north = float(corner[0]), float(corner[1] + CLOSE_SIDE_M)
        if self._close_ground is None or self._close_ground[0] != (west, north):
            self._close_ground = ((west, north), self._lit_ground(west, north, CLOSE_SIDE_M, CLOSE_SCALE, levels=2))
        return self._close_ground[1] + self._distant_ground


def _under_light(albedo_root: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Encoded light of (H, W, 3) roots of albedo (see `ALBEDO_ROOT`) under an (h, w, 3) coarse grid of light."""
    size = albedo_root.shape[1::-1]
    strength = cv2.resize(np.sqrt(light).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(albedo_root, strength, dtype=cv2.CV_8U)


@lru_cache(maxsize=2)
def scene_of(town: Town, condition: Condition, seed: int) -> Scene:
    """The scene of a drive; the few used last are kept."""
    return Scene(town, condition, seed)
