"""That both branches learn: a few iterations in the town of the sample map are worth something at night and in rain."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.extractor import Described, Extractor
from dsformer_core.models import DescriptorModel
from dsformer_core.pictures import Picture, read_picture
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.codes import nearest_codes
from dsformer_core.sample_world import Camera, make_town, parse_condition, render
from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.start import start
from dsformer_core.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[3]
RIGHT_M, WRONG_M = 25.0, 50.0
PICTURES_PER_PLACE = 4
SHORT = (
    "data.partition=null", "data.workers=0", "data.train_size=[112, 112]", "optimizer.warmup_iterations=2",
    "schedule.epochs=1", "schedule.batch_size=48",
)  # fmt: skip


@dataclass(frozen=True)
class SampleTown:
    """The sample map's own pictures, which are all by day, and later ones by night and bad weather.

    Attributes:
        references: pictures, 4 m apart.
        queries: pictures on another line along the road.
        metres: (queries, references) between where they were taken.
        places: GSV-Cities' layout of the references, 12 places of 16 m.
    """

    references: list[Picture]
    queries: list[Picture]
    metres: np.ndarray
    places: Path

    def described(self, model: DescriptorModel) -> tuple[Described, Described]:
        extractor = Extractor.of_model(model, "in training")
        return extractor.describe(self.queries), extractor.describe(self.references)

    def recall(self, first: np.ndarray) -> float:
        """Share of the queries whose first match, (Q, 1) rows, is right."""
        return float((np.take_along_axis(self.metres, first, axis=1) <= RIGHT_M).mean())


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> SampleTown:
    sample = PlaceMap.open(ROOT / "maps/sample")
    folder = tmp_path_factory.mktemp("gsv")
    (folder / "Images/Town").mkdir(parents=True)
    (folder / "Dataframes").mkdir()
    lines = ["place_id,year,month,northdeg,city_id,lat,lon,panoid"]
    references = []
    for row in range(sample.count):
        picture = sample.thumbnail_path(row)
        assert picture is not None
        references.append(read_picture(picture))
        place, number = divmod(row, PICTURES_PER_PLACE + 1)
        if number < PICTURES_PER_PLACE:  # one is left out, so that places end where the next does not yet begin
            lines.append(f"{place},2025,6,30,Town,50.03,13.77,pano{row}")
            shutil.copy(picture, folder / f"Images/Town/Town_{place:07d}_2025_06_030_50.03_13.77_pano{row}.JPG")
    (folder / "Dataframes/Town.csv").write_text("\n".join(lines) + "\n")

    world, queries, positions = make_town(3), [], []
    for seed, condition in enumerate(("night", "rain", "dusk", "winter"), start=1):
        for pose in world.drive(seed=seed, spacing=27.0, count=8, start=2.0, lateral_offset=0.8):
            queries.append(render(world, pose, parse_condition(condition), Camera(160, 120), seed))
            positions.append(pose.utm)
    metres = np.linalg.norm(np.array(positions)[:, None] - sample.utm, axis=-1)
    return SampleTown(references, queries, metres, folder)


Learn = Callable[..., Trainer]


@pytest.fixture
def begin(town: SampleTown) -> Learn:
    def make(recipe: str, *overrides: str) -> Trainer:
        loaded = load_recipe(ROOT / f"training/recipes/{recipe}.yaml", [*SHORT, *overrides])
        return start(loaded, town.places, None, device="cpu")

    return make


def test_codes_come_within_five_points_of_the_floats_they_stand_beside(begin: Learn, town: SampleTown) -> None:
    """The recipe of the hash branch, for 27 faster iterations instead of a hundred."""
    trainer = begin("hash_dsformer_tiny", "schedule.iterations_per_epoch=27", "optimizer.learning_rate=1e-3")

    def recalls() -> tuple[float, float]:
        queries, references = town.described(trainer.model)
        assert queries.codes is not None and references.codes is not None
        _, by_codes = nearest_codes(queries.codes, references.codes, 1)
        exact = (queries.descriptors @ references.descriptors.T).argmax(axis=1)
        return town.recall(exact[:, None]), town.recall(by_codes)

    floats_before, codes_before = recalls()
    trainer.fit()
    floats, codes = recalls()
    assert floats == floats_before, "they stay as they are"
    assert codes >= floats - 0.05 and codes > codes_before, (codes_before, codes, floats)


def test_floats_learn_by_pairs_from_imagenet(begin: Learn, town: SampleTown) -> None:
    """Right places move away from wrong ones, in standard deviations of the similarities of wrong ones."""
    trainer = begin(
        "dsformer_tiny", "model.whitening_pictures=0", "loss=null", "loss.kind=multi_similarity",
        f"data.pictures_per_place={PICTURES_PER_PLACE}", "schedule.iterations_per_epoch=8", "model.freeze=[features]",
    )  # fmt: skip

    def margin() -> float:
        queries, references = town.described(trainer.model)
        similarities = queries.descriptors @ references.descriptors.T
        wrong = np.ma.array(similarities, mask=town.metres < WRONG_M)
        right = np.where(town.metres <= RIGHT_M, similarities, -1).max(axis=1)
        return float(((right - wrong.max(axis=1)) / wrong.std()).mean())

    before = margin()
    trainer.fit()
    assert margin() > before
