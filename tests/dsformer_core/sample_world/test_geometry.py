"""Pictures obey the pinhole model: what stands at a place appears where it must."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsformer_core.sample_world import Camera, CameraPose, Condition, Town, projection, render
from dsformer_core.sample_world.buildings import Building
from dsformer_core.sample_world.canvas import Canvas, Texture
from dsformer_core.sample_world.facade_design import make_design

ORIGIN = np.array([412_000.0, 5_543_000.0])
GREY_DAY = Condition(weather="overcast", traffic=0.0)


def pixel(camera: Camera, pose: CameraPose, point: tuple[float, float, float]) -> np.ndarray:
    x, y, w = projection(camera, pose, ORIGIN) @ [*point, 1.0]
    assert w > 0, "before the camera"
    return np.array([x / w, y / w])


def pose_at(east: float, north: float, yaw: float, **angles: float) -> CameraPose:
    return CameraPose(ORIGIN[0] + east, ORIGIN[1] + north, yaw, **angles)


def test_yaw_counts_from_east_to_north() -> None:
    camera = Camera(641, 481)
    centre = [320, 240]
    assert pixel(camera, pose_at(0, 0, 0.0), (10, 0, 1.6)) == pytest.approx(centre)
    assert pixel(camera, pose_at(0, 0, np.pi / 2), (0, 10, 1.6)) == pytest.approx(centre)
    assert pixel(camera, pose_at(0, 0, 0.0), (10, 1, 1.6))[0] < 320, "north of the axis is left when looking east"
    assert pixel(camera, pose_at(0, 0, 0.0), (10, 0, 2.6))[1] < 240, "up is up"


def test_field_of_view_pitch_and_roll() -> None:
    camera = Camera(641, 481, fov_deg=90)
    assert pixel(camera, pose_at(0, 0, 0.0), (10, -10, 1.6))[0] == pytest.approx(320 + 320.5)
    assert pixel(camera, pose_at(0, 0, 0.0, pitch=0.1), (10, 0, 1.6))[1] > 240, "the horizon sinks when looking up"
    rolled = pose_at(0, 0, 0.0, roll=0.1)
    assert pixel(camera, rolled, (10, -5, 1.6))[1] < 240, "what is right rises when the right side dips"


@given(
    st.floats(-np.pi, np.pi), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3),
    st.floats(1, 50), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_projection_is_that_of_a_pinhole(
    yaw: float, pitch: float, roll: float, depth: float, x: float, y: float
) -> None:
    camera, pose = Camera(640, 480), pose_at(3, -7, yaw, pitch=pitch, roll=roll)
    assert pose.rotation @ pose.rotation.T == pytest.approx(np.eye(3))
    assert np.linalg.det(pose.rotation) == pytest.approx(1)
    world = pose.rotation.T @ [x * depth, y * depth, depth] + [3, -7, 1.6]
    f = 320 / np.tan(np.radians(37.5))
    assert pixel(camera, pose, tuple(world)) == pytest.approx([319.5 + f * x, 239.5 + f * y])


def drawn(canvas: Canvas, low: tuple, high: tuple) -> np.ndarray:
    """Draws a white wall from ground point `low` to `high`, 4 m high; gives the mask of its pixels."""
    left, right = np.array(low, float), np.array(high, float)
    across = (right - left) / np.linalg.norm(right - left)
    width = float(np.linalg.norm(right - left))
    homography = canvas.homography(np.array([*left, 4.0]), np.append(across, 0), np.array([0, 0, -1.0]))
    texture = Texture(np.full((40, 40, 3), 255, np.uint8), width, 4.0)
    canvas.draw(lambda: texture, homography, np.array([[0, 0], [width, 0], [width, 4], [0, 4.0]]))
    return canvas.colour[..., 0] == 255


def test_a_wall_covers_exactly_its_projection() -> None:
    camera, pose = Camera(320, 240), pose_at(0, 0, 0.3)
    canvas = Canvas(320, 240, projection(camera, pose, ORIGIN))
    mask = drawn(canvas, (20.0, 8.0), (18.0, -1.0))
    corners = np.array([pixel(camera, pose, (*p, z)) for p in ((20.0, 8.0), (18.0, -1.0)) for z in (0.0, 4.0)])
    rows, columns = np.nonzero(mask)
    assert [columns.min(), columns.max()] == pytest.approx([corners[:, 0].min(), corners[:, 0].max()], abs=1.0)
    assert [rows.min(), rows.max()] == pytest.approx([corners[:, 1].min(), corners[:, 1].max()], abs=1.0)
    row, column = int(rows.mean()), int(columns.mean())
    ray = np.linalg.inv(camera.matrix) @ [column, row, 1]
    point = pose.rotation.T @ ray / canvas.inverse_depth[row, column] + [0, 0, 1.6]
    off_wall = (point[:2] - [20, 8]) @ [9.0, -2.0] / np.hypot(9, 2)
    assert abs(off_wall) < 0.01, "its depth is that of the wall"


def test_a_wall_beside_and_behind_the_camera_is_cut_at_the_camera() -> None:
    canvas = Canvas(320, 240, projection(Camera(320, 240), pose_at(0, 0, 0.0), ORIGIN))
    mask = drawn(canvas, (-30.0, 2.0), (30.0, 2.0))
    assert mask[:, :60].any()
    assert not mask[:, 161:].any(), "it stands on the left and ends at the vanishing point"


def test_near_hides_far_in_either_order() -> None:
    matrix = projection(Camera(320, 240), pose_at(0, 0, 0.0), ORIGIN)
    pictures = []
    for order in ((1, 2), (2, 1)):
        canvas = Canvas(320, 240, matrix)
        for which in order:
            wall = np.array([10.0 * which, 3.0, 4.0])
            texture = Texture(np.full((8, 8, 3), 60 * which, np.uint8), 6.0, 4.0)
            plane = canvas.homography(wall, np.array([0, -1.0, 0]), np.array([0, 0, -1.0]))
            canvas.draw(lambda texture=texture: texture, plane, np.array([[0, 0], [6, 0], [6, 4], [0, 4.0]]))
        pictures.append(canvas.colour)
    assert np.array_equal(*pictures)
    assert pictures[0][120, 160, 0] == 60


@pytest.fixture(scope="module")
def lonely(town: Town) -> Town:
    """The town's streets with a single house, whose front looks west."""
    design = replace(
        make_design(1, 1, 7), width=10.0, depth=8.0, roof="flat", balcony_bays=(), awning=False, dormers=0, chimneys=0
    )
    house = Building(0, design, np.array([0.0, 5.0]), np.array([0.0, -1.0]))
    return Town(town.seed, town.size_m, town.zone, ORIGIN, 0.0, town.network, (house,), (), ())


def silhouette(town: Town, pose: CameraPose) -> np.ndarray:
    """Where a house changes the picture above the horizon, so that its shade on the ground does not count."""
    camera = Camera(320, 240)
    empty = Town(town.seed, town.size_m, town.zone, town.origin, 0.0, town.network, (), (), ())
    difference = np.abs(render(town, pose, GREY_DAY, camera).astype(int) - render(empty, pose, GREY_DAY, camera))
    return (difference.max(axis=2) > 25)[:118]


def test_a_house_to_the_east_appears_where_the_model_says(lonely: Town) -> None:
    pose = pose_at(-25.0, 0.0, 0.0)
    columns = np.flatnonzero(silhouette(lonely, pose).any(axis=0))
    expected = [pixel(Camera(320, 240), pose, (0.0, north, 2.0))[0] for north in (5.0, -5.0)]
    assert [columns.min(), columns.max()] == pytest.approx(expected, abs=2.0)


def test_it_does_not_appear_when_looking_away(lonely: Town) -> None:
    assert silhouette(lonely, pose_at(-25.0, 0.0, np.pi)).mean() < 0.001


def test_moving_forward_enlarges(lonely: Town) -> None:
    far, near = (silhouette(lonely, pose_at(-d, 0.0, 0.0)).any(axis=0).sum() for d in (60.0, 30.0))
    assert near == pytest.approx(2 * far, rel=0.1)
