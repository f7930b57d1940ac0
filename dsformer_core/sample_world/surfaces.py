"""Flat pieces of the world."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsformer_core.sample_world.facade_texture import Paint


@dataclass(frozen=True, eq=False)
class Surface:
    """A flat, painted piece, seen from the side on which `right` points right and `down` points down.

    A point (u, v), in metres, of the paint lies at ``origin + u * right + v * down``.

    Attributes:
        origin: (3,) the paint's top left corner, metres (east, north, up) in the town frame.
        right: (3,) unit vector.
        down: (3,) unit vector.
        width: metres.
        height: metres.
        paint: makes the paint; equal surfaces share one.
        outline: (K, 2) convex polygon in (u, v); the whole rectangle when None.
        owner: number of the building it belongs to, -1 for none; decides which windows are lit.
        two_sided: also seen from behind.
        snowy: lies open to the sky, so that snow stays on it.
    """

    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    width: float
    height: float
    paint: Callable[[], Paint]
    outline: np.ndarray | None = None
    owner: int = -1
    two_sided: bool = False
    snowy: bool = False

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector towards the side from which it is seen."""
        (a, b, c), (d, e, f) = self.down, self.right
        return np.array([b * f - c * e, c * d - a * f, a * e - b * d])

    @property
    def polygon(self) -> np.ndarray:
        """(K, 2) corners in (u, v), metres."""
        if self.outline is not None:
            return self.outline
        return np.array([[0, 0], [self.width, 0], [self.width, self.height], [0, self.height]], float)

    def at(self, uv: np.ndarray) -> np.ndarray:
        """(..., 3) world points of (..., 2) paint points."""
        return self.origin + uv[..., :1] * self.right + uv[..., 1:] * self.down


def upright(
    left: np.ndarray, right: np.ndarray, bottom: float, top: float, paint: Callable[[], Paint], **options: Any
) -> Surface:
    """A vertical wall between two ground points, named as they appear to who looks at it.

    Args:
        left: (2,) ground point.
        right: (2,) ground point.
        bottom: metres above the ground.
        top: metres above the ground.
        paint: makes its paint.
        options: further fields of `Surface`.

    Returns:
        The wall.
    """
    across = np.append(right - left, 0.0)
    width = float(np.linalg.norm(across))
    return Surface(
        np.array([*left, top]), across / width, np.array([0.0, 0.0, -1.0]), width, top - bottom, paint, **options
    )


def slope(top_left: np.ndarray, top_right: np.ndarray, foot: np.ndarray, **options: Any) -> Surface:
    """A leaning rectangle, e.g. one side of a roof.

    Args:
        top_left: (3,) metres.
        top_right: (3,) metres.
        foot: (3,) a point on its lower edge, straight below `top_left`.
        options: further fields of `Surface`, `paint` among them.

    Returns:
        The rectangle.
    """
    across, fall = top_right - top_left, foot - top_left
    width, height = float(np.linalg.norm(across)), float(np.linalg.norm(fall))
    return Surface(top_left, across / width, fall / height, width, height, **options)
