"""Cars and vans: an outline extruded sideways, with painted sides, lights and glass."""

import itertools
from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np

from dsformer_core.sample_world.facade_texture import Paint
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.surfaces import Surface

SCALE = 56.0
BODY_COLOURS = [(190, 192, 196), (32, 34, 38), (120, 124, 130), (226, 226, 224), (150, 24, 28), (28, 54, 104),
                (44, 78, 60), (170, 150, 110), (86, 34, 40), (214, 120, 30), (70, 110, 150),
                (210, 190, 60)]  # fmt: skip
GLASS = (34, 42, 50)

Outline = tuple[tuple[float, float, str], ...]
"""(metres from the rear, metres up, what the piece up to the next point is), from rear to front."""

OUTLINES: dict[str, Outline] = {
    "hatchback": ((0.0, 0.32, "rear"), (0.02, 0.92, "window"), (0.42, 1.44, "body"), (2.15, 1.47, "window"),
                  (2.95, 0.98, "body"), (3.82, 0.80, "front"), (3.95, 0.32, "end")),
    "saloon": ((0.0, 0.32, "rear"), (0.02, 0.92, "body"), (0.75, 0.98, "window"), (1.38, 1.40, "body"),
               (2.65, 1.42, "window"), (3.40, 0.96, "body"), (4.42, 0.78, "front"), (4.55, 0.32, "end")),
    "estate": ((0.0, 0.32, "rear"), (0.03, 0.95, "window"), (0.30, 1.44, "body"), (2.60, 1.48, "window"),
               (3.35, 0.98, "body"), (4.45, 0.80, "front"), (4.60, 0.32, "end")),
    "suv": ((0.0, 0.40, "rear"), (0.02, 1.08, "window"), (0.28, 1.66, "body"), (2.50, 1.70, "window"),
            (3.20, 1.16, "body"), (4.25, 1.00, "front"), (4.40, 0.40, "end")),
    "van": ((0.0, 0.38, "rear"), (0.02, 1.15, "rear"), (0.06, 2.25, "body"), (4.0, 2.30, "window"),
            (4.65, 1.28, "body"), (5.15, 1.05, "front"), (5.25, 0.38, "end")),
    "bus": ((0.0, 0.40, "rear"), (0.02, 1.30, "rear"), (0.05, 3.00, "body"), (10.8, 3.05, "window"),
            (10.95, 1.10, "front"), (11.0, 0.40, "end")),
}  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """A vehicle at its place.

    Attributes:
        kind: a key of `OUTLINES`.
        colour: index into `BODY_COLOURS`.
        x: metres east in the town frame, of its middle.
        y: metres north.
        yaw: radians.
        lights: whether its lamps are on after sunset.
    """

    kind: str
    colour: int
    x: float
    y: float
    yaw: float
    lights: bool = False

    @property
    def length(self) -> float:
        """Metres."""
        return OUTLINES[self.kind][-1][0]

    @property
    def width(self) -> float:
        """Metres."""
        return {"van": 1.95, "bus": 2.5, "suv": 1.85}.get(self.kind, 1.74)


def vehicle_surfaces(vehicle: Vehicle) -> list[Surface]:
    """The shadow below a vehicle, its pieces from rear to front, and its sides."""
    ahead = np.array([np.cos(vehicle.yaw), np.sin(vehicle.yaw), 0.0])
    left = np.array([-ahead[1], ahead[0], 0.0])
    half = vehicle.width / 2
    rear = np.array([vehicle.x, vehicle.y, 0.0]) - ahead * vehicle.length / 2
    up = np.array([0.0, 0.0, 1.0])
    outline = OUTLINES[vehicle.kind]
    top = max(z for _, z, _ in outline)
    side = partial(paint_side, vehicle.kind, vehicle.colour)
    size = (vehicle.length, top)
    front_left = rear + ahead * vehicle.length + left * half + up * top
    surfaces = [
        Surface(
            rear + left * (half + 0.25) - ahead * 0.3 + up * 0.02, ahead, -left,
            vehicle.length + 0.6, vehicle.width + 0.5, paint_shadow, two_sided=True,
        ),
        Surface(rear - left * half + up * top, ahead, -up, *size, partial(side, False)),
        Surface(front_left, -ahead, -up, *size, partial(side, True)),
    ]  # fmt: skip
    for (x0, z0, piece), (x1, z1, _) in itertools.pairwise(outline):
        low, high = rear + ahead * x0 + up * z0, rear + ahead * x1 + up * z1
        run = float(np.hypot(x1 - x0, z1 - z0))
        paint = partial(paint_piece, piece, vehicle.colour, round(vehicle.width, 2), round(run, 2), vehicle.lights)
        if z1 >= z0:
            surfaces.append(Surface(high + left * half, -left, (low - high) / run, vehicle.width, run, paint))
        else:
            surfaces.append(Surface(low - left * half, left, (high - low) / run, vehicle.width, run, paint))
    return surfaces


@lru_cache(maxsize=1)
def paint_shadow() -> Paint:
    """Where a vehicle keeps the light off the road."""
    rows, columns = 40, 80
    y, x = np.mgrid[0:rows, 0:columns]
    edge = np.minimum(np.minimum(x, columns - 1 - x) / 12, np.minimum(y, rows - 1 - y) / 8)
    paint = np.zeros((rows, columns, 4), np.uint8)
    paint[..., 3] = 205 * np.clip(edge, 0, 1)
    return Paint(paint, 16)


@lru_cache(maxsize=256)
def paint_piece(piece: str, colour: int, width: float, height: float, lights: bool) -> Paint:
    """Paints one piece of the outline: "body", "window", "front" or "rear", its lamps on or off."""
    size = (max(4, round(width * SCALE)), max(4, round(height * SCALE)))
    body = np.array(BODY_COLOURS[colour], float)
    paint = np.empty((size[1], size[0], 3), np.uint8)
    paint[:] = np.clip(body * np.linspace(1.05, 0.8, size[1])[:, None, None], 0, 255).astype(np.uint8)
    glow = np.zeros(paint.shape[:2], np.uint8)
    wide, high = size
    if piece == "window":
        pane = np.linspace(1.9, 0.8, high)[:, None, None] * np.array(GLASS)
        paint[2 : high - 2, 4 : wide - 4] = np.clip(pane, 0, 255).astype(np.uint8)[2 : high - 2]
    elif piece == "body":
        cv2.line(paint, (3, 0), (3, high), [int(c * 0.7) for c in body], 1)
        cv2.line(paint, (wide - 4, 0), (wide - 4, high), [int(c * 0.7) for c in body], 1)
    elif piece in ("front", "rear") and height > 0.3:
        front = piece == "front"
        lamp = (250, 248, 235) if front else (190, 18, 20)
        middle, tall = int(high * 0.3), max(3, int(high * 0.14))
        for x in (int(wide * 0.03), int(wide * 0.79)):
            box = ((x, middle - tall), (x + int(wide * 0.18), middle + tall))
            cv2.rectangle(paint, *box, lamp, -1)
            cv2.rectangle(glow, *box, 255, -1)
        if front:
            cv2.rectangle(paint, (int(wide * 0.27), middle - tall), (int(wide * 0.73), middle + tall), (24, 26, 28), -1)
        plate = (int(wide * 0.37), int(high * 0.62)), (int(wide * 0.63), int(high * 0.78))
        cv2.rectangle(paint, *plate, (228, 228, 216), -1)
        paint[int(high * 0.84) :] = (26, 27, 29)
    return Paint(paint, SCALE, glow=glow if lights else None)


@lru_cache(maxsize=128)
def paint_side(kind: str, colour: int, mirrored: bool) -> Paint:
    """Paints the right side (front on the right), or the left side mirrored: body, windows, doors and wheels."""
    outline = OUTLINES[kind]
    length, top = outline[-1][0], max(z for _, z, _ in outline)
    wide, high = round(length * SCALE), round(top * SCALE)
    body = np.array(BODY_COLOURS[colour], float)
    shape = np.array([[x * SCALE, (top - z) * SCALE] for x, z, _ in outline])
    paint = np.zeros((high, wide, 4), np.uint8)
    rows = np.linspace(0, 1, high)[:, None]
    shade = 1.08 - 0.45 * np.clip((rows - 0.4) / 0.6, 0, 1) ** 1.5
    paint[..., :3] = np.clip(body * shade[..., None], 0, 255).astype(np.uint8)
    cv2.fillPoly(paint_mask := np.zeros((high, wide), np.uint8), [shape.round().astype(np.int32)], 255, cv2.LINE_AA)
    _side_windows(paint, kind, outline, top)
    sill = int((top - outline[0][1] - 0.06) * SCALE)
    paint[sill:, :, :3] = (30, 31, 33)
    radius = 0.33 if kind not in ("bus", "suv") else 0.42
    random = generator(colour, kind)
    rim = int(random.integers(110, 190))
    for x in (0.19 * length if kind != "bus" else 2.4, 0.815 * length if kind != "bus" else 8.4):
        centre = (round(x * SCALE), round((top - radius) * SCALE))
        cv2.circle(paint, centre, round((radius + 0.07) * SCALE), (14, 14, 15, 255), -1, cv2.LINE_AA)
        cv2.circle(paint_mask, centre, round(radius * SCALE), 255, -1, cv2.LINE_AA)
        cv2.circle(paint, centre, round(radius * SCALE), (24, 24, 26, 255), -1, cv2.LINE_AA)
        cv2.circle(paint, centre, round(radius * 0.62 * SCALE), (rim, rim, rim, 255), -1, cv2.LINE_AA)
        cv2.circle(paint, centre, round(radius * 0.2 * SCALE), (60, 60, 62, 255), -1, cv2.LINE_AA)
    paint[..., 3] = paint_mask
    return Paint(np.ascontiguousarray(paint[:, ::-1]) if mirrored else paint, SCALE)


def _side_windows(paint: np.ndarray, kind: str, outline: Outline, top: float) -> None:
    line = [int(c) for c in paint[paint.shape[0] // 2, 0, :3] * 0.55]
    length = outline[-1][0]
    if kind == "bus":
        for x in np.arange(0.4, length - 1.2, 1.45).tolist():
            box = (int(x * SCALE), int(0.35 * SCALE)), (int((x + 1.32) * SCALE), int(1.55 * SCALE))
            cv2.rectangle(paint, *box, (*GLASS, 255), -1)
        return
    roof = [(x, z) for x, z, _ in outline[1:-1] if z > top - 0.5 * (top - outline[1][1])]
    belt = 0.98 if kind != "van" else 1.35
    if kind == "suv":
        belt = 1.12
    front_foot = next(x for x, z, _ in outline[::-1] if z >= belt - 0.06)
    rear_foot = roof[0][0] - 0.3 if kind in ("saloon",) else roof[0][0] - 0.1
    if kind == "van":
        rear_foot, roof = 3.1, [(3.1, top), roof[-1]]
    glass = [
        (rear_foot + 0.05, belt),
        (roof[0][0] + 0.1, top - 0.09),
        (roof[-1][0] - 0.02, top - 0.1),
        (front_foot - 0.25, belt),
    ]
    corners = np.array([[x * SCALE, (top - z) * SCALE] for x, z in glass]).round().astype(np.int32)
    cv2.fillPoly(paint, [corners], (*GLASS, 255), cv2.LINE_AA)
    sheen = corners.copy()
    sheen[[0, 3], 1] = (corners[[0, 3], 1] + corners[[1, 2], 1]) // 2
    cv2.fillPoly(paint, [sheen], (70, 84, 98, 255), cv2.LINE_AA)
    posts = (0.5,) if kind == "van" else (0.33, 0.62)
    for share in posts:
        x = int((glass[0][0] + share * (glass[-1][0] - glass[0][0])) * SCALE)
        cv2.line(
            paint,
            (x, int(0.09 * SCALE)),
            (x, int((top - belt) * SCALE)),
            (*(paint[int((top - belt) * SCALE) + 3, x, :3].tolist()), 255),
            5,
        )
        cv2.line(paint, (x, int((top - belt) * SCALE)), (x, int((top - 0.42) * SCALE)), (*line, 255), 1)
        cv2.line(
            paint,
            (x + 8, int((top - belt + 0.12) * SCALE)),
            (x + 18, int((top - belt + 0.12) * SCALE)),
            (*line, 255),
            2,
        )
