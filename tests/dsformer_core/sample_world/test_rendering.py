"""Pictures: reproducible, whole under every condition, different in light and alike in structure."""

import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from dsformer_core.errors import UsageError
from dsformer_core.sample_world import (
    CONDITIONS,
    Camera,
    CameraPose,
    Condition,
    Town,
    make_town,
    parse_condition,
    render,
)
from dsformer_core.sample_world.scene import scene_of

SMALL = Camera(160, 120)
ALL = [*CONDITIONS, "night+rain", "winter+dusk+traffic", "autumn+rain"]


@pytest.mark.parametrize("name", ALL)
def test_every_condition_renders_at_odd_sizes(town: Town, name: str) -> None:
    poses = town.drive(0)
    for camera, pose in ((Camera(97, 61), poses[3]), (Camera(33, 80, 110), poses[11])):
        picture = render(town, pose, parse_condition(name), camera, seed=2)
        assert picture.shape == (camera.height, camera.width, 3)
        assert picture.dtype == np.uint8
        assert 10 < picture.mean() < 245, "neither black nor white"
        assert picture.std() > 8, "something can be seen"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16)])
def test_the_smallest_pictures(town: Town, size: tuple[int, int]) -> None:
    assert render(town, town.drive(0)[0], parse_condition("rain+night"), Camera(*size)).shape == (*size[::-1], 3)


def test_equal_arguments_give_equal_pictures_in_any_order(town: Town) -> None:
    poses, condition = town.drive(0), parse_condition("rain+traffic")
    forward = [render(town, pose, condition, SMALL, seed=1) for pose in poses[4:8]]
    render(town, poses[20], CONDITIONS["night"], SMALL, seed=5)
    scene_of.cache_clear()
    backward = [render(town, pose, condition, SMALL, seed=1) for pose in poses[4:8][::-1]][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))


def test_another_process_renders_the_same(town: Town) -> None:
    script = (
        "import sys, zlib; from dsformer_core.sample_world import *;"
        f"town = make_town({town.seed}, {town.size_m});"
        "picture = render(town, town.drive(0)[6], CONDITIONS['dusk'], Camera(160, 120), 3);"
        "print(zlib.crc32(picture.tobytes()))"
    )
    picture = render(town, town.drive(0)[6], CONDITIONS["dusk"], SMALL, 3)
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert int(other) == zlib.crc32(picture.tobytes())


def test_another_seed_is_another_drive(town: Town) -> None:
    pose = town.drive(0)[6]
    first, second = (render(town, pose, CONDITIONS["traffic"], SMALL, seed=seed) for seed in (1, 2))
    assert np.abs(first.astype(int) - second).mean() > 3


def edges(picture: np.ndarray) -> np.ndarray:
    """Normalised, slightly blurred gradient magnitude: what is left of a picture when its light is taken away."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = (grey - cv2.GaussianBlur(grey, (0, 0), 12)) / (cv2.GaussianBlur(np.abs(grey - grey.mean()), (0, 0), 12) + 4)
    magnitude = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    flat = cv2.GaussianBlur(magnitude, (0, 0), 1.0).ravel()
    return (flat - flat.mean()) / np.linalg.norm(flat - flat.mean())


@pytest.fixture(scope="module")
def poses(town: Town) -> list[CameraPose]:
    """Six places of a steady drive."""
    loop = town.drive(0, heading_jitter_deg=0, tilt_jitter_deg=0, wander=0)
    return loop[:: max(1, len(loop) // 6)][:6]


@pytest.fixture(scope="module")
def calm(town: Town, poses: list[CameraPose]) -> list[np.ndarray]:
    """What is seen there on a day without traffic."""
    return [render(town, pose, Condition(traffic=0.0), SMALL, seed=1) for pose in poses]


@pytest.mark.parametrize("name", ["overcast", "dusk", "night", "rain", "winter"])
def test_a_place_keeps_its_structure_under_another_condition(
    town: Town, poses: list[CameraPose], calm: list[np.ndarray], name: str
) -> None:
    changed = [render(town, pose, parse_condition(name), SMALL, seed=2) for pose in poses]
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in zip(calm, changed, strict=True)), "they do differ"
    likeness = np.array([[edges(a) @ edges(b) for b in changed] for a in calm])
    same, other = np.diag(likeness), likeness[~np.eye(len(poses), dtype=bool)]
    assert same.mean() > other.mean() + 0.1
    assert (likeness.argmax(axis=1) == np.arange(len(poses))).mean() >= 0.8


def test_conditions_are_what_their_names_say(town: Town) -> None:
    pose = town.drive(0)[6]
    mean = {name: render(town, pose, CONDITIONS[name], SMALL, seed=1).mean(axis=(0, 1)) for name in CONDITIONS}
    assert mean["night"].mean() < 0.6 * mean["dusk"].mean() < 0.6 * mean["daylight"].mean()
    assert mean["winter"].mean() > mean["daylight"].mean()
    assert np.ptp(mean["rain"]) < 25, "rain is grey"


def test_conditions_combine() -> None:
    assert parse_condition("night+rain") == Condition(light="night", weather="rain")
    assert parse_condition("daylight+winter+traffic") == Condition(season="winter", traffic=1.0)
    with pytest.raises(UsageError, match=r"fog.*choose from daylight"):
        parse_condition("night+fog")
    with pytest.raises(UsageError, match="outside"):
        Condition(traffic=2.0)
    with pytest.raises(UsageError, match="monsoon"):
        Condition(weather="monsoon")


def test_two_towns_look_different() -> None:
    towns = [make_town(seed, 150.0) for seed in (8, 9)]
    pictures = [render(t, t.drive(0)[5], CONDITIONS["daylight"], SMALL) for t in towns]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 10
