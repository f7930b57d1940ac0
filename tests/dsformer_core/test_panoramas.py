from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsformer_core import panoramas
from dsformer_core.geodesy import UtmZone, to_latlon, to_utm
from dsformer_core.panoramas import cut, offsets_deg, panorama_window, picture_window, read_views
from dsformer_core.pictures import PictureError, read_picture
from tests.compass_panoramas import bearings_deg, compass_panorama, difference_deg, heights, write_panorama

# The proportions of SF-XL's panoramas, at a quarter of their size.
WIDTH, HEIGHT = 832, 128


@given(
    heading=st.floats(0, 360),
    bearing=st.floats(0, 360),
    aspect=st.sampled_from(["keep", "squeeze"]),
    size=st.sampled_from([(64, 64), (48, 64), (128, 128), (32, 96)]),
)
def test_a_crop_looks_towards_its_bearing_wherever_the_seam_is(
    heading: float, bearing: float, aspect: panoramas.Aspect, size: panoramas.Size
) -> None:
    panorama = compass_panorama(WIDTH, HEIGHT, heading)
    window = panorama_window((HEIGHT, WIDTH), bearing - heading, aspect, size)
    crop = cut(panorama, window, size)
    assert crop.shape == (*size, 3)
    seen = bearings_deg(crop)
    centre = seen[0] + np.sum(difference_deg(seen[1:], seen[:-1])) / 2
    assert abs(difference_deg(centre, bearing)) < 0.5
    assert (difference_deg(seen[8:], seen[:-8]) > 0).all(), "to the right is clockwise"


@pytest.mark.parametrize("offset", [0.0, 100.0, -179.0, 180.0])
def test_squeeze_takes_90_degrees_and_the_whole_height(offset: float) -> None:
    crop = cut(
        compass_panorama(WIDTH, HEIGHT, 0), panorama_window((HEIGHT, WIDTH), offset, "squeeze", (64, 64)), (64, 64)
    )
    assert np.sum(difference_deg(bearings_deg(crop)[1:], bearings_deg(crop)[:-1])) == pytest.approx(90 * 63 / 64, abs=1)
    assert heights(crop)[[0, -1]] == pytest.approx([0.5 / 64, 63.5 / 64], abs=0.01)


@pytest.mark.parametrize("offset", [0.0, 100.0, -179.0, 180.0])
def test_keep_is_as_wide_as_high(offset: float) -> None:
    crop = cut(compass_panorama(WIDTH, HEIGHT, 0), panorama_window((HEIGHT, WIDTH), offset, "keep", (64, 64)), (64, 64))
    # 128 of 832 columns, 55.4 degrees, as high as the panorama.
    seen = bearings_deg(crop)
    assert np.sum(difference_deg(seen[1:], seen[:-1])) == pytest.approx(128 / 832 * 360 * 63 / 64, abs=1)
    assert heights(crop)[[0, -1]] == pytest.approx([0.5 / 64, 63.5 / 64], abs=0.01)


def test_keep_takes_no_more_than_90_degrees_of_a_high_panorama() -> None:
    """A whole sphere, twice as wide as high: 90 degrees square about the horizon."""
    window = panorama_window((400, 800), 0, "keep", (64, 64))
    assert (window.left, window.top, window.width, window.height) == (300, 100, 200, 200)


@given(
    picture=st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    size=st.tuples(st.integers(16, 640), st.integers(16, 640)),
)
def test_keep_has_the_proportions_asked_for_and_lies_within(picture: panoramas.Size, size: panoramas.Size) -> None:
    for window in (picture_window(picture, "keep", size), panorama_window(picture, 0, "keep", size)):
        assert window.width / window.height == pytest.approx(size[1] / size[0])
        assert window.left >= -1e-6 and window.left + window.width <= picture[1] + 1e-6
        assert window.top >= -1e-6 and window.top + window.height <= picture[0] + 1e-6


@given(
    picture=st.tuples(st.integers(1, 60), st.integers(4, 90)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    offset=st.floats(-180, 180),
    aspect=st.sampled_from(["keep", "squeeze"]),
)
def test_any_window_of_any_picture_can_be_cut(
    picture: panoramas.Size, size: panoramas.Size, offset: float, aspect: panoramas.Aspect
) -> None:
    pixels = np.full((*picture, 3), 77, np.uint8)
    for window in (picture_window(picture, aspect, size), panorama_window(picture, offset, aspect, size)):
        crop = cut(pixels, window, size)
        assert crop.shape == (*size, 3) and (crop == 77).all()


def test_an_ordinary_picture_is_not_continued_at_its_other_side() -> None:
    picture = np.zeros((64, 90, 3), np.uint8)
    picture[:, 45:] = 255
    for size in ((32, 45), (32, 32), (128, 180)):
        for aspect in ("keep", "squeeze"):
            crop = cut(picture, picture_window((64, 90), aspect, size), size)
            assert crop[:, 0].max() == 0 and crop[:, -1].min() == 255


@pytest.mark.parametrize("place", [(37.77, -122.42), (-33.87, 151.2), (64.1, 15.4), (55.7, 17.9)])
def test_offsets_agree_with_geodesics(place: tuple[float, float]) -> None:
    """Headings are from true north, coordinates are on the grid: four corners of the world, both sides of a zone."""
    zone = UtmZone.of(*place)
    position = to_utm(*place, zone)
    geod = pyproj.Geod(ellps="WGS84")
    for towards in np.array([(15.0, 0), (0, 15), (-15, 0), (0, -15), (10, -11)]):
        focal = position + towards
        latitude, longitude = to_latlon(focal, zone)
        azimuth, _, _ = geod.inv(place[1], place[0], float(longitude), float(latitude))
        for heading in (0.0, 90.0, 200.0, 359.0):
            (offset,) = offsets_deg(position[None], focal[None], np.array([heading]), zone)
            assert -180 <= offset < 180
            assert abs(difference_deg(offset + heading, azimuth)) < 0.01


def test_without_a_zone_grid_north_is_north() -> None:
    position = np.zeros((4, 2))
    focal = np.array([(0.0, 15), (15, 0), (0, -15), (-15, 0)])
    assert offsets_deg(position, focal, np.full(4, 90.0), None) == pytest.approx([-90, 0, 90, -180])


@pytest.mark.parametrize("aspect", ["keep", "squeeze"])
@pytest.mark.parametrize("offset", [0.0, 60.0, 150.0, -180.0])
def test_reduced_decoding_gives_the_same_view(tmp_path: Path, aspect: panoramas.Aspect, offset: float) -> None:
    path = write_panorama(tmp_path / "a.jpg", 3328, 512, 30)
    size = (100, 100)
    (read,) = read_views(path, [offset], size, aspect)
    full = read_picture(path)
    direct = cut(full, panorama_window((512, 3328), offset, aspect, size), size)
    assert np.abs(read.astype(int) - direct).max() <= 4
    assert abs(difference_deg(bearings_deg(read)[49:51].mean(), 30 + offset)) < 0.5


@pytest.mark.parametrize(
    ("size", "decoded"), [(60, (64, 416)), (100, (128, 832)), (200, (256, 1664)), (300, (512, 3328))]
)
def test_no_more_is_decoded_than_a_view_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, decoded: panoramas.Size
) -> None:
    path = write_panorama(tmp_path / "a.jpg", 3328, 512, 0)
    seen = []

    def spy(image: Image.Image, name: str) -> np.ndarray:
        pixels = read(image, name)
        seen.append(pixels.shape[:2])
        return pixels

    read = panoramas.upright_rgb
    monkeypatch.setattr(panoramas, "upright_rgb", spy)
    crops = read_views(path, [0.0, 90.0], (size, size), "keep")
    assert seen == [decoded], "once for both views, at the smallest scale that suffices"
    assert [crop.shape for crop in crops] == [(size, size, 3)] * 2


def test_views_are_enlarged_only_where_that_is_wanted(tmp_path: Path) -> None:
    path = write_panorama(tmp_path / "a.jpg", WIDTH, HEIGHT, 0)
    assert read_views(path, [10.0], (512, 512), "keep")[0].shape == (512, 512, 3)
    assert read_views(path, [10.0], (512, 512), "keep", enlarge=False)[0].shape == (128, 128, 3)
    assert read_views(path, [10.0], (512, 512), "squeeze", enlarge=False)[0].shape == (128, 208, 3)
    assert read_views(path, [10.0], (64, 64), "keep", enlarge=False)[0].shape == (64, 64, 3)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"a\.jpg"):
        read_views(tmp_path / "a.jpg", [0.0], (64, 64), "keep")
    with pytest.raises(PictureError, match=r"b\.jpg"):
        read_views(tmp_path / "b.jpg", [0.0], (64, 64), "keep")
