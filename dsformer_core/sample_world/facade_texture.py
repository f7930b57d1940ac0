"""Draws the front of a house from its design."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dsformer_core.sample_world.facade_design import FacadeDesign
from dsformer_core.sample_world.materials import paint_material
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.windows import Pane, paint_window

FRONT_SCALE = 40.0
SIDE_SCALE = 20.0


@dataclass(frozen=True, eq=False)
class Paint:
    """A drawn surface, not yet lit.

    Attributes:
        albedo: (H, W, 3) uint8 RGB.
        scale: pixels per metre.
        glass: (H, W) uint8, 255 where light shines through at night; None where there are no windows.
        panes: the windows, which are lit one by one.
        glow: (H, W) uint8, 255 where the surface itself shines at night (signs).
        ledges: (x0, y0, x1, y1) pixel boxes on which snow lies.
    """

    albedo: np.ndarray
    scale: float
    glass: np.ndarray | None = None
    panes: tuple[Pane, ...] = ()
    glow: np.ndarray | None = None
    ledges: tuple[tuple[int, int, int, int], ...] = ()


@lru_cache(maxsize=256)
def paint_front(design: FacadeDesign) -> Paint:
    """Paints the street front.

    Args:
        design: what to paint.

    Returns:
        A paint of `wall_height` x `width` metres at `FRONT_SCALE`.
    """
    return _FrontPainter(design).paint()


@lru_cache(maxsize=256)
def paint_side(design: FacadeDesign, width: float, height: float, windows: bool) -> Paint:
    """Paints a side or back wall: the same material, few windows, dirt.

    Args:
        design: of the house.
        width: metres.
        height: metres.
        windows: whether it has any.

    Returns:
        A paint at `SIDE_SCALE`.
    """
    random = generator(design.key, "side")
    shape = (max(2, round(height * SIDE_SCALE)), max(2, round(width * SIDE_SCALE)))
    wall = paint_material(design.material, random, shape, np.array(design.colour) * 0.95, SIDE_SCALE)
    glass = np.zeros(shape, np.uint8)
    panes = []
    columns = np.linspace(0.25, 0.75, 2) * width if width > 7 else np.array([width / 2])
    for storey in range(design.storeys + 1) if windows else ():
        top = height - design.ground_height - (storey - 1) * design.storey_height - 2.3
        for x in columns:
            if random.random() < 0.55 and top > 0.3:
                box = tuple(int(v * SIDE_SCALE) for v in (x - 0.45, top, x + 0.45, top + 1.3))
                panes.append(paint_window(wall, glass, box, "plain", design.trim, random, SIDE_SCALE))
    _darken_foot(wall, SIDE_SCALE)
    return Paint(wall, SIDE_SCALE, glass, tuple(panes))


def _darken_foot(wall: np.ndarray, scale: float) -> None:
    """Splashes and the shade of the corner between wall and pavement."""
    reach = min(wall.shape[0], round(1.1 * scale))
    shade = np.linspace(1.0, 0.70, reach, dtype=np.float32) ** 1.5
    wall[-reach:] = (wall[-reach:] * shade[:, None, None]).astype(np.uint8)


class _FrontPainter:
    """Paints one front; metres from its top left corner become pixels in `box`."""

    def __init__(self, design: FacadeDesign) -> None:
        self.design = design
        self.random = generator(design.key, "front")
        self.height = round(design.wall_height * FRONT_SCALE)
        self.width = round(design.width * FRONT_SCALE)
        self.glass = np.zeros((self.height, self.width), np.uint8)
        self.glow = np.zeros((self.height, self.width), np.uint8)
        self.panes: list[Pane] = []
        self.ledges: list[tuple[int, int, int, int]] = []

    def paint(self) -> Paint:
        design = self.design
        self.wall = paint_material(
            design.material, self.random, (self.height, self.width), np.array(design.colour), FRONT_SCALE
        )
        base = round(design.ground_height * FRONT_SCALE)
        if design.base_material != design.material or design.base_colour != design.colour:
            self.wall[-base:] = paint_material(
                design.base_material, self.random, (base, self.width), np.array(design.base_colour), FRONT_SCALE
            )
        for storey in range(design.storeys):
            self._storey(design.wall_height - design.ground_height - (storey + 1) * design.storey_height)
        if design.shop:
            self._shop()
        else:
            self._residential_ground()
        self._mouldings()
        if design.drainpipe:
            x = 0.15 if self.random.random() < 0.5 else design.width - 0.2
            self._bar(x, 0.1, x + 0.1, design.wall_height, tuple(int(c * 0.6) for c in design.trim))
        _darken_foot(self.wall, FRONT_SCALE)
        return Paint(self.wall, FRONT_SCALE, self.glass, tuple(self.panes), self.glow, tuple(self.ledges))

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
        return tuple(round(v * FRONT_SCALE) for v in (x0, y0, x1, y1))  # type: ignore[return-value]

    def _bar(self, x0: float, y0: float, x1: float, y1: float, colour: tuple[int, ...], relief: float = 0.05) -> None:
        """A moulding that catches light on its upper edge and throws shade below."""
        left, top, right, bottom = self._box(x0, y0, x1, y1)
        shade = max(1, round(relief * FRONT_SCALE))
        below = self.wall[max(0, bottom) : bottom + 2 * shade, max(0, left) : right]
        below[:] = (below * 0.62).astype(np.uint8)
        cv2.rectangle(self.wall, (left, top), (right - 1, bottom - 1), colour, -1)
        cv2.line(self.wall, (left, top), (right - 1, top), [min(255, int(c * 1.15) + 8) for c in colour], 1)
        cv2.line(self.wall, (left, bottom - 1), (right - 1, bottom - 1), [int(c * 0.7) for c in colour], 1)

    def _storey(self, top: float) -> None:
        """One row of windows; `top` is the storey's upper edge, metres below the eaves."""
        design = self.design
        wide, high = design.window
        high = min(high, design.storey_height - 0.9)
        sill = top + design.storey_height - 0.75
        for bay in range(design.bays):
            middle = (bay + 0.5) * design.width / design.bays
            tall = bay in design.balcony_bays
            x0, x1, y0, y1 = middle - wide / 2, middle + wide / 2, sill - high, sill + (0.7 if tall else 0.0)
            self._surround(x0, y0, x1, y1)
            self.panes.append(
                paint_window(
                    self.wall, self.glass, self._box(x0, y0, x1, y1), design.window_style, design.trim, self.random,
                    FRONT_SCALE,
                )
            )  # fmt: skip
            if not tall:
                self._bar(x0 - 0.1, y1, x1 + 0.1, y1 + 0.09, design.trim)
                self.ledges.append(self._box(x0 - 0.1, y1 - 0.05, x1 + 0.1, y1 + 0.02))
            if design.shutters:
                self._shutter(x0 - wide / 2 - 0.04, y0, x0 - 0.04, y1)
                self._shutter(x1 + 0.04, y0, x1 + wide / 2 + 0.04, y1)

    def _surround(self, x0: float, y0: float, x1: float, y1: float) -> None:
        trim = self.design.trim
        if self.design.surround == "frame":
            self._bar(x0 - 0.13, y0 - 0.13, x1 + 0.13, y1 + 0.02, trim, 0.03)
        elif self.design.surround == "lintel":
            self._bar(x0 - 0.18, y0 - 0.24, x1 + 0.18, y0, trim, 0.02)
        elif self.design.surround == "pediment":
            self._bar(x0 - 0.15, y0 - 0.14, x1 + 0.15, y0, trim, 0.02)
            apex = self._box((x0 + x1) / 2, y0 - 0.5, x1 + 0.22, y0 - 0.14)
            left = self._box(x0 - 0.22, y0, x1, y1)[0]
            cv2.fillConvexPoly(self.wall, np.array([[left, apex[3]], apex[:2], [apex[2], apex[3]]]), trim, cv2.LINE_AA)

    def _shutter(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self._bar(x0, y0, x1, y1, self.design.accent, 0.02)
        left, top, right, bottom = self._box(x0, y0, x1, y1)
        for y in range(top + 3, bottom - 3, 3):
            cv2.line(self.wall, (left + 3, y), (right - 4, y), [int(c * 0.65) for c in self.design.accent], 1)

    def _mouldings(self) -> None:
        design = self.design
        self._bar(0, 0, design.width, self.random.uniform(0.2, 0.4), design.trim, 0.12)
        self.ledges.append(self._box(0, 0, design.width, 0.06))
        if self.random.random() < 0.6 and design.storeys:
            y = design.wall_height - design.ground_height
            self._bar(0, y - 0.1, design.width, y + 0.1, design.trim, 0.08)
            self.ledges.append(self._box(0, y - 0.13, design.width, y - 0.07))
        if self.random.random() < 0.35:
            edge = round(0.35 * FRONT_SCALE)
            for side in (slice(0, edge), slice(self.width - edge, self.width)):
                for row, y in enumerate(range(0, self.height, edge)):
                    block = self.wall[y : y + edge - 2, side]
                    block[:] = (0.45 * block + 0.55 * np.array(design.trim) * (0.92 + 0.08 * (row % 2))).astype(
                        np.uint8
                    )

    def _door(self, x0: float, width: float, height: float) -> None:
        design, bottom = self.design, self.design.wall_height
        self._bar(x0 - 0.15, bottom - height - 0.2, x0 + width + 0.15, bottom, design.trim, 0.02)
        left, top, right, base = self._box(x0, bottom - height, x0 + width, bottom - 0.12)
        cv2.rectangle(self.wall, (left, top), (right, base), design.accent, -1)
        fanlight = top + round(0.4 * FRONT_SCALE)
        self.panes.append(
            paint_window(self.wall, self.glass, (left + 3, top + 3, right - 3, fanlight), "plain", design.trim,
                         self.random, FRONT_SCALE)
        )  # fmt: skip
        dark = [int(c * 0.6) for c in design.accent]
        leaves = 2 if width > 1.3 else 1
        for leaf in range(leaves):
            a, b = left + leaf * (right - left) // leaves, left + (leaf + 1) * (right - left) // leaves
            for upper, lower in ((0.08, 0.45), (0.53, 0.92)):
                y0, y1 = (int(fanlight + share * (base - fanlight)) for share in (upper, lower))
                cv2.rectangle(self.wall, (a + 6, y0), (b - 6, y1), dark, 2)
            cv2.circle(self.wall, (b - 6, (fanlight + base) // 2), 2, (200, 180, 110), -1, cv2.LINE_AA)
        cv2.rectangle(self.wall, (left - 6, base), (right + 6, self.height), (120, 116, 110), -1)

    def _residential_ground(self) -> None:
        design = self.design
        door_bay = int(self.random.integers(design.bays))
        wide, high = min(design.window[0], 1.6), min(1.5, design.ground_height - 1.6)
        sill = design.wall_height - 1.05
        for bay in range(design.bays):
            middle = (bay + 0.5) * design.width / design.bays
            if bay == door_bay:
                width = min(self.random.uniform(0.95, 1.7), design.width / design.bays - 0.4)
                self._door(middle - width / 2, width, min(2.45, design.ground_height - 0.5))
                continue
            box = (middle - wide / 2, sill - high, middle + wide / 2, sill)
            self._surround(*box)
            style = "plain" if design.window_style == "band" else design.window_style
            self.panes.append(
                paint_window(self.wall, self.glass, self._box(*box), style, design.trim, self.random, FRONT_SCALE)
            )
            self._bar(box[0] - 0.1, sill, box[2] + 0.1, sill + 0.09, design.trim)
            if design.shutters:
                self._shutter(box[0] - wide / 2 - 0.04, box[1], box[0] - 0.04, sill)
                self._shutter(box[2] + 0.04, box[1], box[2] + wide / 2 + 0.04, sill)

    def _shop(self) -> None:
        design, bottom = self.design, self.design.wall_height
        top = bottom - design.ground_height
        self._bar(0.25, top + 0.9, design.width - 0.25, bottom, tuple(int(c * 0.75) for c in design.accent), 0.02)
        door = self.random.uniform(0.15, 0.7) * (design.width - 1.6)
        panes = [(0.45, door - 0.1), (door + 1.25, design.width - 0.45)]
        for x0, x1 in panes:
            if x1 - x0 > 0.6:
                parts = max(1, round((x1 - x0) / 2.2))
                for part in range(parts):
                    a, b = x0 + part * (x1 - x0) / parts, x0 + (part + 1) * (x1 - x0) / parts
                    self.panes.append(
                        paint_window(self.wall, self.glass, self._box(a + 0.04, top + 1.05, b - 0.04, bottom - 0.55),
                                     "shop", design.trim, self.random, FRONT_SCALE)
                    )  # fmt: skip
        self._door(door, 1.1, min(2.5, design.ground_height - 1.1))
        self._sign(top + 0.25)

    def _sign(self, y: float) -> None:
        design = self.design
        self._bar(0.3, y, design.width - 0.3, y + 0.62, design.sign, 0.06)
        bright = sum(design.sign) > 330
        ink = (36, 32, 30) if bright else (244, 238, 214)
        font = int(self.random.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX,
                                       cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX]))  # fmt: skip
        text = design.text.title() if font == cv2.FONT_HERSHEY_SCRIPT_COMPLEX else design.text
        thick = int(self.random.integers(2, 4))
        (wide, high), _ = cv2.getTextSize(text, font, 1.0, thick)
        size = min(0.36 * FRONT_SCALE / high, (design.width - 1.0) * FRONT_SCALE / wide)
        x = round((design.width * FRONT_SCALE - wide * size) / 2)
        base = round((y + 0.31) * FRONT_SCALE + high * size / 2)
        for target, colour in ((self.wall, ink), (self.glow, 255)):
            cv2.putText(target, text, (x, base), font, size, colour, thick if size > 0.7 else 1, cv2.LINE_AA)
