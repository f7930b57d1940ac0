import logging
from pathlib import Path

import pytest

from dsformer_core.errors import DsformerError
from dsformer_core.training.data import Draw, open_training_data
from tests.synthetic import write_picture

SIZE = (48, 48)
HEADER = "place_id,year,month,northdeg,city_id,lat,lon,panoid"
# The data set's own example, beside others: identifiers may hold underscores and dashes, directions exceed 360, the
# extension is written large or small, and the table may round what the name does not.
LONDON = [
    ("130,2018,4,15,London,51.4861,-0.0895151,6jFjb3wGyCkcBfq4k559ag",
     "London_0000130_2018_04_015_51.4861_-0.0895151_6jFjb3wGyCkcBfq4k559ag.JPG"),
    ("130,2015,11,7,London,51.48612,-0.08952,7P0F_G-V3k",
     "London_0000130_2015_11_007_51.486123456789_-0.0895249876_7P0F_G-V3k.jpg"),
    ("6793,2016,7,2,London,51.5187,-0.160767,Ff3O",
     "London_0006793_2016_07_002_51.5187_-0.160767_Ff3O.jpg"),
]  # fmt: skip
PARIS = [
    (f"130,2008,5,{direction},PRS,48.79,2.23,pano{direction}",
     f"PRS_0000130_2008_05_{direction:03d}_48.79_2.23_pano{direction}.JPG")
    for direction in (584, 406, 11)
]  # fmt: skip


def write_city(root: Path, city: str, places: list[tuple[str, str]]) -> None:
    (root / "Dataframes").mkdir(parents=True, exist_ok=True)
    (root / "Dataframes" / f"{city}.csv").write_text("\n".join([HEADER, *(line for line, _ in places)]) + "\n")
    for number, (_, name) in enumerate(places):
        write_picture(root / "Images" / city / name, latitude=None, seed=number)


def test_places_of_all_cities_are_classes_of_one_view(tmp_path: Path) -> None:
    write_city(tmp_path, "London", LONDON)
    write_city(tmp_path, "PRS", PARIS)
    ((view,),) = open_training_data(tmp_path, size=SIZE, min_images=2).groups
    files = [view.path(record).relative_to(tmp_path / "Images").as_posix() for record in range(view.picture_count)]
    assert files == sorted(f"London/{name}" for _, name in LONDON[:2]) + sorted(f"PRS/{name}" for _, name in PARIS)
    assert view.starts.tolist() == [0, 2, 5], "place 130 of London is not place 130 of Paris"
    assert view.cities.tolist() == [0, 1] and view.counts.tolist() == [2, 3]
    picture, label = view[Draw(1, 0)]
    assert (tuple(picture.shape), label) == ((3, *SIZE), 1)


@pytest.mark.parametrize(("min_images", "classes"), [(1, 3), (2, 2), (3, 1)])
def test_places_with_few_pictures_are_left_out(tmp_path: Path, min_images: int, classes: int) -> None:
    write_city(tmp_path, "London", LONDON)
    write_city(tmp_path, "PRS", PARIS)
    assert len(open_training_data(tmp_path, size=SIZE, min_images=min_images).groups[0][0]) == classes


def test_no_place_left_is_an_error(tmp_path: Path) -> None:
    write_city(tmp_path, "London", LONDON)
    with pytest.raises(DsformerError, match="no place has 4 pictures or more"):
        open_training_data(tmp_path, size=SIZE)


def test_pictures_that_are_not_there_are_said_to_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_city(tmp_path, "London", LONDON)
    (tmp_path / "Images" / "London" / LONDON[0][1]).unlink()
    with caplog.at_level(logging.WARNING):
        ((view,),) = open_training_data(tmp_path, size=SIZE, min_images=1).groups
    assert view.picture_count == 2
    assert "1 of 3 pictures are not there, London_0000130_2018_04_015" in caplog.text


def test_a_city_without_its_pictures_is_an_error(tmp_path: Path) -> None:
    write_city(tmp_path, "London", LONDON)
    (tmp_path / "Images" / "London").rename(tmp_path / "Images" / "London_images")
    with pytest.raises(DsformerError, match=r"none of the pictures .* looked for .*Images/London/London_0000130_2018"):
        open_training_data(tmp_path, size=SIZE)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", HEADER + "\n1,2\n", HEADER + "\n1,,4,15,London,51,0,x\n"])
def test_a_table_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    write_city(tmp_path, "London", LONDON)
    (tmp_path / "Dataframes" / "London.csv").write_text(text)
    with pytest.raises(DsformerError, match=r"London\.csv: not a table of GSV-Cities with columns place_id") as error:
        open_training_data(tmp_path, size=SIZE)
    assert "\n" not in str(error.value)


def test_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "Dataframes").mkdir()
    with pytest.raises(DsformerError, match=r"looked for Dataframes/\*\.csv"):
        open_training_data(tmp_path, size=SIZE)
