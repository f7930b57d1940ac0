import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsformer_core.pictures import PictureError
from dsformer_core.sources import GeotaggedPicture, Skipped, SourceOptions, open_source, panorama_views
from tests.compass_panoramas import bearings_deg, compass_panorama, difference_deg, heights, write_panorama
from tests.synthetic import write_picture


def write_panoramas(folder: Path, headings: list[float | None], size: tuple[int, int] = (720, 360)) -> Path:
    """A manifest of panoramas at ten metres' distance."""
    rows = ["path,latitude,longitude,heading_deg"]
    for number, heading in enumerate(headings):
        write_panorama(folder / f"{number}.jpg", *size, heading or 0)
        rows.append(f"{number}.jpg,{55.7 + number * 1e-4},13.2,{'' if heading is None else heading}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder / "list.csv"


def scan(path: Path, **options: object) -> tuple[list[GeotaggedPicture], list[Skipped]]:
    return open_source(path, options=SourceOptions(**options)).scan()  # type: ignore[arg-type]


def test_every_view_looks_where_its_heading_says(tmp_path: Path) -> None:
    pictures, skipped = scan(write_panoramas(tmp_path, [30.0, 300.0]), views=4)
    assert not skipped and len(pictures) == 8
    assert [picture.id for picture in pictures[:4]] == ["0.jpg@000", "0.jpg@090", "0.jpg@180", "0.jpg@270"]
    assert pictures[1].image == f"{tmp_path}/0.jpg#view=090"
    assert [picture.heading_deg for picture in pictures] == [30, 120, 210, 300, 300, 30, 120, 210]
    for picture in pickle.loads(pickle.dumps(pictures)):
        view = picture.load()
        assert view.shape == (180, 180, 3) and view.dtype == np.uint8
        seen = bearings_deg(view)
        assert abs(difference_deg(seen[89:91].mean(), picture.heading_deg)) < 1
        assert np.sum(difference_deg(seen[1:], seen[:-1])) == pytest.approx(90, abs=2)
        assert heights(view)[[0, -1]] == pytest.approx([0.25, 0.75], abs=0.02), "about the horizon"


def test_views_and_their_width_can_be_chosen(tmp_path: Path) -> None:
    path = write_panoramas(tmp_path, [0.0])
    assert len(scan(path, fov=60)[0]) == 8
    pictures, _ = scan(path, views=7, fov=60)
    assert [picture.heading_deg for picture in pictures] == pytest.approx(np.arange(7) * 360 / 7)
    assert len({picture.id for picture in pictures}) == 7
    assert pictures[0].load().shape == (120, 120, 3)


def test_a_panorama_without_heading_is_skipped(tmp_path: Path) -> None:
    pictures, (skipped,) = scan(write_panoramas(tmp_path, [None, 10.0]), panoramas="all")
    assert len(pictures) == 8
    assert skipped.image.endswith("0.jpg") and skipped.reason == "a panorama whose heading is unknown"


def test_panoramas_are_told_by_their_shape_only_if_asked(tmp_path: Path) -> None:
    write_picture(tmp_path / "street.jpg", latitude=55.7)
    path = write_picture(tmp_path / "around.jpg", latitude=55.7001, heading=45)
    exif = Image.open(path).getexif()
    Image.fromarray(compass_panorama(400, 200, 45)).save(path, exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"")
    assert len(scan(tmp_path)[0]) == 2
    pictures, _ = scan(tmp_path, panoramas="detect", views=2)
    assert [picture.id for picture in pictures] == ["around.jpg@000", "around.jpg@180", "street.jpg"]
    assert len(scan(tmp_path, views=2)[0]) == 4


def test_a_panorama_is_decoded_once_for_its_views_and_no_larger_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, _ = scan(write_panoramas(tmp_path, [0.0, 90.0, 180.0], (2048, 1024)), views=8)
    asked: list[tuple[str, object]] = []
    pixels = panorama_views._Decoded.pixels

    def spy(self: panorama_views._Decoded, load: object) -> np.ndarray:
        def count(*, at_least: object = None) -> np.ndarray:
            picture = load(at_least=at_least)  # type: ignore[operator]
            asked.append((str(load.args[0]), picture.shape))  # type: ignore[attr-defined]
            return picture

        return pixels(self, count)

    monkeypatch.setattr(panorama_views._Decoded, "pixels", spy)
    with ThreadPoolExecutor(4) as executor:
        views = list(executor.map(lambda picture: picture.load(at_least=(200, 200)), pictures))
    assert {view.shape for view in views} == {(256, 256, 3)}
    assert sorted(asked) == [(f"{tmp_path}/{number}.jpg", (512, 1024, 3)) for number in range(3)]


def test_a_panorama_that_is_gone_is_named(tmp_path: Path) -> None:
    pictures, _ = scan(write_panoramas(tmp_path, [0.0]), views=2)
    (tmp_path / "0.jpg").unlink()
    for picture in pictures:
        with pytest.raises(PictureError, match=r"0\.jpg: No such file"):
            picture.load()
