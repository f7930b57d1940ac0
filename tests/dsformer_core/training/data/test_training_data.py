import logging
from itertools import islice
from pathlib import Path

import numpy as np
import pyproj
import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from dsformer_core.clustering.config import BlockClusteringConfig
from dsformer_core.clustering.group import Group
from dsformer_core.clustering.partition import PICTURES, Partition, write_partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import to_latlon
from dsformer_core.training.data import ClassPictures, ClassSampler, Draw, open_training_data
from dsformer_core.training.data.class_pictures import UnreadableClassError
from tests.compass_panoramas import bearings_deg, difference_deg
from tests.synthetic import write_picture

SIZE = (48, 48)


def batches(view: ClassPictures, count: int, *, workers: int = 0, start: int = 0) -> list[list[torch.Tensor]]:
    draws = ClassSampler(len(view), seed=1, epoch=0, group=0, view=0, start=start)
    return list(islice(DataLoader(view, batch_size=4, sampler=draws, num_workers=workers), count))


def records(partition: Partition, group: int, angle: int) -> list[list[dict]]:
    """Per class of a view its records."""
    rows = [row for row in partition.table.to_pylist() if (row["group"], row["angle"]) == (group, angle)]
    return [[row for row in rows if row["class"] == label] for label in sorted({row["class"] for row in rows})]


def draw_of(view: ClassPictures, label: int, number: int) -> Draw:
    """The draw that means picture `number` of a class."""
    count = int(view.starts[label + 1] - view.starts[label])
    return Draw(label, number + count * 12345)


@pytest.mark.parametrize("aspect", ["keep", "squeeze"])
def test_every_view_of_a_panorama_looks_at_its_focal_point(shared_town: Path, aspect: str) -> None:
    partition = Partition.open(shared_town)
    data = open_training_data(shared_town, size=SIZE, aspect=aspect)
    assert [[len(view) for view in group] for group in data.groups] == [[3, 3], [2, 2]]
    geod = pyproj.Geod(ellps="WGS84")
    for group, views in enumerate(data.groups):
        for angle, view in zip((0, 90), views, strict=True):
            for label, rows in enumerate(records(partition, group, angle)):
                for number, row in enumerate(rows):
                    picture, index = view[draw_of(view, label, number)]
                    assert (picture.shape, picture.dtype, index) == ((3, *SIZE), torch.uint8, label)
                    position = to_latlon((row["easting"], row["northing"]), partition.zone)
                    focal = to_latlon((row["focal_easting"], row["focal_northing"]), partition.zone)
                    azimuth, _, _ = geod.inv(*position[::-1], *focal[::-1])
                    seen = bearings_deg(picture.permute(1, 2, 0).numpy())
                    centre = seen[0] + difference_deg(seen[1:], seen[:-1]).sum() / 2
                    assert abs(difference_deg(centre, azimuth)) < 0.8


def write_pictures_partition(folder: Path) -> Path:
    """A rig's pictures: two lateral classes and one frontal one; the second group has no class."""
    names = [write_picture(folder / f"{number}.jpg", latitude=None, seed=number).name for number in range(9)]
    utm = np.random.default_rng(0).uniform(0, 100, (9, 2))
    classes = [np.arange(start, start + 3) for start in (0, 3, 6)]
    points = np.zeros((3, 2))
    group = Group(classes, points, points, points, angles=np.array([0, 90, 0], np.int32))
    nothing = Group([], points[:0], points[:0], points[:0], angles=np.empty(0, np.int32))
    write_partition(
        folder / "rig.partition", [group, nothing], utm=utm, config=BlockClusteringConfig(), kind=PICTURES,
        images=names, images_root=folder, headings_deg=np.zeros(9),
    )  # fmt: skip
    return folder / "rig.partition"


def test_pictures_of_a_rig_have_one_view_per_class(tmp_path: Path) -> None:
    data = open_training_data(write_pictures_partition(tmp_path), size=SIZE, aspect="squeeze")
    (views,) = data.groups
    assert [len(view) for view in views] == [2, 1], "the group without a class is left out"
    lateral, frontal = views
    assert [lateral.path(record).name for record in range(6)] == [f"{number}.jpg" for number in (0, 1, 2, 6, 7, 8)]
    assert [frontal.path(record).name for record in range(3)] == ["3.jpg", "4.jpg", "5.jpg"]
    assert lateral[Draw(1, 0)][1] == 1, "numbered within the view, without gaps"
    assert lateral[Draw(1, 0)][0].shape == (3, *SIZE)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_sees_the_same_pictures(shared_town: Path, workers: int) -> None:
    view = open_training_data(shared_town, size=SIZE).groups[0][0]
    whole, resumed = batches(view, 6), batches(view, 4, workers=workers, start=2 * 4)
    for (pictures, labels), (same_pictures, same_labels) in zip(whole[2:], resumed, strict=True):
        assert labels.dtype == torch.int64
        assert torch.equal(pictures, same_pictures) and torch.equal(labels, same_labels)


def spoil(view: ClassPictures, record: int) -> Path:
    path = view.path(record)
    path.write_bytes(path.read_bytes()[:700])
    return path


def test_a_corrupt_picture_in_the_middle_of_an_epoch_is_replaced(town: Path, tmp_path: Path) -> None:
    data = open_training_data(town, size=SIZE)
    view = data.groups[0][0]
    before = batches(view, 12)
    bad = spoil(view, 0)
    # A file, because what loading processes log is no record in this one.
    handler = logging.FileHandler(tmp_path / "log.txt")
    logging.getLogger("dsformer_core").addHandler(handler)
    try:
        after = batches(view, 12, workers=2)
    finally:
        logging.getLogger("dsformer_core").removeHandler(handler)
    changed = 0
    for (pictures, labels), (other_pictures, other_labels) in zip(before, after, strict=True):
        assert torch.equal(labels, other_labels)
        changed += int((pictures != other_pictures).flatten(1).any(dim=1).sum())
    assert changed > 1
    # The loading processes were ahead of what was taken from them.
    assert data.replaced >= changed
    assert (tmp_path / "log.txt").read_text().count(str(bad)) == 1, "named once, whoever met it"
    again = batches(view, 12)
    assert all(torch.equal(first[0], second[0]) for first, second in zip(after, again, strict=True))


def test_replacements_are_counted(town: Path) -> None:
    data = open_training_data(town, size=SIZE)
    view = data.groups[0][1]
    spoil(view, 1)
    assert data.replaced == 0
    replacement, label = view[draw_of(view, 0, 1)]
    assert (data.replaced, label) == (1, 0)
    assert any(torch.equal(replacement, view[draw_of(view, 0, number)][0]) for number in (0, 2, 3))
    assert data.replaced == 1
    view[draw_of(view, 0, 1)]
    assert data.replaced == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_without_a_readable_picture_is_an_error_in_one_line(town: Path, workers: int) -> None:
    view = open_training_data(town, size=SIZE).groups[0][0]
    for record in range(int(view.starts[1]), int(view.starts[2])):
        view.path(record).unlink()
    message = r"^group 0, angle 0: none of the 4 pictures of class 1 can be read \(.*\)$"
    with pytest.raises(UnreadableClassError, match=message) as error:
        batches(view, 5, workers=workers)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_said_in_one_line(town: Path, tmp_path: Path) -> None:
    with pytest.raises(DsformerError, match=r"nowhere: no such directory; .*partition\.yaml.*subset\.yaml.*Dataframes"):
        open_training_data(tmp_path / "nowhere", size=SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DsformerError, match=r"looked for .*partition\.yaml.*subset\.yaml.*Dataframes"):
        open_training_data(tmp_path / "empty", size=SIZE)
    with pytest.raises(UsageError, match="aspect 'stretch' is not one of keep, squeeze"):
        open_training_data(town, size=SIZE, aspect="stretch")


def test_moved_panoramas_are_said_to_be_missing_and_found_where_told(town: Path, tmp_path: Path) -> None:
    (tmp_path / "panoramas").rename(tmp_path / "elsewhere")
    with pytest.raises(DsformerError, match=r"panoramas: no such folder; looked for the images"):
        open_training_data(town, size=SIZE)
    data = open_training_data(town, size=SIZE, images_root=tmp_path / "elsewhere")
    assert data.groups[0][0][Draw(0, 0)][0].shape == (3, *SIZE)
    (tmp_path / "panoramas").mkdir()
    with pytest.raises(DsformerError, match=r"jpg is missing; looked for the images"):
        open_training_data(town, size=SIZE)


def write_positions_only(folder: Path, **options: object) -> Path:
    utm = np.random.default_rng(0).uniform(0, 9, (4, 2))
    points = np.zeros((1, 2))
    write_partition(
        folder / "bare.partition", [Group([np.arange(4)], points, points, points)], utm=utm,
        config=BlockClusteringConfig(), **options,
    )  # fmt: skip
    return folder / "bare.partition"


def test_positions_without_images_are_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DsformerError, match="positions without images"):
        open_training_data(write_positions_only(tmp_path), size=SIZE)


def test_panoramas_without_headings_are_nothing_to_train_on(tmp_path: Path) -> None:
    names = [write_picture(tmp_path / f"{number}.jpg", latitude=None).name for number in range(4)]
    partition = write_positions_only(tmp_path, images=names, images_root=tmp_path)
    with pytest.raises(DsformerError, match=r"4 panoramas have no heading"):
        open_training_data(partition, size=SIZE)


def test_the_data_say_what_they_were_partitioned_with(shared_town: Path) -> None:
    data = open_training_data(shared_town, size=SIZE)
    assert data.partition == yaml.safe_load((shared_town / "partition.yaml").read_text())
    assert data.partition["config"]["focal_distance"] == BlockClusteringConfig().focal_distance
