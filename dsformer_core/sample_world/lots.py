"""Puts houses, garden walls and trees along the streets."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dsformer_core.sample_world.buildings import Building, paint_plain
from dsformer_core.sample_world.facade_design import FacadeDesign, make_design
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.street_network import Street, StreetNetwork
from dsformer_core.sample_world.surfaces import Surface, upright

SHARED_DESIGNS = 5
FENCE_SCALE = 30.0


@dataclass(frozen=True, eq=False)
class Fence:
    """A garden wall, hedge or fence between two houses, seen from the street left to right."""

    left: np.ndarray
    right: np.ndarray
    height: float
    material: str
    colour: tuple[int, ...]
    key: int

    @property
    def surface(self) -> Surface:
        """The fence as it is drawn; hedges and walls hold snow on top, which nobody of eye height sees."""
        size = round(float(np.linalg.norm(self.right - self.left)), 2), round(self.height, 2)
        paint = partial(paint_plain, self.material, self.colour, *size, self.key, FENCE_SCALE)
        return upright(self.left, self.right, 0.0, self.height, paint)


def build_up(seed: int, network: StreetNetwork, repeated: float) -> tuple[tuple[Building, ...], tuple[Fence, ...]]:
    """Lines the streets with houses.

    Args:
        seed: of the town.
        network: its streets.
        repeated: share of houses, in [0, 1], that take one of the few designs which their district repeats.

    Returns:
        The houses, none of which overlaps another or a street, and what closes the gaps between them.
    """
    yard = _Yard(network)
    fences: list[Fence] = []
    for street in network.streets:
        for side in (1, -1):
            fences += _line_side(seed, street, side, yard, repeated)
    return tuple(yard.buildings), tuple(fences)


class _Yard:
    """What is built so far."""

    def __init__(self, network: StreetNetwork) -> None:
        self.starts = np.array([street.start for street in network.streets])
        self.ends = np.array([street.end for street in network.streets])
        self.clear = np.array([street.half_width for street in network.streets])
        self.buildings: list[Building] = []
        self.footprints = np.zeros((0, 4, 2))

    def add(self, building: Building) -> None:
        """Takes up its ground."""
        self.buildings.append(building)
        self.footprints = np.concatenate([self.footprints, building.footprint[None]])

    def off_the_streets(self, points: np.ndarray) -> bool:
        """Whether (P, 2) points all lie outside every street and pavement."""
        along = self.ends - self.starts
        relative = points[:, None] - self.starts
        share = np.clip(np.einsum("psk,sk->ps", relative, along) / np.einsum("sk,sk->s", along, along), 0, 1)
        distance = np.linalg.norm(relative - share[..., None] * along, axis=-1)
        return bool((distance >= self.clear - 0.02).all())

    def fits(self, building: Building) -> bool:
        """Whether a house stands free of streets and of the other houses."""
        corners = building.footprint
        edges = [corners[i] + (corners[(i + 1) % 4] - corners[i]) * t for i in range(4) for t in (0, 0.25, 0.5, 0.75)]
        if not self.off_the_streets(np.array(edges)):
            return False
        close = np.linalg.norm(self.footprints.mean(axis=1) - corners.mean(axis=0), axis=1) < 30
        return not any(_overlap(corners, other) for other in self.footprints[close])


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Separating axis test of two rectangles; touching is not overlapping."""
    for rectangle in (first, second):
        for axis in (rectangle[1] - rectangle[0], rectangle[3] - rectangle[0]):
            a, b = first @ axis, second @ axis
            slack = 0.02 * np.linalg.norm(axis)
            if a.max() <= b.min() + slack or b.max() <= a.min() + slack:
                return False
    return True


def _line_side(seed: int, street: Street, side: int, yard: _Yard, repeated: float) -> list[Fence]:
    random = generator(seed, "lots", *street.nodes, side)
    along = street.direction * side
    begin = street.start if side > 0 else street.end
    inward = np.array([-along[1], along[0]])
    usual_setback = (0.0, 0.4, 4.0)[street.district] + random.uniform(0, 0.6)
    fences: list[Fence] = []
    manner = _fence_manner(random, street.district)
    gap_start: float | None = None
    t = 0.0
    while t < street.length - 3.0:
        design = _choose_design(seed, random, street.district, repeated)
        setback = usual_setback + (random.uniform(0.2, 2.5) if random.random() < 0.2 else 0.0)
        building = _place(design, begin + along * t + inward * (street.half_width + setback), along, yard)
        if building is None:
            gap_start = t if gap_start is None else gap_start
            t += 1.0
            continue
        if gap_start is not None:
            fences += _close_gap(gap_start, t, begin + inward * (street.half_width + 0.05), along, manner, yard, random)
        yard.add(building)
        t += building.design.width
        gap_start = t
        t += (
            (0.0 if random.random() < 0.8 else random.uniform(2.5, 6))
            if street.district < 2
            else random.uniform(1.5, 6)
        )
    if gap_start is not None:
        last = begin + inward * (street.half_width + 0.05)
        fences += _close_gap(gap_start, street.length, last, along, manner, yard, random)
    return fences


def _choose_design(seed: int, random: np.random.Generator, district: int, repeated: float) -> FacadeDesign:
    shared = random.random() < repeated
    own_number = SHARED_DESIGNS + int(random.integers(2**30))
    return make_design(seed, district, int(random.integers(SHARED_DESIGNS)) if shared else own_number)


def _place(design: FacadeDesign, corner: np.ndarray, along: np.ndarray, yard: _Yard) -> Building | None:
    """The house at its corner, made shallower where the plot is; None where nothing fits."""
    for depth in (design.depth, 6.5):
        building = Building(len(yard.buildings), replace(design, depth=depth), corner, along)
        if yard.fits(building):
            return building
    return None


def _fence_manner(random: np.random.Generator, district: int) -> tuple[str, float, tuple[int, ...]]:
    shares = ((0.5, 0.05, 0.1, 0.35), (0.5, 0.1, 0.3, 0.1), (0.1, 0.5, 0.3, 0.1))[district]
    material = str(random.choice(("brick", "hedge", "planks", "plaster"), p=shares))
    colour = {"brick": (140, 84, 66), "hedge": (58, 84, 38), "planks": (120, 92, 66), "plaster": (196, 186, 166)}[
        material
    ]
    height = random.uniform(0.9, 1.6) if district == 2 else random.uniform(1.8, 2.6)
    return material, float(height), tuple(int(c * random.uniform(0.85, 1.15)) for c in colour)


def _close_gap(
    start: float,
    end: float,
    begin: np.ndarray,
    along: np.ndarray,
    manner: tuple[str, float, tuple[int, ...]],
    yard: _Yard,
    random: np.random.Generator,
) -> list[Fence]:
    material, height, colour = manner
    pieces = []
    for t in np.arange(start, end - 1.0, 6.0):
        left, right = begin + along * t, begin + along * min(t + 6.0, end)
        if yard.off_the_streets(np.array([left, right])) and random.random() < 0.92:
            pieces.append(Fence(left, right, height, material, colour, int(random.integers(2**31))))
    return pieces
