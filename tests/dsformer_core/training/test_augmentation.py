import pytest
import torch
from torch import Tensor

from dsformer_core.models import Preprocessing
from dsformer_core.training.augmentation import Augmentation, Normalisation
from dsformer_core.training.recipe import AugmentationRecipe

PREPROCESSING = Preprocessing(size=(48, 64), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
NOTHING = AugmentationRecipe(
    brightness=0, contrast=0, saturation=0, hue=0, crop_scale=(1.0, 1.0), crop_ratio=(4 / 3, 4 / 3)
)
CHANGES = [name.removesuffix("_probability") for name in AugmentationRecipe.model_fields if "_probability" in name]


@pytest.fixture
def pictures() -> Tensor:
    """Four times the same picture, smooth, of the network's size."""
    torch.manual_seed(3)
    coarse = torch.rand(1, 3, 6, 8)
    smooth = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bilinear") * 255
    return smooth.round().to(torch.uint8).repeat(4, 1, 1, 1)


def augmented(pictures: Tensor, recipe: AugmentationRecipe, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return Augmentation(recipe, PREPROCESSING)(pictures)


def only(change: str) -> AugmentationRecipe:
    """That change in every picture; blur stronger than by default, or few pixels would show nothing of it."""
    return NOTHING.model_copy(update={f"{change}_probability": 1.0, "blur_sigma": (0.02, 0.1)})


def test_without_any_change_pictures_are_only_normalised(pictures: Tensor) -> None:
    assert torch.allclose(augmented(pictures, NOTHING), Normalisation(PREPROCESSING)(pictures), atol=1e-5)


def test_normalisation_is_that_of_the_network(pictures: Tensor) -> None:
    preprocessing = Preprocessing(size=(48, 64))
    expected = (pictures.double() / 255 - torch.tensor(preprocessing.mean).view(3, 1, 1)) / torch.tensor(
        preprocessing.std
    ).view(3, 1, 1)
    assert torch.allclose(Normalisation(preprocessing)(pictures).double(), expected, atol=1e-6)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_does_something_and_leaves_finite_pictures_of_the_same_size(pictures: Tensor, change: str) -> None:
    result = augmented(pictures, only(change))
    assert result.shape == pictures.shape and result.dtype == torch.float32
    assert torch.isfinite(result).all() and result.min() >= -1e-5 and result.max() <= 1 + 1e-5
    assert (result - pictures / 255).abs().mean() > 1e-3


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "grey"])
def test_every_picture_is_changed_in_its_own_way(pictures: Tensor, change: str) -> None:
    result = augmented(pictures, only(change))
    assert not torch.allclose(result[0], result[1], atol=1e-3)


def test_the_paper_s_augmentation_differs_per_picture_and_repeats_with_the_seed(pictures: Tensor) -> None:
    result = augmented(pictures, AugmentationRecipe(), seed=5)
    assert not torch.allclose(result[0], result[1], atol=1e-2)
    assert torch.equal(result, augmented(pictures, AugmentationRecipe(), seed=5))
    assert not torch.equal(result, augmented(pictures, AugmentationRecipe(), seed=6))


def test_the_whole_picture_is_kept_whatever_its_proportions(pictures: Tensor) -> None:
    square = NOTHING.model_copy(update={"crop_ratio": (1.0, 1.0)})
    assert torch.allclose(augmented(pictures, square), Normalisation(PREPROCESSING)(pictures), atol=1e-5)


def test_darkness_is_dark(pictures: Tensor) -> None:
    assert augmented(pictures, only("darkness")).mean() < 0.7 * (pictures / 255).mean()


def test_a_probability_of_a_half_changes_about_half_of_the_pictures(pictures: Tensor) -> None:
    recipe = NOTHING.model_copy(update={"grey_probability": 0.5})
    grey = sum(
        int((picture[0] - picture[1]).abs().max() < 1e-6) for picture in augmented(pictures.repeat(25, 1, 1, 1), recipe)
    )
    assert 30 < grey < 70


def test_skies_turn_dark_and_the_rest_stays() -> None:
    street = torch.full((1, 3, 48, 64), 60, dtype=torch.uint8)
    street[:, :, :16] = 240
    result = augmented(street, only("solarise"))
    assert result[:, :, :15].max() < 0.1
    assert torch.allclose(result[:, :, 17:], torch.tensor(60 / 255), atol=1e-4)


def test_lamps_only_add_light_and_most_of_it_nearby() -> None:
    street = torch.full((4, 3, 48, 64), 30, dtype=torch.uint8)
    added = augmented(street, only("lamps")) - 30 / 255
    assert added.min() >= -1e-6
    assert (added.amax(dim=(1, 2, 3)) > 0.3).all()
    assert (added[:, 0].flatten(1).median(dim=1).values < 0.3).all()
