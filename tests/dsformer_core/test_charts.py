"""Charts are well-formed, in proportion, and safe to put into a page."""

from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dsformer_core.charts import bars, dot_map, histogram, promises, rose, shades

SVG = "{http://www.w3.org/2000/svg}"


def parsed(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def heights(chart: str) -> list[float]:
    return [float(column.get("height", 0)) for column in parsed(chart).iter(f"{SVG}rect")]


def texts(chart: str) -> list[str | None]:
    return [words.text for words in parsed(chart).iter(f"{SVG}text")]


def test_columns_are_in_proportion() -> None:
    chart = bars([10, 0, 5, 20], ["a", "", "c", "<d>"], 'what & "why"')
    tall = heights(chart)
    assert len(tall) == 3  # of nothing there is none
    assert tall[0] / tall[2] == pytest.approx(0.5, abs=0.01)
    assert tall[1] / tall[2] == pytest.approx(0.25, abs=0.01)
    assert texts(chart) == ["a", "c", "<d>", "20"]
    assert parsed(chart).get("aria-label") == 'what & "why"'


def test_nothing_is_a_chart_too() -> None:
    assert heights(bars([0, 0], ["a", "b"], "nothing")) == []
    assert heights(histogram([], [0, 1, 2], "nothing")) == []
    parsed(rose(np.zeros(8), "nothing"))
    parsed(promises([], "nothing"))


def test_histograms_count_what_lies_beyond_their_ends() -> None:
    tall = heights(histogram([-5.0, 0.5, 1.5, 2.0, 99.0, np.nan], [0, 1, 2], "values", every=2, unit=" m"))
    assert tall[1] / tall[0] == pytest.approx(1.5, abs=0.02)
    assert texts(histogram([0.5], [0, 1, 2], "values", every=2, unit=" m")) == ["0 m", "1"]


def test_petals_point_where_they_should() -> None:
    counts = np.zeros(4)
    counts[1] = 1  # east
    petals = [path.get("d", "") for path in parsed(rose(counts, "headings")).iter(f"{SVG}path")]
    middle = 190 / 2
    reached = float(petals[1].split("L")[1].split()[0])
    assert reached > middle + 40


def test_promises_lie_on_the_diagonal_when_kept() -> None:
    dots = list(parsed(promises([(0.25, 0.25, 10), (0.75, 0.75, 90)], "promises")).iter(f"{SVG}circle"))
    (x0, y0), (x1, y1) = ((float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in dots)
    assert x1 - x0 == pytest.approx(y0 - y1)
    assert float(dots[1].get("r", 0)) > float(dots[0].get("r", 0))


def test_places_lie_north_up_and_the_later_on_top() -> None:
    places = np.array([[0.0, 0.0], [100.0, 200.0], [100.0, 200.0]])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    picture = dot_map(places, colours, places[:2], width=400)
    pixels = np.asarray(Image.open(BytesIO(picture.png)))
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(picture.aspect)
    assert picture.metres * pixels.shape[0] / pixels.shape[1] == pytest.approx(200 * 400 / 380, rel=0.02)
    red, blue = (
        np.argwhere((pixels[..., channel] == 255) & (pixels[..., 3] == 255)).mean(axis=0) for channel in (0, 2)
    )
    assert not ((pixels[..., 1] == 255) & (pixels[..., 3] == 255)).any()
    assert blue[0] < red[0]
    assert blue[1] > red[1]
    metre = pixels.shape[1] / picture.metres
    assert (red - blue)[0] == pytest.approx(200 * metre, abs=1.5)
    assert (blue - red)[1] == pytest.approx(100 * metre, abs=1.5)
    assert pixels[0, 0, 3] == 0


@pytest.mark.parametrize("places", [[[5.0, 5.0]], [[0.0, 0.0], [0.0, 900.0]], [[0.0, 0.0], [5000.0, 1.0]]])
def test_maps_of_one_place_or_one_straight_street(places: list[list[float]]) -> None:
    corners = np.array([places[0], places[-1]])
    picture = dot_map(np.array(places), np.full((len(places), 3), 9, np.uint8), corners)
    assert 0.3 < picture.aspect < 3.5
    assert (np.asarray(Image.open(BytesIO(picture.png)))[..., 3] > 0).any()


def test_shades_run_along_a_ramp() -> None:
    ramp = ("#000000", "#640000", "#6400c8")
    colours = shades(np.array([0.0, 0.25, 0.5, 1.0, 7.0, np.nan]), ramp)
    assert colours.tolist() == [[0, 0, 0], [50, 0, 0], [100, 0, 0], [100, 0, 200], [100, 0, 200], [0, 0, 0]]
