"""Partitions on disk: what is written is what was made, and what is damaged does not open."""

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.clustering import (
    BlockClusteringConfig,
    GridConfig,
    Group,
    Partition,
    PartitionError,
    cluster_blocks,
    grid_partition,
    split_by_heading,
    write_partition,
)
from dsformer_core.clustering import partition as partition_module
from dsformer_core.clustering.statistics import statistics_of_groups, statistics_of_partition
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.geodesy import UtmZone

from .conftest import CORNER, City, town


@pytest.fixture(scope="module")
def street() -> City:
    return town(30.0, passes=8)


@pytest.fixture(scope="module")
def groups(street: City) -> list[Group]:
    return cluster_blocks(street.utm, headings_deg=street.headings_deg)


def write(directory: Path, street: City, groups: list[Group], **options: object) -> Partition:
    images = [f"drive/@{row}@ü.jpg" for row in range(len(street.utm))]
    defaults = {
        "utm": street.utm,
        "config": BlockClusteringConfig(),
        "images": images,
        "images_root": "/pictures",
        "headings_deg": street.headings_deg,
        "zone": UtmZone(10, True),
    }
    return write_partition(directory, groups, **(defaults | options))  # type: ignore[arg-type]


def test_what_is_written_is_what_was_made(tmp_path: Path, street: City, groups: list[Group]) -> None:
    write(tmp_path / "a.partition", street, groups)
    opened = Partition.open(tmp_path / "a.partition")
    assert (opened.kind, opened.method, opened.groups) == ("panoramas", "blocks", 5)
    assert opened.config == BlockClusteringConfig()
    assert opened.zone == UtmZone(10, True)
    assert opened.images_root == Path("/pictures")
    assert opened.locations == len(street.utm)
    assert opened.class_count == sum(len(group.classes) for group in groups)
    kept = np.unique(np.concatenate([rows for group in groups for rows in group.classes]))
    assert opened.image_count == len(kept)

    records = opened.table.to_pylist()
    assert len(records) == 2 * sum(group.images for group in groups)
    keys = [(record["group"], record["class"], record["angle"], record["row"]) for record in records]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    for record in records:
        group = groups[record["group"]]
        assert record["row"] in group.classes[record["class"]]
        focal = group.lateral if record["angle"] == 0 else group.frontal
        assert (record["focal_easting"], record["focal_northing"]) == tuple(focal[record["class"]])
        assert (record["easting"], record["northing"]) == tuple(street.utm[record["row"]])
        assert record["heading_deg"] == street.headings_deg[record["row"]]
        assert record["image"] == f"drive/@{record['row']}@ü.jpg"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, street: City, groups: list[Group]) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, street, groups)
    for file in ("partition.yaml", "classes.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_nothing_in_a_partition_is_a_pickle(tmp_path: Path, street: City, groups: list[Group]) -> None:
    write(tmp_path / "a", street, groups)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["classes.parquet", "partition.yaml"]
    # Loads with nothing but plain values.
    assert yaml.safe_load((tmp_path / "a" / "partition.yaml").read_text())["config"]["block_width"] == 10.0


def test_images_may_lie_relative_to_the_partition(tmp_path: Path, street: City, groups: list[Group]) -> None:
    assert write(tmp_path / "a", street, groups, images_root="../pictures").images_root == tmp_path / "a/../pictures"


def test_positions_alone_make_a_partition(tmp_path: Path, street: City, groups: list[Group]) -> None:
    opened = write(tmp_path / "a", street, groups, images=None, images_root=None, headings_deg=None, zone=None)
    assert opened.images_root is None
    assert opened.zone is None
    assert set(opened.table["image"].to_pylist()) == {""}
    assert np.isnan(opened.table["heading_deg"].to_numpy()).all()


def test_pictures_have_one_view_each(tmp_path: Path, street: City, groups: list[Group]) -> None:
    with pytest.raises(UsageError, match="split them by heading"):
        write(tmp_path / "a", street, groups, kind="pictures")
    split = split_by_heading(groups, street.utm, street.headings_deg, min_images=5)
    opened = write(tmp_path / "a", street, split, kind="pictures")
    assert opened.table.num_rows == sum(group.images for group in split)
    assert set(opened.table["angle"].to_pylist()) == {90}


def test_a_grid_makes_a_partition_too(tmp_path: Path, street: City) -> None:
    config = GridConfig(cell_size=20.0, groups=2)
    opened = write(tmp_path / "a", street, grid_partition(street.utm, config), config=config)
    assert (opened.method, opened.groups, opened.config) == ("grid", 4, config)


def test_the_digest_of_the_input_tells_inputs_apart(tmp_path: Path, street: City, groups: list[Group]) -> None:
    moved, turned, unknown = street.utm.copy(), street.headings_deg.copy(), np.full(len(street.utm), np.nan)
    moved[0, 0] += 0.01
    turned[0] += 1
    changes = {
        "none": {},
        "moved": {"utm": moved},
        "renamed": {"images": [f"{row}.jpg" for row in range(len(street.utm))]},
        "turned": {"headings_deg": turned},
        "unknown": {"headings_deg": unknown},
        "elsewhere": {"zone": UtmZone(11, True)},
        "anywhere": {"zone": None},
    }
    digests = {
        name: write(tmp_path / name, street, groups, **options).description["input_sha256"]
        for name, options in changes.items()
    }
    assert len(set(digests.values())) == len(changes)
    # Not to say headings is to say that all are unknown, and a NaN is a NaN whichever way its bits lie.
    for name, unsaid in (("unsaid", None), ("negative", -unknown)):
        again = write(tmp_path / name, street, groups, headings_deg=unsaid)
        assert again.description["input_sha256"] == digests["unknown"]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.sets(st.integers(0, 199), min_size=1, max_size=30), max_size=4), min_size=1, max_size=4))
def test_statistics_of_a_partition_are_those_of_its_groups(tmp_path_factory, drawn: list[list[set[int]]]) -> None:
    utm = CORNER + np.random.default_rng(0).uniform(0, 100, (200, 2))
    made = [
        Group(
            classes=[np.array(sorted(rows)) for rows in classes],
            peaks=np.zeros((len(classes), 2)),
            lateral=np.zeros((len(classes), 2)),
            frontal=np.ones((len(classes), 2)),
        )
        for classes in drawn
    ]
    folder = tmp_path_factory.mktemp("partition")
    opened = write_partition(folder / "a", made, utm=utm, config=BlockClusteringConfig())
    classes = list(itertools.chain.from_iterable(drawn))
    expected = statistics_of_groups(made, 200)
    found = statistics_of_partition(opened)
    assert found["classes"] == expected["classes"] == len(classes)
    assert found["memberships"] == expected["memberships"] == sum(map(len, classes))
    assert found["images"] == expected["images"] == len(set().union(*classes))
    assert found["histogram"] == expected["histogram"]
    assert sum(found["histogram"].values()) == found["classes"]


# --- damage ---


def test_no_partition_and_no_directory(tmp_path: Path) -> None:
    with pytest.raises(PartitionError, match="no such partition") as error:
        Partition.open(tmp_path / "nowhere")
    assert error.value.exit_status == 2
    with pytest.raises(PartitionError, match="is not a partition") as error:
        Partition.open(tmp_path)
    assert error.value.exit_status == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "other"])
def test_damaged_classes_do_not_open(tmp_path: Path, street: City, groups: list[Group], damage: str) -> None:
    write(tmp_path / "a", street, groups)
    path = tmp_path / "a" / "classes.parquet"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-10])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    else:
        pa_parquet.write_table(pa.table({"image": ["a"]}), path)
        described = yaml.safe_load((tmp_path / "a" / "partition.yaml").read_text())
        described["classes_sha256"] = partition_module.file_digest(path)
        (tmp_path / "a" / "partition.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(PartitionError) as caught:
        Partition.open(tmp_path / "a")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("kind", "films"),
        ("method", "magic"),
        ("groups", "five"),
        ("utm_zone", "99X"),
        ("config", {"block_width": -1}),
        ("config", {"unknown": 1}),
        ("classes_sha256", None),
    ],
)
def test_a_description_that_is_none_does_not_open(
    tmp_path: Path, street: City, groups: list[Group], key: str, value: object
) -> None:
    write(tmp_path / "a", street, groups)
    path = tmp_path / "a" / "partition.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: value}))
    with pytest.raises(PartitionError) as caught:
        Partition.open(tmp_path / "a")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1, 2", b"- 1\n- 2\n"])
def test_a_file_that_is_no_description_does_not_open(
    tmp_path: Path, street: City, groups: list[Group], content: bytes
) -> None:
    write(tmp_path / "a", street, groups)
    (tmp_path / "a" / "partition.yaml").write_bytes(content)
    with pytest.raises(PartitionError):
        Partition.open(tmp_path / "a")


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_partition(
    tmp_path: Path, street: City, groups: list[Group], failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", street, groups)
    before = (tmp_path / "a" / "classes.parquet").read_bytes()

    def fail(path: Path) -> str:
        raise failure

    monkeypatch.setattr(partition_module, "file_digest", fail)
    with pytest.raises(DsformerError if isinstance(failure, OSError) else KeyboardInterrupt):
        write(tmp_path / "a", street, groups[:1], overwrite=True)
    monkeypatch.undo()
    assert (tmp_path / "a" / "classes.parquet").read_bytes() == before
    assert Partition.open(tmp_path / "a").groups == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_is_no_partition_is_not_overwritten(tmp_path: Path, street: City, groups: list[Group]) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="exists"):
        write(tmp_path / "a", street, groups)
    with pytest.raises(UsageError, match="not a partition"):
        write(tmp_path / "a", street, groups, overwrite=True)


def test_as_many_images_and_headings_as_locations(tmp_path: Path, street: City, groups: list[Group]) -> None:
    with pytest.raises(UsageError, match="1 images for"):
        write(tmp_path / "a", street, groups, images=["a.jpg"])
    with pytest.raises(UsageError, match="2 headings for"):
        write(tmp_path / "a", street, groups, headings_deg=[0.0, 1.0])
