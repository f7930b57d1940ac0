"""Houses: walls, roofs and what sticks out of them."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from dsformer_core.sample_world.facade_design import FacadeDesign
from dsformer_core.sample_world.facade_texture import SIDE_SCALE, Paint, paint_front, paint_side
from dsformer_core.sample_world.materials import paint_material
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.surfaces import Surface, slope, upright
from dsformer_core.sample_world.windows import paint_window

EAVES_M = 0.35


@dataclass(frozen=True, eq=False)
class Building:
    """A house at its place.

    Attributes:
        number: its place in the town's list.
        design: what it looks like.
        corner: (2,) ground point of the front's left end, seen from the street; metres in the town frame.
        along: (2,) unit vector from there to the front's right end.
    """

    number: int
    design: FacadeDesign
    corner: np.ndarray
    along: np.ndarray

    @property
    def inward(self) -> np.ndarray:
        """(2,) unit vector away from the street."""
        return np.array([-self.along[1], self.along[0]])

    @property
    def footprint(self) -> np.ndarray:
        """(4, 2) front left, front right, back right, back left."""
        across, deep = self.along * self.design.width, self.inward * self.design.depth
        return self.corner + np.array([0 * across, across, across + deep, deep])

    @property
    def front(self) -> Surface:
        """The wall that faces the street."""
        left, right = self.footprint[:2]
        return upright(left, right, 0, self.design.wall_height, partial(paint_front, self.design), owner=self.number)


@lru_cache(maxsize=512)
def paint_plain(
    material: str, colour: tuple[int, ...], width: float, height: float, key: int, scale: float = SIDE_SCALE
) -> Paint:
    """A piece of bare material, e.g. a roof, a garden wall or an awning."""
    shape = (max(2, round(height * scale)), max(2, round(width * scale)))
    return Paint(paint_material(material, generator(key, material), shape, np.array(colour, float), scale), scale)


def building_surfaces(building: Building) -> list[Surface]:
    """Every surface of a house.

    Args:
        building: the house.

    Returns:
        Walls first, then the roof, then what sticks out.
    """
    design = building.design
    front_left, front_right, back_right, back_left = building.footprint
    side = partial(paint_side, design, design.depth, design.wall_height)
    walls = [building.front]
    for left, right, paint in (
        (front_right, back_right, partial(side, True)),
        (back_left, front_left, partial(side, False)),
        (back_right, back_left, partial(paint_side, design, design.width, design.wall_height, True)),
    ):
        walls.append(upright(left, right, 0, design.wall_height, paint, owner=building.number))
    return walls + _ROOFS[design.roof](building) + _balconies(building) + _awning(building) + _chimneys(building)


def _lift(point: np.ndarray, height: float) -> np.ndarray:
    return np.append(point, height)


def _tiled(design: FacadeDesign, width: float, height: float) -> partial[Paint]:
    return partial(paint_plain, design.roof_material, design.roof_colour, round(width, 2), round(height, 2), design.key)


def _plain(material: str, colour: tuple[int, ...], width: float, height: float, key: int) -> partial[Paint]:
    return partial(paint_plain, material, colour, round(width, 2), round(height, 2), key)


def _gable_walls(building: Building, corners: list[tuple[np.ndarray, np.ndarray]], rise: float) -> list[Surface]:
    design, walls = building.design, []
    for left, right in corners:
        width = float(np.linalg.norm(right - left))
        outline = np.array([[0, rise], [width / 2, 0], [width, rise]])
        paint = _plain(design.material, design.colour, width, rise, design.key)
        base = design.wall_height
        walls.append(upright(left, right, base, base + rise, paint, outline=outline, owner=building.number))
    return walls


def _pair_of_slopes(
    building: Building, ridge: tuple[np.ndarray, np.ndarray], feet: tuple[np.ndarray, np.ndarray]
) -> list[Surface]:
    """Two roof sides along a ridge; `feet` are the eaves below the ridge's first end, left and right of it."""
    design = building.design
    first, second = ridge
    slopes = []
    for top_left, top_right, foot in ((first, second, feet[0]), (second, first, feet[1] + (second - first))):
        paint = _tiled(design, float(np.linalg.norm(second - first)), float(np.linalg.norm(foot - top_left)))
        slopes.append(slope(top_left, top_right, foot, paint=paint, owner=building.number, snowy=True))
    return slopes


def _gable(building: Building) -> list[Surface]:
    """The ridge runs along the street."""
    design = building.design
    front_left, front_right, back_right, back_left = building.footprint
    half, rise = design.depth / 2, design.depth / 2 * design.roof_pitch
    middle = building.inward * half
    ridge = (
        _lift(front_left + middle - building.along * 0.2, design.wall_height + rise),
        _lift(front_right + middle + building.along * 0.2, design.wall_height + rise),
    )
    drop = design.wall_height - EAVES_M * design.roof_pitch
    reach = building.inward * (half + EAVES_M)
    feet = (np.append(ridge[0][:2] - reach, drop), np.append(ridge[0][:2] + reach, drop))
    gables = _gable_walls(building, [(front_right, back_right), (back_left, front_left)], rise)
    return _pair_of_slopes(building, ridge, feet) + gables + _dormers(building)


def _front_gable(building: Building) -> list[Surface]:
    """The ridge runs away from the street; the gable shows to it."""
    design = building.design
    front_left, front_right, back_right, back_left = building.footprint
    half, rise = design.width / 2, design.width / 2 * design.roof_pitch
    middle = front_left + building.along * half
    ridge = (
        _lift(middle + building.inward * (design.depth + 0.2), design.wall_height + rise),
        _lift(middle - building.inward * EAVES_M, design.wall_height + rise),
    )
    drop = design.wall_height - EAVES_M * design.roof_pitch
    reach = building.along * (half + EAVES_M)
    feet = (np.append(ridge[0][:2] - reach, drop), np.append(ridge[0][:2] + reach, drop))
    gables = _gable_walls(building, [(front_left, front_right), (back_right, back_left)], rise)
    return _pair_of_slopes(building, ridge, feet) + gables


def _hip(building: Building) -> list[Surface]:
    """Four sides that lean inward."""
    design = building.design
    rise = design.depth / 2 * design.roof_pitch
    surfaces = []
    corners = building.footprint
    for index in range(4):
        left, right = corners[index], corners[(index + 1) % 4]
        width = float(np.linalg.norm(right - left))
        across = (right - left) / width
        inward = np.array([-across[1], across[0]])
        run = min(design.depth, design.width) / 2
        fall = float(np.hypot(run, rise))
        top = _lift(left + inward * run, design.wall_height + rise)
        inset = min(run, width / 2)
        outline = np.array([[inset, 0], [width - inset, 0], [width, fall], [0, fall]])
        top_left = top
        paint = _tiled(design, width, fall)
        surfaces.append(
            slope(top_left, top + np.append(across * width, 0), _lift(left, design.wall_height), paint=paint,
                  outline=outline, owner=building.number, snowy=True)
        )  # fmt: skip
    return surfaces


def _flat(building: Building) -> list[Surface]:
    """A parapet around a roof that nobody sees."""
    design = building.design
    corners, base = building.footprint, design.wall_height
    parapets = []
    for index in range(4):
        left, right = corners[index], corners[(index + 1) % 4]
        paint = _plain("panels", design.trim, float(np.linalg.norm(right - left)), 0.5, design.key)
        parapets.append(upright(left, right, base, base + 0.5, paint, owner=building.number))
    return parapets


_ROOFS = {"gable": _gable, "front_gable": _front_gable, "hip": _hip, "flat": _flat}


def _box(
    building: Building,
    centre: np.ndarray,
    size: tuple[float, float],
    bottom: float,
    top: float,
    front: partial[Paint],
    side: partial[Paint],
) -> list[Surface]:
    """Four upright sides about a ground point; `size` is width along the street and depth."""
    across, deep = building.along * size[0] / 2, building.inward * size[1] / 2
    corners = [centre - across - deep, centre + across - deep, centre + across + deep, centre - across + deep]
    return [
        upright(corners[i], corners[(i + 1) % 4], bottom, top, front if i % 2 == 0 else side, owner=building.number)
        for i in range(4)
    ]


def _dormers(building: Building) -> list[Surface]:
    design, surfaces = building.design, []
    for index in range(design.dormers):
        u = (index + 0.5) * design.width / design.dormers
        setback = 1.0
        bottom = design.wall_height + setback * design.roof_pitch
        depth = 1.5 / design.roof_pitch
        centre = building.corner + building.along * u + building.inward * (setback + depth / 2)
        front = partial(_paint_dormer, design)
        side = _plain(design.roof_material, design.roof_colour, depth, 1.4, design.key)
        surfaces += _box(building, centre, (1.5, depth), bottom, bottom + 1.4, front, side)
        ridge = bottom + 1.95
        edge = centre - building.inward * (depth / 2 + 0.15)
        back = centre + building.inward * (depth / 2 + 0.4)
        reach = building.along * 0.9
        eaves = bottom + 1.3
        feet = (np.append(back - reach, eaves), np.append(back + reach, eaves))
        surfaces += _pair_of_slopes(building, (_lift(back, ridge), _lift(edge, ridge)), feet)
        left = centre - building.along * 0.75 - building.inward * depth / 2
        outline = np.array([[0, 0.55], [0.75, 0], [1.5, 0.55]])
        paint = _plain("plaster", design.trim, 1.5, 0.55, design.key)
        surfaces.append(
            upright(
                left, left + building.along * 1.5, bottom + 1.4, ridge, paint, outline=outline, owner=building.number
            )
        )
    return surfaces


@lru_cache(maxsize=128)
def _paint_dormer(design: FacadeDesign) -> Paint:
    random = generator(design.key, "dormer")
    scale = 30.0
    wall = paint_material(
        "plaster", random, (round(1.4 * scale), round(1.5 * scale)), np.array(design.trim, float), scale
    )
    glass = np.zeros(wall.shape[:2], np.uint8)
    box = tuple(round(v * scale) for v in (0.25, 0.2, 1.25, 1.3))
    pane = paint_window(wall, glass, box, "cross", design.trim, random, scale)
    return Paint(wall, scale, glass, (pane,))


def _chimneys(building: Building) -> list[Surface]:
    design, surfaces = building.design, []
    for index in range(design.chimneys):
        # Only a ridge along the street reaches the house's ends.
        reach = design.width / 2 - 0.7 if design.roof == "gable" else 0.7
        u = design.width / 2 + (reach if index else -reach)
        centre = building.corner + building.along * u + building.inward * design.depth * 0.5
        paint = _plain("brick", (140, 84, 66), 0.9, 2.2, design.key)
        top = design.ridge_height + 0.9
        surfaces += _box(building, centre, (0.9, 0.6), top - 2.2, top, paint, paint)
    return surfaces


def _awning(building: Building) -> list[Surface]:
    design = building.design
    if not design.awning:
        return []
    top, reach, width = design.ground_height - 0.95, 1.3, design.width - 0.8
    left = building.corner + building.along * 0.4
    right = left + building.along * width
    out = -building.inward * reach
    paint = partial(_paint_awning, design, width)
    edge = _lift(left + out, top - 0.55)
    looks = {"paint": paint, "owner": building.number, "two_sided": True, "snowy": True}
    cloth = slope(_lift(left, top), _lift(right, top), edge, **looks)
    valance = upright(left + out, right + out, top - 0.8, top - 0.55, paint, owner=building.number, two_sided=True)
    return [cloth, valance]


@lru_cache(maxsize=128)
def _paint_awning(design: FacadeDesign, width: float) -> Paint:
    scale = 30.0
    stripes = (np.arange(round(width * scale)) / scale / 0.35).astype(int) % 2
    plain = design.key % 3 == 0
    colours = np.array([design.sign, design.sign if plain else (235, 230, 220)], np.uint8)
    return Paint(np.ascontiguousarray(np.broadcast_to(colours[stripes], (round(1.4 * scale), len(stripes), 3))), scale)


def _balconies(building: Building) -> list[Surface]:
    design, surfaces = building.design, []
    for storey in range(design.storeys):
        floor = design.ground_height + storey * design.storey_height + 0.1
        for bay in design.balcony_bays:
            u = (bay + 0.5) * design.width / design.bays
            wide = min(design.window[0] + 1.0, design.width / design.bays - 0.15)
            centre = building.corner + building.along * u - building.inward * 0.5
            rail = partial(_paint_railing, design, round(wide, 2))
            side = partial(_paint_railing, design, 1.0)
            front, right, _, left_side = _box(building, centre, (wide, 1.0), floor, floor + 1.05, rail, side)
            surfaces += [replace(railing, two_sided=True) for railing in (front, right, left_side)]
            left = centre - building.along * wide / 2
            under = slope(
                _lift(left + building.inward * 0.5, floor),
                _lift(left + building.along * wide + building.inward * 0.5, floor),
                _lift(left - building.inward * 0.5, floor),
                paint=_plain("plaster", (120, 116, 110), wide, 1.0, design.key), owner=building.number, two_sided=True,
            )  # fmt: skip
            surfaces.append(under)
    return surfaces


@lru_cache(maxsize=128)
def _paint_railing(design: FacadeDesign, width: float) -> Paint:
    """Bars in front of nothing (RGBA), or a solid parapet, over the balcony's edge."""
    scale = 30.0
    shape = (round(1.05 * scale), round(width * scale), 4)
    solid = design.key % 3 == 0
    paint = np.zeros(shape, np.uint8)
    paint[..., :3] = design.trim if solid else (44, 46, 50)
    columns = np.arange(shape[1])
    paint[:, (columns % 4 == 0) | solid, 3] = 255
    paint[:3, :, 3] = 255
    paint[-5:] = (*(int(c * 0.8) for c in design.trim), 255)
    return Paint(paint, scale)
