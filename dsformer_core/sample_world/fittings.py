"""Lamps, traffic signs, bins and people, painted to stand upright."""

import itertools
from functools import lru_cache

import cv2
import numpy as np

from dsformer_core.sample_world.facade_texture import Paint
from dsformer_core.sample_world.seeding import generator

SCALE = 60.0
ARM_M = 1.3


@lru_cache(maxsize=16)
def paint_pole(height: float, width: float, shade: int) -> Paint:
    """A round pole, lighter in its middle."""
    columns = max(4, round(width * SCALE))
    round_shade = np.sin(np.linspace(0.35, np.pi - 0.15, columns))
    paint = np.repeat((round_shade[None, :, None] * np.full(3, shade)), max(4, round(height * 10)), axis=0)
    return Paint(paint.astype(np.uint8), SCALE)


@lru_cache(maxsize=8)
def paint_lamp_head(kind: int) -> Paint:
    """An arm of `ARM_M` metres with a lamp at its left end, 0.5 m high, RGBA."""
    paint = np.zeros((round(0.5 * SCALE), round(ARM_M * SCALE), 4), np.uint8)
    glow = np.zeros(paint.shape[:2], np.uint8)
    wide = paint.shape[1]
    metal = (52, 56, 58, 255)
    cv2.line(paint, (wide, 22), (12, 12), metal, 4, cv2.LINE_AA)
    if kind % 2:
        cv2.ellipse(paint, (20, 14), (20, 6), 0, 180, 360, metal, -1, cv2.LINE_AA)
        for target, colour in ((paint, (255, 236, 196, 255)), (glow, 255)):
            cv2.ellipse(target, (20, 15), (15, 5), 0, 0, 180, colour, -1, cv2.LINE_AA)
    else:
        for target, colour in ((paint, (255, 236, 196, 255)), (glow, 255)):
            cv2.fillConvexPoly(target, np.array([[8, 14], [26, 14], [22, 29], [12, 29]]), colour, cv2.LINE_AA)
        cv2.fillConvexPoly(paint, np.array([[4, 14], [30, 14], [17, 5]]), metal, cv2.LINE_AA)
    return Paint(paint, SCALE, glow=glow)


@lru_cache(maxsize=64)
def paint_sign(look: int) -> Paint:
    """A traffic or street sign of 0.7 m, RGBA."""
    random = generator(look, "sign")
    size = round(0.7 * SCALE)
    paint = np.zeros((size, size, 4), np.uint8)
    middle, red, blue, white = size // 2, (190, 20, 28, 255), (20, 70, 160, 255), (240, 240, 238, 255)
    kind = look % 5
    if kind == 0:
        cv2.circle(paint, (middle, middle), middle - 1, red, -1, cv2.LINE_AA)
        cv2.circle(paint, (middle, middle), middle - 7, white, -1, cv2.LINE_AA)
        cv2.putText(
            paint,
            str(random.choice(("30", "50", "20"))),
            (8, middle + 6),
            cv2.FONT_HERSHEY_DUPLEX,
            0.65,
            (20, 20, 22, 255),
            2,
            cv2.LINE_AA,
        )
    elif kind == 1:
        cv2.fillConvexPoly(paint, np.array([[1, 3], [size - 2, 3], [middle, size - 3]]), red, cv2.LINE_AA)
        cv2.fillConvexPoly(paint, np.array([[9, 8], [size - 10, 8], [middle, size - 14]]), white, cv2.LINE_AA)
    elif kind == 2:
        cv2.rectangle(paint, (1, 1), (size - 2, size - 2), blue, -1)
        cv2.putText(paint, "P", (11, size - 10), cv2.FONT_HERSHEY_DUPLEX, 1.1, white, 3, cv2.LINE_AA)
    elif kind == 3:
        cv2.circle(paint, (middle, middle), middle - 1, blue, -1, cv2.LINE_AA)
        cv2.arrowedLine(paint, (12, middle), (size - 9, middle), white, 4, cv2.LINE_AA, tipLength=0.4)
    else:
        cv2.rectangle(paint, (0, 10), (size - 1, size - 12), (24, 60, 120, 255), -1)
        name = "".join(str(random.choice(list("AEIORLNST"))) for _ in range(5))
        cv2.putText(paint, name, (3, middle + 3), cv2.FONT_HERSHEY_SIMPLEX, 0.38, white, 1, cv2.LINE_AA)
    return Paint(paint, SCALE)


@lru_cache(maxsize=32)
def paint_box(look: int) -> Paint:
    """A litter bin, a hydrant or a switch cabinet, one metre high, RGBA."""
    random = generator(look, "box")
    size = round(SCALE)
    paint = np.zeros((size, size, 4), np.uint8)
    colour = [(70, 76, 74), (44, 84, 60), (150, 150, 146), (160, 40, 36)][look % 4]
    half = int(random.uniform(0.15, 0.42) * size)
    top = int(random.uniform(0.0, 0.25) * size)
    shade = np.linspace(1.15, 0.7, 2 * half)[None, :, None]
    paint[top:, size // 2 - half : size // 2 + half, :3] = np.clip(np.array(colour) * shade, 0, 255)
    paint[top:, size // 2 - half : size // 2 + half, 3] = 255
    paint[top : top + 4, size // 2 - half : size // 2 + half, :3] = (34, 36, 38)
    return Paint(paint, SCALE)


@lru_cache(maxsize=32)
def paint_walker(look: int) -> Paint:
    """A person on foot, two metres of canvas for a body of about 1.9, RGBA."""
    random = generator(look, "walker")
    scale = 80.0
    paint = np.zeros((round(2.0 * scale), round(1.0 * scale), 4), np.uint8)
    skin = [(224, 184, 152), (196, 146, 112), (132, 92, 68), (92, 62, 46)][random.integers(4)]
    coat, trousers = random.integers(20, 200, 3), random.integers(20, 110, 3)
    hair = [(30, 24, 20), (84, 58, 36), (150, 116, 70), (160, 158, 156)][random.integers(4)]
    x, stride = 0.5 * scale, random.uniform(0.06, 0.24) * scale
    paint[..., :3] = coat

    def limb(points: list[tuple[float, float]], colour: np.ndarray | tuple[int, ...], thick: float) -> None:
        for (a, b), (c, d) in itertools.pairwise(points):
            cv2.line(
                paint, (int(a), int(b)), (int(c), int(d)), (*(int(v) for v in colour), 255), int(thick), cv2.LINE_AA
            )

    hip, shoulder = 1.08 * scale, 0.52 * scale
    limb([(x, hip), (x - stride * 0.5, 1.5 * scale), (x - stride, 1.92 * scale)], trousers * 0.8, 0.13 * scale)
    limb([(x, hip), (x + stride * 0.7, 1.5 * scale), (x + stride, 1.94 * scale)], trousers, 0.13 * scale)
    limb([(x - stride - 2, 1.95 * scale), (x - stride + 7, 1.95 * scale)], (26, 24, 24), 5)
    limb([(x + stride - 2, 1.96 * scale), (x + stride + 8, 1.96 * scale)], (26, 24, 24), 5)
    long_coat = random.uniform(0.0, 0.3) * scale
    torso = np.array(
        [
            [x - 0.2 * scale, shoulder],
            [x + 0.2 * scale, shoulder],
            [x + 0.16 * scale, hip + long_coat],
            [x - 0.17 * scale, hip + long_coat],
        ]
    )
    cv2.fillConvexPoly(paint, torso.astype(np.int32), (*(int(c) for c in coat), 255), cv2.LINE_AA)
    limb(
        [(x - 0.18 * scale, shoulder + 4), (x - 0.26 * scale, 0.82 * scale), (x - 0.2 * scale, 1.08 * scale)],
        coat * 0.75,
        0.10 * scale,
    )
    limb(
        [(x + 0.18 * scale, shoulder + 4), (x + 0.27 * scale, 0.82 * scale), (x + 0.24 * scale, 1.08 * scale)],
        coat * 0.9,
        0.10 * scale,
    )
    cv2.ellipse(
        paint,
        (int(x), int(0.3 * scale)),
        (int(0.10 * scale), int(0.135 * scale)),
        0,
        0,
        360,
        (*skin, 255),
        -1,
        cv2.LINE_AA,
    )
    cv2.ellipse(
        paint,
        (int(x - 2), int(0.255 * scale)),
        (int(0.115 * scale), int(0.10 * scale)),
        0,
        150,
        390,
        (*hair, 255),
        -1,
        cv2.LINE_AA,
    )
    cv2.line(paint, (int(x), int(0.42 * scale)), (int(x), int(0.52 * scale)), (*skin, 255), 7)
    return Paint(paint, scale)
