"""A drive, and the map that an ordinary build makes of it."""

from pathlib import Path

import pytest

from dsformer_core.extractor import Extractor
from dsformer_core.place_map import build_place_map
from dsformer_core.place_map.building import shards as shards_module
from dsformer_core.sources import open_source
from tests.synthetic import write_pictures

COUNT = 60
MODEL = "dsformer_tiny"
MOMENT = "1750000000"


@pytest.fixture(autouse=True)
def small_shards_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "SMALLEST_SHARD", 8)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", MOMENT)


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pictures(tmp_path_factory.mktemp("workers") / "drive", COUNT)
    (folder / "017.jpg").write_bytes((folder / "017.jpg").read_bytes()[:900])
    return folder


@pytest.fixture(scope="session")
def ordinary(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an ordinary build makes, without workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "SMALLEST_SHARD", 8)
        patch.setenv("SOURCE_DATE_EPOCH", MOMENT)
        output = tmp_path_factory.mktemp("ordinary") / "town.map"
        build_place_map(open_source(drive), Extractor(MODEL, device="cpu", threads=1), output)
    return content(output)


def content(place_map: Path) -> dict[str, bytes]:
    """Every byte of a map."""
    return {
        path.relative_to(place_map).as_posix(): path.read_bytes()
        for path in sorted(place_map.rglob("*"))
        if path.is_file()
    }
