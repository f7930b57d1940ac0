"""That both branches learn: a few iterations on the sample map's pictures are worth something in another town."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.described import Described
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel
from dsformer_core.place_map import PlaceMap
from dsformer_core.place_map.indexes.codes import nearest_codes
from dsformer_core.training.recipe import load_recipe
from dsformer_core.training.start import start
from dsformer_core.training.trainer import Trainer
from tests.unseen_town import LATER, RIGHT_M, WRONG_M, Drive

ROOT = Path(__file__).resolve().parents[3]
PICTURES_PER_PLACE = 4
SHORT = (
    "data.partition=null", "data.workers=0", "data.train_size=[112, 112]", "optimizer.warmup_iterations=2",
    "schedule.epochs=1", "schedule.batch_size=48",
)  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample map's pictures, all by day, in GSV-Cities' layout: 12 places of 16 m."""
    sample = PlaceMap.open(ROOT / "maps/sample")
    folder = tmp_path_factory.mktemp("gsv")
    (folder / "Images/Town").mkdir(parents=True)
    (folder / "Dataframes").mkdir()
    lines = ["place_id,year,month,northdeg,city_id,lat,lon,panoid"]
    for row in range(sample.count):
        place, number = divmod(row, PICTURES_PER_PLACE + 1)
        if number < PICTURES_PER_PLACE:  # one is left out, so that places end where the next does not yet begin
            picture = sample.thumbnail_path(row)
            assert picture is not None
            lines.append(f"{place},2025,6,30,Town,50.03,13.77,pano{row}")
            shutil.copy(picture, folder / f"Images/Town/Town_{place:07d}_2025_06_030_50.03_13.77_pano{row}.JPG")
    (folder / "Dataframes/Town.csv").write_text("\n".join(lines) + "\n")
    return folder


Begin = Callable[..., Trainer]


@pytest.fixture
def begin(places: Path) -> Begin:
    def make(recipe: str, *overrides: str) -> Trainer:
        loaded = load_recipe(ROOT / f"training/recipes/{recipe}.yaml", [*SHORT, *overrides])
        return start(loaded, places, None, device="cpu")

    return make


def float_similarities(queries: Described, references: Described) -> np.ndarray:
    """(Q, N) cosines."""
    return queries.descriptors @ references.descriptors.T


def equal_bits(queries: Described, references: Described) -> np.ndarray:
    """(Q, N) how many of 512."""
    assert queries.codes is not None and references.codes is not None
    return 512 - np.unpackbits(queries.codes[:, None] ^ references.codes, axis=2).sum(axis=2, dtype=np.int64)


class Unseen:
    """The unseen town, asked by 80 pictures under eight conditions for 40 by day."""

    def __init__(self, drives: dict[str, Drive]) -> None:
        self.references = drives["daylight"].pictures
        self.queries = [picture for condition in LATER for picture in drives[condition].pictures]
        utm = np.concatenate([drives[condition].utm for condition in LATER])
        self.metres = np.linalg.norm(utm[:, None] - drives["daylight"].utm, axis=-1)

    def described(self, model: DescriptorModel) -> tuple[Described, Described]:
        extractor = Extractor.of_model(model, "in training")
        return extractor.describe(self.queries), extractor.describe(self.references)

    def recall(self, first: np.ndarray) -> float:
        """Share of the queries whose first match, (Q, 1) rows, is right."""
        return float((np.take_along_axis(self.metres, first, axis=1) <= RIGHT_M).mean())

    def float_recall(self, queries: Described, references: Described) -> float:
        return self.recall(float_similarities(queries, references).argmax(axis=1)[:, None])

    def binary_recall(self, queries: Described, references: Described) -> float:
        assert queries.codes is not None and references.codes is not None
        return self.recall(nearest_codes(queries.codes, references.codes, 1)[1])

    def margin(self, similarities: np.ndarray) -> float:
        """By how much right places are more similar than wrong ones, in standard deviations of those."""
        wrong = np.ma.array(similarities, mask=self.metres < WRONG_M)
        right = np.where(self.metres <= RIGHT_M, similarities, -1).max(axis=1)
        return float(((right - wrong.max(axis=1)) / wrong.std()).mean())


@pytest.fixture(scope="module")
def unseen(unseen_town: dict[str, Drive]) -> Unseen:
    return Unseen(unseen_town)


@pytest.mark.parametrize("seed", [0, 1])
def test_codes_come_within_five_points_of_the_floats_they_stand_beside(begin: Begin, unseen: Unseen, seed: int) -> None:
    trainer = begin("hash_dsformer_tiny", "schedule.iterations_per_epoch=8", f"schedule.seed={seed}")
    some = unseen.queries[::20]
    before = Extractor.of_model(trainer.model, "in training").describe(some)
    trainer.fit()
    after = Extractor.of_model(trainer.model, "in training").describe(some)
    assert np.array_equal(after.descriptors, before.descriptors), "floats stay as they are"
    assert not np.array_equal(after.codes, before.codes)
    found = unseen.described(trainer.model)
    codes, floats = unseen.binary_recall(*found), unseen.float_recall(*found)
    assert codes >= floats - 0.05, (codes, floats)


def test_codes_learn_from_a_random_start(begin: Begin, unseen: Unseen) -> None:
    trainer = begin("hash_dsformer_tiny", "schedule.iterations_per_epoch=8", "optimizer.learning_rate=1e-3")
    branch = trainer.model.hash_branch
    assert branch is not None
    branch.fc.reset_parameters()

    def margin() -> float:
        queries, references = unseen.described(trainer.model)
        return unseen.margin(equal_bits(queries, references))

    before = margin()
    trainer.fit()
    assert margin() > before


def test_floats_learn_by_pairs_from_imagenet(begin: Begin, unseen: Unseen) -> None:
    trainer = begin(
        "dsformer_tiny", "model.whitening_pictures=0", "loss=null", "loss.kind=multi_similarity",
        f"data.pictures_per_place={PICTURES_PER_PLACE}", "schedule.iterations_per_epoch=8", "model.freeze=[features]",
    )  # fmt: skip
    before = unseen.described(trainer.model)
    trainer.fit()
    after = unseen.described(trainer.model)
    assert unseen.margin(float_similarities(*after)) > unseen.margin(float_similarities(*before))
    assert unseen.float_recall(*after) >= unseen.float_recall(*before)
