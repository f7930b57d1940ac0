from pathlib import Path

import cv2
import numpy as np
import pytest

from dsformer_core.picture_quality import LEAST_CONTRAST, LEAST_DEFINITION, Flaw, flaw_of, measure
from dsformer_core.pictures import read_picture
from tests.unseen_town import LATER, Drive


def noisy(picture: np.ndarray, std: float = 2.0) -> np.ndarray:
    return np.clip(picture + np.random.default_rng(0).normal(0, std, picture.shape), 0, 255).astype(np.uint8)


def flaw(picture: np.ndarray) -> Flaw:
    found = flaw_of(picture)
    assert found is not None
    return found


@pytest.fixture
def drive(unseen_town: dict[str, Drive]) -> dict[str, list[np.ndarray]]:
    """Pictures of a town that no weights were trained on, under each condition."""
    return {name: one.pictures for name, one in unseen_town.items()}


@pytest.mark.parametrize("condition", ["daylight", *LATER])
def test_night_and_rain_are_no_flaws(drive: dict[str, list[np.ndarray]], condition: str) -> None:
    for picture in drive[condition]:
        assert flaw_of(picture) is None
        quality = measure(picture)
        assert quality.contrast > 10 * LEAST_CONTRAST and quality.definition > 2 * LEAST_DEFINITION


def test_real_streets_have_no_flaws(shared: Path) -> None:
    pictures = sorted((shared / "data" / "lund").glob("*.jpg"))
    assert pictures
    for path in pictures:
        assert flaw_of(read_picture(path)) is None, path.name


def test_the_dark_is_named(drive: dict[str, list[np.ndarray]]) -> None:
    for picture in drive["night"]:
        found = flaw(noisy(picture * 0.015))
        assert found.useless and found.words.startswith("the picture is dark (mean ") and "covered" in found.words


def test_a_dim_picture_is_looked_at_all_the_same(drive: dict[str, list[np.ndarray]]) -> None:
    """At a twentieth of the light of day two in three are still found."""
    found = [flaw_of(noisy(picture * 0.05)) for picture in drive["daylight"]]
    named = [one for one in found if one is not None and "the picture is dark" in one.words]
    assert len(named) > 0.8 * len(found) and not any(one.useless for one in named)


@pytest.mark.parametrize("level", [0, 3, 12])
def test_a_lens_cap_and_a_noisy_sensor(level: float) -> None:
    assert "the lens may be covered" in flaw(noisy(np.full((480, 640, 3), level, np.float64), 6.0)).words


def test_a_hand_on_the_lens() -> None:
    y, x = np.mgrid[:240, :320]
    skin = np.stack(
        [120 - 40 * ((x - 160) / 160) ** 2 - 30 * y / 240, 50 - 20 * ((x - 160) / 160) ** 2, 40 + 0 * x], -1
    )
    found = flaw(noisy(skin, 3.0))
    assert found.useless and "the lens may be covered" in found.words
    assert flaw(np.full((240, 320, 3), (150, 70, 60), np.uint8)) == Flaw(
        "the picture is all of one shade (mean 93 of 255): the lens may be covered", True
    )


def test_too_much_light_is_named(drive: dict[str, list[np.ndarray]]) -> None:
    for picture in drive["daylight"]:
        assert flaw(np.clip(picture * 1.0 + 240, 0, 255).astype(np.uint8)) == Flaw(
            "the picture is overexposed (mean 255 of 255)", True
        )
    assert "overexposed" in flaw(np.full((48, 64, 3), 255, np.uint8)).words


def test_blur_is_named_and_a_lot_of_it_is_useless(drive: dict[str, list[np.ndarray]]) -> None:
    for picture in drive["daylight"] + drive["night"]:
        much = flaw(noisy(cv2.GaussianBlur(picture, (0, 0), 0.06 * 160)))
        assert "the picture is blurred" in much.words and much.useless
    some = [flaw_of(noisy(cv2.GaussianBlur(picture, (0, 0), 0.02 * 160))) for picture in drive["daylight"]]
    named = [one for one in some if one is not None and "the picture is blurred" in one.words]
    assert len(named) > 0.6 * len(some) and not any(one.useless for one in named)


def test_motion_blurs_one_direction_only(drive: dict[str, list[np.ndarray]]) -> None:
    for picture in drive["daylight"]:
        streaks = cv2.filter2D(picture, -1, np.full((1, 45), 1 / 45))
        assert flaw(noisy(streaks)).useless
        assert flaw(noisy(np.ascontiguousarray(np.rot90(streaks)))).useless


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (3, 2), (2000, 3000)])
def test_any_shape_is_measured(shape: tuple[int, int]) -> None:
    assert flaw(np.zeros((*shape, 3), np.uint8)).useless
    assert np.isfinite(measure(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)).definition)
