from itertools import islice
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset

from dsformer_core.training.data import ClassPictures, Draw, open_training_data
from dsformer_core.training.loading import endless_batches
from dsformer_core.training.rand_augmented import RandAugmented
from dsformer_core.training.recipe import load_recipe

SIDE = 64


class OnePicture(Dataset[tuple[Tensor, int]]):
    """The same smooth picture for every draw."""

    def __init__(self) -> None:
        coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(3))
        smooth = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bilinear") * 255
        self.picture = smooth[0].round().to(torch.uint8)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        return self.picture, draw.class_index


def test_operations_differ_per_draw_and_are_one_after_another() -> None:
    """The more of them, the less is left of the picture."""
    whole = OnePicture()
    results = [[RandAugmented(whole, count)[Draw(5, 7 * seed)] for seed in range(40)] for count in (1, 3)]
    for result in results:
        assert {class_index for _, class_index in result} == {5}
        assert {(picture.shape, picture.dtype) for picture, _ in result} == {((3, 48, 64), torch.uint8)}
        assert len({int(picture.sum()) for picture, _ in result}) > 10
    once, thrice = (
        sum(float((picture.float() - whole.picture.float()).abs().mean()) for picture, _ in result)
        for result in results
    )
    assert 0 < once < thrice


def test_the_draw_alone_decides() -> None:
    augmented, draw = RandAugmented(OnePicture(), 3), Draw(0, (1 << 61) + 12)
    torch.manual_seed(1)
    first, _ = augmented[draw]
    following = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), following), "random numbers of others stay"
    torch.manual_seed(2)
    assert torch.equal(augmented[draw][0], first)


@pytest.mark.parametrize("pictures_per_place", [0, 2])
def test_batches_do_not_depend_on_who_loads_them(recipe_file: Path, places: Path, pictures_per_place: int) -> None:
    view = open_training_data(places, size=(SIDE, SIDE)).groups[0][0]

    def batches(view: ClassPictures, *overrides: str) -> list[Tensor]:
        keys = f"data.pictures_per_place={pictures_per_place}", "augmentation.rand_augment=2"
        recipe, fabric = load_recipe(recipe_file, [*keys, *overrides]), Fabric(accelerator="cpu", devices=1)
        endless = endless_batches(view, recipe, fabric, epoch=0, group=0, view=0, first=0)
        taken = [pictures for pictures, _ in islice(endless, 2)]
        endless.close()
        return taken

    here, elsewhere = batches(view), batches(view, "data.workers=1")
    plain = batches(view, "augmentation.rand_augment=0")
    assert all(map(torch.equal, here, elsewhere))
    assert not any(map(torch.equal, here, plain))
    overfit = batches(view, "schedule.overfit=4")
    assert all(torch.equal(pictures, plain[0]) for pictures in overfit), "overfitting leaves pictures as they are"
