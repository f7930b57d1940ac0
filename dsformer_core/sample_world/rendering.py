"""One picture: sky, ground, houses, what stands and moves on the streets, then the air and the camera."""

from functools import partial

import cv2
import numpy as np

from dsformer_core.sample_world.camera import Camera, CameraPose, projection
from dsformer_core.sample_world.canvas import Canvas
from dsformer_core.sample_world.conditions import Condition
from dsformer_core.sample_world.development import develop
from dsformer_core.sample_world.ground import Raster
from dsformer_core.sample_world.scene import CLOSE_SCALE, Scene, scene_of
from dsformer_core.sample_world.sky import draw_sky
from dsformer_core.sample_world.street_life import RANGE_M, Drawing, StreetLife
from dsformer_core.sample_world.town import Town

OVERSAMPLING = 1.5
BLOCK = 16
EAST, NORTH = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])


def render(town: Town, pose: CameraPose, condition: Condition, camera: Camera = Camera(), seed: int = 0) -> np.ndarray:  # noqa: B008 - frozen
    """Renders one picture.

    Args:
        town: the town.
        pose: of the camera, in UTM.
        condition: light, weather, season, traffic.
        camera: intrinsics.
        seed: of the drive: sun, clouds, exposure, parked and moving vehicles, lit windows. Equal arguments give equal
            pictures, in whatever order they are rendered.

    Returns:
        (camera.height, camera.width, 3) uint8 RGB.
    """
    scene = scene_of(town, condition, seed)
    large = camera.scaled(OVERSAMPLING)
    zoom = np.diag([large.width / camera.width, large.height / camera.height, 1.0])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    intrinsics = np.linalg.inv(half) @ zoom @ half
    canvas = Canvas(large.width, large.height, intrinsics @ projection(camera, pose, town.origin))
    position = np.array([*(pose.utm - town.origin), pose.height])
    canvas.colour[:] = draw_sky(scene.sky, intrinsics @ camera.matrix, pose.rotation, (large.width, large.height))
    ground_depth = _draw_ground(canvas, scene.ground(position[:2]), position)
    drawings = _draw_houses(canvas, scene, position)
    drawings += StreetLife(canvas, scene, position, pose.timestamp).drawings
    for drawing in sorted(drawings, key=lambda drawing: -drawing.distance):
        canvas.draw(drawing.texture, drawing.homography, drawing.polygon)
    ground = (canvas.inverse_depth == ground_depth) & (ground_depth > 0)
    return develop(canvas, ground, scene, pose, camera)


def _draw_ground(canvas: Canvas, rasters: list[Raster], position: np.ndarray) -> np.ndarray:
    """Blends rasters row by row: the scale that suits a row's distance, mixed with the next coarser one.

    Returns:
        (H, W) float32 1/depth of the ground.
    """
    homography = canvas.homography(np.zeros(3), EAST, NORTH)
    inverse = np.linalg.inv(homography)
    height, width = canvas.inverse_depth.shape
    depth = canvas.plane(inverse[2], 0, 0, width, height)
    rows = np.flatnonzero(depth.max(axis=1) > 1e-4)
    if not len(rows):
        return depth
    first = int(rows[0])
    middle = depth[first:, width // 2].clip(1e-4)
    focal = abs(np.linalg.norm(canvas.projection[0, :3]))
    density = focal * middle * np.sqrt(np.clip(position[2] * middle, 1e-4, 1))
    wanted = np.clip(np.log2(CLOSE_SCALE / density) - 0.4, 0, len(rasters) - 1)
    picture = np.zeros((height - first, width, 3), np.float32)
    for level, raster in enumerate(rasters):
        weight = np.clip(1 - np.abs(wanted - level), 0, 1).astype(np.float32)
        used = np.flatnonzero(weight > 0)
        if not len(used):
            continue
        begin, end = int(used[0]), int(used[-1]) + 1
        to_raster = np.array(
            [
                [raster.scale, 0, -raster.west * raster.scale - 0.5],
                [0, -raster.scale, raster.north * raster.scale - 0.5],
                [0, 0, 1],
            ]
        )
        shift = np.array([[1, 0, 0], [0, 1, first + begin], [0, 0, 1]])
        warped = cv2.warpPerspective(
            raster.pixels, to_raster @ inverse @ shift, (width, end - begin),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        picture[begin:end] += warped * weight[begin:end, None, None]
    seen = depth[first:] > 1e-4
    np.copyto(canvas.colour[first:], picture.astype(np.uint8), where=seen[..., None])
    np.copyto(canvas.inverse_depth[first:], depth[first:], where=seen)
    return depth


def _draw_houses(canvas: Canvas, scene: Scene, position: np.ndarray) -> list[Drawing]:
    """Draws walls and roofs near to far, so that the depth buffer spares what is hidden.

    Returns:
        What one can see through (railings, awnings), still to be drawn.
    """
    middle = scene.corners.mean(axis=1)
    away = np.linalg.norm(middle - position, axis=1)
    facing = np.einsum("sk,sk->s", scene.normals, position - scene.corners[:, 0])
    clip = scene.corners @ canvas.projection[:, :3].T + canvas.projection[:, 3]
    height, width = canvas.inverse_depth.shape
    ahead = clip[..., 2].max(axis=1) > 0.2
    inside = ahead & (clip[..., 0].max(axis=1) > 0) & ((clip[..., 0] - width * clip[..., 2]).min(axis=1) < 0)
    nearest = 1 / np.maximum(clip[..., 2].min(axis=1), 0.2)
    seen = np.flatnonzero(inside & ((facing > 0) | scene.two_sided) & (away < RANGE_M))
    seen = seen[np.argsort(away[seen])]
    boxes = _coarse_boxes(clip[seen], width, height)
    through: list[Drawing] = []
    hidden = None
    for rank, (index, box) in enumerate(zip(seen, boxes, strict=True)):
        if rank in (40, 100, 200):
            hidden = _block_minimum(canvas.inverse_depth)
        if hidden is not None and hidden[box[1] : box[3], box[0] : box[2]].min(initial=np.inf) > nearest[index]:
            continue
        surface = scene.surfaces[index]
        homography = canvas.homography(surface.origin, surface.right, surface.down)
        if scene.two_sided[index]:
            through.append(Drawing(float(away[index]), partial(scene.texture, surface), homography, surface.polygon))
        else:
            canvas.draw(partial(scene.texture, surface), homography, surface.polygon)
    return through


def _coarse_boxes(clip: np.ndarray, width: int, height: int) -> np.ndarray:
    """(S, 4) boxes x0, y0, x1, y1 in blocks of pixels around (S, 4, 3) homogeneous corners; the whole picture where
    a corner lies behind the camera.
    """
    depth = clip[..., 2:]
    pixels = clip[..., :2] / np.maximum(depth, 0.2)
    limits = np.array([-(-width // BLOCK), -(-height // BLOCK)])
    low = np.where((depth > 0.2).all(axis=1), np.floor(pixels.min(axis=1) / BLOCK), 0)
    high = np.where((depth > 0.2).all(axis=1), np.ceil(pixels.max(axis=1) / BLOCK) + 1, limits)
    return np.hstack([np.clip(low, 0, limits), np.clip(high, 0, limits)]).astype(int)


def _block_minimum(inverse_depth: np.ndarray) -> np.ndarray:
    """1/depth of the farthest pixel of every block."""
    height, width = inverse_depth.shape
    padded = np.pad(inverse_depth, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    rows = padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1).min(axis=1)
    return rows.reshape(rows.shape[0], -1, BLOCK).min(axis=2)
