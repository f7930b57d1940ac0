"""Rough positions, and the circles that they become."""

import json
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.cli.main import main
from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Extractor
from dsformer_core.localization.prior import Prior, radius_of
from dsformer_core.localization.verdict import State, Verdict
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.sources import open_source
from tests.synthetic import write_pictures


@pytest.fixture(scope="module")
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    """A drive of thirty pictures, five metres apart."""
    folder = tmp_path_factory.mktemp("town")
    drive = open_source(write_pictures(folder / "drive", 30))
    return build_place_map(drive, Extractor("gem_mobilenet_v2", threads=1), folder / "town.map")


def test_the_radius_is_of_the_least_certain_direction() -> None:
    turned = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    covariance = turned @ np.diag([400.0, 9.0]) @ turned.T
    assert radius_of(covariance, sigmas=3, least=10) == pytest.approx(60)
    assert radius_of(covariance, sigmas=3, least=100) == 100
    assert radius_of(np.zeros((2, 2)), sigmas=3, least=100) == 100


@pytest.mark.parametrize("covariance", [[[np.nan, 0], [0, 1]], [[-4.0, 0], [0, 1]], [[1.0]], [[1.0, 9.0], [9.0, 1.0]]])
def test_what_is_no_covariance_is_refused(covariance: list[list[float]]) -> None:
    with pytest.raises(DsformerError, match="covariance of a prior"):
        radius_of(covariance, sigmas=3, least=10)


def test_degrees_and_the_map_frame_name_the_same_spot(place_map: PlaceMap) -> None:
    x, y = place_map.frame.to_local(place_map.utm[4])
    local = Prior.at_local(place_map, float(x), float(y), 30.0, "/prior")
    latlon = Prior.at_latlon(place_map, place_map.latitude[4], place_map.longitude[4], 30.0, "/prior_fix")
    np.testing.assert_allclose(local.utm, place_map.utm[4], atol=1e-6)
    np.testing.assert_allclose(latlon.utm, place_map.utm[4], atol=1e-2)
    assert local.look(place_map).words == "within 30 m of /prior"
    with pytest.raises(DsformerError, match="no position"):
        Prior.at_local(place_map, float("nan"), 0.0, 30.0, "/prior")


def test_a_circle_that_holds_a_city_is_none(place_map: PlaceMap, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = Prior(place_map.utm[0], 22.0, "/prior")
    assert prior.look(place_map).circle["radius"] == 22.0
    monkeypatch.setattr("dsformer_core.localization.prior.MOST_NEAR", 4)
    wide = prior.look(place_map)
    assert (wide.circle, wide.words) == ({}, "everywhere: 5 references are within 22 m of /prior")
    told = wide.told(Verdict(State.LOCALIZED, "sure"))
    assert told == Verdict(State.LOCALIZED, f"sure; looked {wide.words}")


def test_the_command_looks_near_where_it_is_told(place_map: PlaceMap, capsys: pytest.CaptureFixture[str]) -> None:
    picture = place_map.images[2]
    where = f"{place_map.latitude[20]},{place_map.longitude[20]}"
    ask = ["localize", picture, "--map", str(place_map.directory)]
    assert main([*ask, "--near", where, "--radius", "27", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    found = {reference for each in answer["hypotheses"] for reference in each["references"]}
    assert found == {f"{row:03d}.jpg" for row in range(15, 26)}
    assert main([*ask, "--near", "0.5,13.0", "--radius", "10", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["hypotheses"] == [] and answer["state"] == "NO_MATCH" and answer["error_m"] is None
    page = Path(place_map.directory).parent / "answers.html"
    assert main([*ask, "--near", "0.5,13.0", "--radius", "10", "--html", str(page)]) == 0
    assert "NO_MATCH" in page.read_text() and "NO_MATCH" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--near", "55.7,13"], "belong together"),
        (["--radius", "5"], "belong together"),
        (["--near", "55.7,13", "--radius", "-5"], "it must be above 0"),
        (["--near", "155.7,13", "--radius", "5"], "latitude"),
    ],
)
def test_what_is_no_place_to_look_is_one_line(
    place_map: PlaceMap, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert main(["localize", place_map.images[2], "--map", str(place_map.directory), *given]) == 2
    words = " ".join(capsys.readouterr().err.split())
    assert message in words and "Traceback" not in words
