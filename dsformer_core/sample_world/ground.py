"""The ground of a town as a raster: roads, markings, pavements, yards, snow and leaves."""

from dataclasses import dataclass

import cv2
import numpy as np

from dsformer_core.sample_world.conditions import Condition
from dsformer_core.sample_world.lighting import ALBEDO_ROOT
from dsformer_core.sample_world.seeding import generator, smooth_noise
from dsformer_core.sample_world.street_network import Street, StreetNetwork

GRASS, COURT, PAVEMENT, JOINT, KERB, ASPHALT, SETTS, PAINT = range(8)
PERIOD_M = 16.0
# Grass, court, pavement, joint, kerb, asphalt, setts, paint.
_COLOUR = {
    "summer": [(88, 112, 54), (140, 130, 114), (150, 146, 140), (120, 116, 112),
               (172, 170, 164), (84, 84, 88), (112, 106, 100), (206, 206, 200)],
    "autumn": [(112, 104, 52), (138, 122, 100), (148, 140, 128), (116, 110, 102),
               (168, 162, 152), (82, 80, 82), (110, 102, 94), (200, 198, 190)],
    "winter": [(226, 230, 236), (206, 208, 212), (190, 194, 200), (176, 180, 188),
               (206, 208, 212), (112, 112, 118), (128, 126, 128), (186, 188, 190)],
}  # fmt: skip


@dataclass(frozen=True)
class Raster:
    """A square piece of ground.

    Attributes:
        pixels: (N, N, C) array; row 0 is the north edge.
        west: easting of the left edge in the town frame, metres.
        north: northing of the upper edge in the town frame, metres.
        scale: pixels per metre.
    """

    pixels: np.ndarray
    west: float
    north: float
    scale: float

    def cut(self, west: float, north: float, side: float, scale: float) -> np.ndarray:
        """Resamples a square of `side` metres at `scale` pixels per metre; clamps at the raster's edge."""
        size = round(side * scale)
        shrink = self.scale / scale
        shift = [(west - self.west) * self.scale, (self.north - north) * self.scale]
        to_source = np.array([[shrink, 0, shift[0] + shrink / 2 - 0.5], [0, shrink, shift[1] + shrink / 2 - 0.5]])
        return cv2.warpAffine(
            self.pixels, to_source, (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip


class GroundPainter:
    """Paints any square of a town's ground at any scale."""

    def __init__(self, seed: int, network: StreetNetwork, condition: Condition) -> None:
        self.seed = seed
        self.network = network
        self.palette = np.array(_COLOUR[condition.season], np.float32)
        self.condition = condition
        self._details: dict[float, np.ndarray] = {}
        self.reach = [
            max((s.half_road, s.half_width) for s in network.streets if node in s.nodes)
            for node in range(len(network.nodes))
        ]

    def paint(self, west: float, north: float, side: float, scale: float) -> np.ndarray:
        """Paints a square.

        Args:
            west: left edge in the town frame, a multiple of `PERIOD_M`.
            north: upper edge, a multiple of `PERIOD_M`.
            side: metres, a multiple of `PERIOD_M`.
            scale: pixels per metre.

        Returns:
            (N, N, 3) uint8: roots of the albedo, see `lighting.ALBEDO_ROOT`.
        """
        size = round(side * scale)
        kinds = np.full((size, size), GRASS, np.uint8)
        middle = np.array([west + side / 2, north - side / 2])
        near = [s for s in self.network.streets if s.distance(middle) < side * 0.71 + 20]
        pencil = _Pencil(kinds, west, north, scale)
        for street in near:
            pencil.band(street, -street.half_width - 16, street.half_width + 16, (COURT, COURT, GRASS)[street.district])
        for street in near:
            pencil.band(street, -street.half_width, street.half_width, PAVEMENT)
        for node, (_, half_width) in enumerate(self.reach):
            pencil.disc(self.network.nodes[node], half_width, PAVEMENT)
        if scale > 8:
            for street in near:
                for t in np.arange(1.0, street.length, 0.9).tolist():
                    pencil.across(street, t, -street.half_width, street.half_width, JOINT)
                for edge in (street.half_road + street.pavement / 2, -street.half_road - street.pavement / 2):
                    pencil.band(street, edge - 0.012, edge + 0.012, JOINT)
        for extra, kind in ((0.16, KERB), (0.0, None)):
            for node, (half_road, _) in enumerate(self.reach):
                pencil.disc(self.network.nodes[node], half_road + extra, ASPHALT if kind is None else kind)
            for street in near:
                surface = SETTS if street.cobbled else ASPHALT
                pencil.band(
                    street, -street.half_road - extra, street.half_road + extra, surface if kind is None else kind
                )
        for street in near:
            if not street.cobbled:
                self._markings(pencil, street)
        return self._colour(kinds, scale)

    def _markings(self, pencil: "_Pencil", street: Street) -> None:
        begin, end = (self.reach[node][0] + 1.0 for node in street.nodes)
        last = street.length - end
        if street.number % 4 != 0:
            for t in np.arange(begin + 5, last - 7, 5.0).tolist():
                pencil.patch(street, t, t + 2.4, -0.07, 0.07, PAINT)
        if street.parking:
            for side in (1, -1):
                edge = side * (street.half_road - 2.1)
                pencil.patch(street, begin + 6, last - 6, edge - 0.05, edge + 0.05, PAINT)
        for t, present in ((begin, street.number % 3 != 1), (last - 3.0, street.number % 3 != 2)):
            if present and last - begin > 14:
                for across in np.arange(-street.half_road + 0.4, street.half_road - 0.4, 0.95).tolist():
                    pencil.patch(street, t, t + 3.0, across, across + 0.5, PAINT)

    def _colour(self, kinds: np.ndarray, scale: float) -> np.ndarray:
        if scale not in self._details:
            self._details[scale] = self._make_detail(scale)
        detail = self._details[scale]
        period = round(PERIOD_M * scale)
        offset = np.arange(period * period, dtype=np.int32).reshape(period, period)
        colour = np.empty((*kinds.shape, 4), np.uint8)
        packed = colour.view(np.uint32)[..., 0]
        for top in range(0, kinds.shape[0], period):
            for left in range(0, kinds.shape[1], period):
                piece = kinds[top : top + period, left : left + period]
                np.take(
                    detail,
                    piece * np.int32(period * period) + offset,
                    out=packed[top : top + period, left : left + period],
                )
        return np.ascontiguousarray(colour[..., :3])

    def _make_detail(self, scale: float) -> np.ndarray:
        """(8 * n * n,) uint32: a repeating piece of every kind of ground, three bytes of colour per pixel."""
        fine = 24.0
        size = round(PERIOD_M * fine)
        layers = []
        for kind, colour in enumerate(self.palette):
            random = generator(self.seed, "ground", kind)
            coarse = np.roll(smooth_noise(random, (size, size), 3.5 * fine), size // 2, 0)
            speckle = random.standard_normal((size, size), np.float32)
            strength = {GRASS: (0.10, 0.16), COURT: (0.08, 0.07), ASPHALT: (0.07, 0.075), SETTS: (0.06, 0.05)}.get(
                kind, (0.05, 0.035)
            )
            shade = 1 + strength[0] * coarse + strength[1] * cv2.GaussianBlur(speckle, (0, 0), 0.7) * 1.6
            if kind == SETTS:
                shade *= _setts(random, size, fine)
            layer = colour * shade[..., None]
            layer = self._season(kind, layer, random, size, fine)
            layers.append(np.clip(layer, 0, 255).astype(np.uint8))
        small = round(PERIOD_M * scale)
        shrunk = [cv2.resize(layer, (small, small), interpolation=cv2.INTER_AREA) for layer in layers]
        roots = ALBEDO_ROOT[np.stack(shrunk)].round().astype(np.uint8)
        return np.concatenate([roots, np.zeros_like(roots[..., :1])], axis=-1).view(np.uint32).ravel()

    def _season(self, kind: int, layer: np.ndarray, random: np.random.Generator, size: int, scale: float) -> np.ndarray:
        if self.condition.season == "autumn":
            drifts = smooth_noise(random, (size, size), 2.5 * scale) + 1.1 * smooth_noise(
                random, (size, size), 0.12 * scale, 1
            )
            fallen = drifts > {GRASS: 0.45, COURT: 0.8, PAVEMENT: 0.85, JOINT: 0.85, KERB: 0.6}.get(kind, 1.2)
            leaves = np.array([168, 106, 38]) * random.uniform(0.6, 1.2, (size, size, 1))
            return np.where(fallen[..., None], leaves, layer)
        if self.condition.season == "winter" and kind >= PAVEMENT:
            drifts = smooth_noise(random, (size, size), 2.0 * scale, 4)
            cover = np.clip((drifts - (0.55 if kind >= ASPHALT else -0.2)) * 3, 0, 0.92)[..., None]
            return layer * (1 - cover) + np.array([226, 230, 236]) * cover
        return layer


class _Pencil:
    """Draws street-shaped figures into a raster of kinds."""

    def __init__(self, kinds: np.ndarray, west: float, north: float, scale: float) -> None:
        self.kinds, self.corner, self.scale = kinds, np.array([west, north]), scale

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return ((points - self.corner) * [self.scale, -self.scale] * 16 - 8).round().astype(np.int32)

    def patch(self, street: Street, t0: float, t1: float, across0: float, across1: float, kind: int) -> None:
        """A rectangle in street coordinates: metres along from the start, metres to the left of the middle."""
        along = street.direction
        left = np.array([-along[1], along[0]])
        corners = [
            street.start + along * t + left * a for t, a in ((t0, across0), (t1, across0), (t1, across1), (t0, across1))
        ]
        cv2.fillConvexPoly(self.kinds, self._pixels(np.array(corners)), kind, cv2.LINE_8, 4)

    def band(self, street: Street, across0: float, across1: float, kind: int) -> None:
        """A stripe along the whole street."""
        self.patch(street, 0, street.length, across0, across1, kind)

    def across(self, street: Street, t: float, across0: float, across1: float, kind: int) -> None:
        """A thin line across the street."""
        self.patch(street, t - 0.012, t + 0.012, across0, across1, kind)

    def disc(self, centre: np.ndarray, radius: float, kind: int) -> None:
        x, y = self._pixels(centre)
        cv2.circle(self.kinds, (int(x), int(y)), round(radius * self.scale * 16), kind, -1, cv2.LINE_8, 4)


def _setts(random: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Small paving stones in running bond that repeats after `size` pixels."""
    rows, columns = round(PERIOD_M / 0.16), round(PERIOD_M / 0.2)
    y, x = np.arange(size) * rows / size, np.arange(size) * columns / size
    along = x[None, :] + 0.5 * (y.astype(int) % 2)[:, None]
    tint = random.uniform(0.86, 1.14, (rows, columns))[y.astype(int)[:, None], along.astype(int) % columns]
    gap = ((y % 1) < 0.16)[:, None] | ((along % 1) < 0.14)
    return np.where(gap, 0.66, tint).astype(np.float32)
