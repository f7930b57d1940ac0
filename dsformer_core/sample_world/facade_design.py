"""What a house looks like, before it is drawn: one small record per design."""

from dataclasses import dataclass

import numpy as np

from dsformer_core.sample_world.seeding import generator

WALL_COLOURS = {
    "plaster": [(222, 206, 170), (232, 224, 208), (208, 176, 128), (196, 146, 110), (176, 190, 172), (190, 200, 210),
                (226, 190, 176), (170, 92, 70), (214, 196, 96), (120, 140, 150), (238, 236, 228), (150, 170, 140)],
    "brick": [(150, 78, 58), (128, 66, 52), (168, 104, 76), (184, 150, 110), (112, 74, 66), (196, 170, 140)],
    "stone": [(176, 168, 150), (150, 146, 138), (196, 184, 158), (134, 126, 116)],
    "siding": [(222, 222, 216), (132, 152, 160), (170, 52, 44), (206, 188, 140), (96, 116, 96), (70, 84, 104),
               (180, 160, 150)],
    "timber": [(228, 218, 196), (214, 190, 150), (222, 206, 190)],
    "panels": [(170, 172, 174), (198, 196, 190), (112, 120, 128), (150, 140, 128), (92, 96, 100)],
}  # fmt: skip
ROOF_COLOURS = [(140, 72, 52), (112, 58, 46), (74, 76, 82), (92, 84, 78), (58, 60, 64), (150, 96, 66)]
TRIM_COLOURS = [
    (240, 238, 230),
    (214, 206, 190),
    (88, 70, 56),
    (60, 62, 64),
    (150, 142, 130),
    (110, 40, 36),
    (46, 70, 60),
]
BOLD_COLOURS = [(168, 32, 36), (24, 84, 60), (24, 54, 110), (34, 34, 36), (206, 158, 36), (120, 30, 70),
                (226, 224, 216), (30, 110, 120), (200, 92, 30), (88, 56, 36)]  # fmt: skip

MATERIALS_OF_DISTRICT = (
    (("plaster", 0.45), ("stone", 0.25), ("timber", 0.18), ("brick", 0.12)),
    (("brick", 0.50), ("panels", 0.22), ("plaster", 0.18), ("stone", 0.10)),
    (("siding", 0.42), ("plaster", 0.33), ("brick", 0.25)),
)


@dataclass(frozen=True)
class FacadeDesign:
    """Everything that makes one house front differ from another.

    Two buildings with equal designs look alike to the last brick: that is how the town repeats itself on purpose.

    Attributes:
        key: seed of the irregularities.
        width: metres along the street.
        depth: metres away from it.
        storeys: above the ground floor.
        storey_height: metres.
        ground_height: metres of the ground floor.
        material: of the wall, a key of `materials.MATERIALS`.
        colour: RGB albedo of the wall.
        base_material: of the ground floor.
        base_colour: RGB albedo of the ground floor.
        trim: RGB of frames and cornices.
        accent: RGB of doors, shutters, awnings.
        sign: RGB of the sign board.
        bays: windows per storey.
        window: (width, height) of a window, metres.
        window_style: "cross", "sash", "plain", "georgian", "arched", "band".
        surround: "none", "frame", "lintel", "pediment".
        shutters: whether windows have shutters.
        shop: whether the ground floor is a shop.
        awning: whether the shop has one.
        balcony_bays: bays that carry balconies from the first floor up.
        roof: "gable", "hip", "flat", "front_gable".
        roof_pitch: rise over run.
        roof_material: a key of `materials.MATERIALS`.
        roof_colour: RGB.
        dormers: dormer windows on the front slope.
        chimneys: number of them.
        drainpipe: whether one runs down the front.
        text: what the sign says.
    """

    key: int
    width: float
    depth: float
    storeys: int
    storey_height: float
    ground_height: float
    material: str
    colour: tuple[int, ...]
    base_material: str
    base_colour: tuple[int, ...]
    trim: tuple[int, ...]
    accent: tuple[int, ...]
    sign: tuple[int, ...]
    bays: int
    window: tuple[float, float]
    window_style: str
    surround: str
    shutters: bool
    shop: bool
    awning: bool
    balcony_bays: tuple[int, ...]
    roof: str
    roof_pitch: float
    roof_material: str
    roof_colour: tuple[int, ...]
    dormers: int
    chimneys: int
    drainpipe: bool
    text: str

    @property
    def wall_height(self) -> float:
        """Metres from the ground to the eaves."""
        return self.ground_height + self.storeys * self.storey_height

    @property
    def ridge_height(self) -> float:
        """Metres from the ground to the highest part of the roof."""
        run = {"flat": 0.0, "front_gable": self.width / 2}.get(self.roof, self.depth / 2)
        return self.wall_height + (0.5 if self.roof == "flat" else run * self.roof_pitch)


def make_design(seed: int, district: int, number: int) -> FacadeDesign:
    """Draws a design from the manner of a district.

    Args:
        seed: of the town.
        district: 0 old town, 1 brick quarter, 2 garden suburb.
        number: which design of that district; equal numbers give equal designs.

    Returns:
        The design.
    """
    random = generator(seed, "design", district, number)

    def pick(options: list | tuple) -> tuple[int, ...]:
        base = np.array(options[random.integers(len(options))])
        return tuple(int(c) for c in np.clip(base * random.uniform(0.88, 1.1) + random.normal(0, 5, 3), 8, 250))

    def chance(*per_district: float) -> bool:
        return bool(random.random() < per_district[district])

    names, shares = zip(*MATERIALS_OF_DISTRICT[district], strict=True)
    material = str(random.choice(names, p=shares))
    storeys = int(random.integers(*((2, 5), (2, 6), (0, 3))[district]))
    width = float(random.uniform(*((5.5, 11), (7, 17), (8, 14))[district]))
    shop = chance(0.6, 0.45, 0.04)
    style = str(random.choice(("cross", "sash", "plain", "georgian", "arched", "band"), p=_STYLE_SHARES[district]))
    window = (random.uniform(2.0, 3.0), random.uniform(1.2, 1.7)) if style == "band" else (
        random.uniform(0.8, 1.35), random.uniform(1.3, 1.95))  # fmt: skip
    bays = max(1, int(width / (window[0] + random.uniform(0.8, 1.9))))
    flat = chance(0.12, 0.55, 0.06)
    roof = "flat" if flat else str(random.choice(("gable", "hip", "front_gable"), p=_ROOF_SHARES[district]))
    wall_colour = pick(WALL_COLOURS[material])
    rustic = chance(0.45, 0.35, 0.2)
    balconies = tuple(bay for bay in range(bays) if random.random() < 0.5) if chance(0.2, 0.35, 0.12) else ()
    base_material = str(random.choice(("stone", "plaster"))) if rustic or material == "timber" else material
    return FacadeDesign(
        key=int(random.integers(2**31)),
        width=width,
        depth=float(random.uniform(8.5, 12.5)),
        storeys=storeys,
        storey_height=float(random.uniform(2.8, 3.5)),
        ground_height=float(random.uniform(3.4, 4.2) if shop else random.uniform(2.9, 3.5)),
        material=material,
        colour=wall_colour,
        base_material=base_material,
        base_colour=wall_colour if base_material == material else pick(WALL_COLOURS[base_material]),
        trim=pick(TRIM_COLOURS),
        accent=pick(BOLD_COLOURS),
        sign=pick(BOLD_COLOURS),
        bays=bays,
        window=(float(window[0]), float(window[1])),
        window_style=style,
        surround=str(random.choice(("none", "frame", "lintel", "pediment"), p=(0.25, 0.35, 0.28, 0.12))),
        shutters=style not in ("band", "arched") and chance(0.25, 0.05, 0.35),
        shop=shop,
        awning=shop and random.random() < 0.5,
        balcony_bays=balconies if storeys else (),
        roof=roof,
        roof_pitch=float(random.uniform(0.55, 1.1)),
        roof_material="metal" if random.random() < 0.15 else "tiles",
        roof_colour=pick(ROOF_COLOURS),
        dormers=int(random.integers(1, 4)) if roof == "gable" and width > 7 and random.random() < 0.45 else 0,
        chimneys=0 if flat else int(random.integers(0, 3)),
        drainpipe=bool(random.random() < 0.6),
        text=_shop_name(random),
    )


_ROOF_SHARES = ((0.6, 0.15, 0.25), (0.75, 0.15, 0.1), (0.4, 0.25, 0.35))
_STYLE_SHARES = (
    (0.30, 0.20, 0.10, 0.20, 0.18, 0.02),
    (0.12, 0.28, 0.22, 0.12, 0.06, 0.20),
    (0.25, 0.30, 0.20, 0.15, 0.02, 0.08),
)


def _shop_name(random: np.random.Generator) -> str:
    onsets, vowels, codas = (
        ["B", "BR", "C", "D", "F", "G", "GR", "H", "K", "L", "M", "N", "P", "PL", "R", "S", "ST", "T", "TR", "V"],
        "AEIOU",
        ["", "N", "R", "L", "S", "T"],
    )
    syllables = [
        str(random.choice(onsets)) + str(random.choice(list(vowels))) + str(random.choice(codas))
        for _ in range(random.integers(2, 4))
    ]
    name = "".join(syllables)
    return f"{name} {random.integers(1, 99)}" if random.random() < 0.2 else name
