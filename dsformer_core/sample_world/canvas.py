"""Draws textured planes with a depth buffer: one homography per plane, evaluated by OpenCV."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

NEAR_M = 0.2


@dataclass(eq=False)
class Texture:
    """A lit picture of a surface with smaller copies of it, made when they are first needed.

    Width and height shrink independently (a "rip map"), so that a wall seen at a grazing angle stays sharp along
    the direction that is not foreshortened.

    Attributes:
        pixels: (H, W, 3) or (H, W, 4) uint8; the fourth channel is opacity.
        width: metres.
        height: metres.
    """

    pixels: np.ndarray
    width: float
    height: float
    _smaller: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def stretched(self, width: float, height: float) -> "Texture":
        """The same picture, smaller copies included, on a surface of another size."""
        return Texture(self.pixels, width, height, self._smaller)

    def level(self, across: int, down: int) -> np.ndarray:
        """The picture shrunk by 2**across horizontally and 2**down vertically."""
        if (across, down) == (0, 0):
            return self.pixels
        if (across, down) not in self._smaller:
            height, width = self.pixels.shape[:2]
            size = (max(1, width >> across), max(1, height >> down))
            self._smaller[across, down] = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
        return self._smaller[across, down]


class Canvas:
    """A picture in the making.

    Attributes:
        colour: (H, W, 3) uint8, encoded light (see `lighting.encode`).
        inverse_depth: (H, W) float32, 1/m; 0 is infinitely far.
        projection: (3, 4) from the town frame to pixels.
    """

    def __init__(self, width: int, height: int, projection: np.ndarray) -> None:
        self.colour = np.zeros((height, width, 3), np.uint8)
        self.inverse_depth = np.zeros((height, width), np.float32)
        self.projection = projection

    def homography(self, origin: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
        """(3, 3): takes (u, v, 1), metres on a plane, to (x w, y w, w) with w the depth in metres."""
        rotation = self.projection[:, :3]
        return np.column_stack([rotation @ right, rotation @ down, rotation @ origin + self.projection[:, 3]])

    def draw(self, texture: Callable[[], Texture], homography: np.ndarray, polygon: np.ndarray) -> None:
        """Draws what is visible of a textured plane; opaque parts hide what is behind them.

        Args:
            texture: makes what is painted on it; called only if any of it is visible.
            homography: from `homography`.
            polygon: (K, 2) convex outline on the plane, metres.
        """
        region = self._visible(homography, polygon)
        if region is None:
            return
        (x, y, wide, high), visible, depth, inverse = region
        whole = (slice(y, y + high), slice(x, x + wide))
        warped = self._warp(texture(), homography, inverse, (x, y, wide, high))
        colour, behind = self.colour[whole], self.inverse_depth[whole]
        if warped.shape[2] == 4:
            opacity = warped[..., 3] & visible
            share = (opacity.astype(np.float32) * np.float32(1 / 255))[..., None]
            colour[:] = (colour + (warped[..., :3].astype(np.float32) - colour) * share + 0.5).astype(np.uint8)
            np.copyto(behind, depth, where=opacity > 127)
        else:
            solid = visible > 0
            np.copyto(colour, warped, where=solid[..., None])
            np.copyto(behind, depth, where=solid)

    def _visible(
        self, homography: np.ndarray, polygon: np.ndarray
    ) -> tuple[tuple[int, int, int, int], np.ndarray, np.ndarray, np.ndarray] | None:
        """Where a plane's polygon is in front of everything drawn so far.

        Returns:
            The box (x, y, width, height) around the visible pixels, their mask (uint8) and 1/depth (float32) within
            it, and the inverse homography; None where nothing is visible.
        """
        corners = _clip_near(polygon @ homography[:, :2].T + homography[:, 2])
        if len(corners) < 3:
            return None
        height, width = self.inverse_depth.shape
        outline = corners[:, :2] / corners[:, 2:]
        (x0, y0) = np.clip(np.floor(outline.min(axis=0)), 0, (width, height)).astype(int)
        (x1, y1) = np.clip(np.ceil(outline.max(axis=0)) + 1, 0, (width, height)).astype(int)
        # Seen edge-on, a plane has no area and its homography no inverse.
        if x1 <= x0 or y1 <= y0 or abs(np.linalg.det(homography)) < 1e-9:
            return None
        inverse = np.linalg.inv(homography)
        visible = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fixed_point = np.clip((outline - (x0, y0)) * 16, -(2**30), 2**30).round().astype(np.int32)
        cv2.fillConvexPoly(visible, fixed_point, 255, cv2.LINE_8, 4)
        depth = self.plane(inverse[2], x0, y0, x1, y1)
        visible &= cv2.compare(depth, self.inverse_depth[y0:y1, x0:x1], cv2.CMP_GT)
        left, top, wide, high = cv2.boundingRect(visible)
        if not wide:
            return None
        part = (slice(top, top + high), slice(left, left + wide))
        return (int(x0) + left, int(y0) + top, wide, high), visible[part], depth[part], inverse

    @staticmethod
    def plane(row: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """1/depth of a plane, which is linear in the picture; float32 of a region."""
        return np.add.outer(
            (row[1] * np.arange(y0, y1) + row[2]).astype(np.float32), (row[0] * np.arange(x0, x1)).astype(np.float32)
        )

    @staticmethod
    def _warp(
        texture: Texture, homography: np.ndarray, inverse: np.ndarray, box: tuple[int, int, int, int]
    ) -> np.ndarray:
        x, y, wide, high = box
        size = np.array([texture.width, texture.height])
        rows, columns = texture.pixels.shape[:2]
        middle = inverse @ [x + wide / 2, y + high / 2, 1.0]
        u, v = middle[:2] / middle[2]
        seen = homography @ [u, v, 1.0]
        stretch = (homography[:2, :2] - np.outer(seen[:2] / seen[2], homography[2, :2])) / seen[2]
        density = np.linalg.norm(stretch, axis=0)
        surplus = np.log2(np.maximum(np.array([columns, rows]) / size / np.maximum(density, 1e-6), 1.0))
        deepest = np.log2([max(columns, 1), max(rows, 1)]).astype(int)
        across, down = np.minimum((surplus + 0.35).astype(int), deepest)
        level = texture.level(int(across), int(down))
        scale = np.array([level.shape[1], level.shape[0]]) / size
        to_texture = np.array([[scale[0], 0, -0.5], [0, scale[1], -0.5], [0, 0, 1]])
        shift = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        return cv2.warpPerspective(
            level, to_texture @ inverse @ shift, (wide, high),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip


def _clip_near(points: np.ndarray) -> np.ndarray:
    """The part of a polygon in homogeneous pixels (K, 3) that lies at least `NEAR_M` before the camera."""
    depth = points[:, 2]
    if (depth >= NEAR_M).all():
        return points
    kept = []
    for here, there in zip(points, np.roll(points, -1, axis=0), strict=True):
        if here[2] >= NEAR_M:
            kept.append(here)
        if (here[2] >= NEAR_M) != (there[2] >= NEAR_M):
            kept.append(here + (there - here) * (NEAR_M - here[2]) / (there[2] - here[2]))
    return np.array(kept).reshape(-1, 3)
