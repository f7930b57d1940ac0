"""Augmentation on the device where the network is: every picture is changed with random numbers of its own.

RandAugment comes before it, where pictures are loaded: see `dsformer_core.training.rand_augmented`.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dsformer_core.models import DescriptorModel, Preprocessing
from dsformer_core.training.recipe import AugmentationRecipe, Recipe

Change = Callable[[Tensor], Tensor]


class Augmentation:
    """(B, 3, H, W) uint8 pictures -> (B, 3, H, W) normalised float, each changed as the recipe says.

    All random numbers come from torch's global generators, so a seed set before a call decides all that happens in it.

    Args:
        recipe: what may happen, how strongly and how often.
        preprocessing: size and normalisation of the network.
    """

    def __init__(self, recipe: AugmentationRecipe, preprocessing: Preprocessing) -> None:
        self.recipe = recipe
        self.normalise = Normalisation(preprocessing)
        height, _ = preprocessing.size
        # Geometry first: what it leaves black then gets the light and the noise of the rest.
        self.changes: list[Change] = [
            sometimes(recipe.perspective_probability, v2.RandomPerspective(recipe.perspective, p=1.0)),
            sometimes(
                recipe.rotation_probability,
                v2.RandomRotation(recipe.rotation_deg, interpolation=v2.InterpolationMode.BILINEAR),
            ),
            *(
                [v2.RandomResizedCrop(preprocessing.size, recipe.crop_scale, recipe.crop_ratio, antialias=True)]
                if recipe.crop_scale != (1, 1)
                else []
            ),
            v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue),
            sometimes(recipe.grey_probability, v2.Grayscale(num_output_channels=3)),
            sometimes(recipe.gamma_probability, self._tone_curve),
            sometimes(recipe.solarise_probability, self._solarise),
            sometimes(recipe.darkness_probability, self._darken),
            sometimes(recipe.lamps_probability, self._light_lamps),
            sometimes(recipe.blur_probability, lambda picture: self._blur(picture, height)),
            sometimes(recipe.noise_probability, self._add_noise),
            v2.RandomErasing(recipe.erase_probability, scale=recipe.erase_scale),
        ]

    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, 3, H, W) float32."""
        changed = []
        for picture in pictures:
            picture = picture.float() / 255
            for change in self.changes:
                picture = change(picture)
            changed.append(picture)
        return self.normalise(torch.stack(changed) * 255)

    def _tone_curve(self, picture: Tensor) -> Tensor:
        low, high = torch.tensor(self.recipe.gamma).log().tolist()
        return picture.clamp(0, 1) ** float(torch.tensor(uniform(low, high)).exp())

    def _darken(self, picture: Tensor) -> Tensor:
        """Towards night: shadows sink into black before lamps do, all is darker, and white is no longer white."""
        gains = torch.empty(3, 1, 1).uniform_(1 - self.recipe.darkness_cast, 1 + self.recipe.darkness_cast)
        gains = gains.to(picture.device) * uniform(*self.recipe.darkness_gain)
        return (gains * picture.clamp(0, 1) ** uniform(*self.recipe.darkness_gamma)).clamp(0, 1)

    def _solarise(self, picture: Tensor) -> Tensor:
        return F.solarize(picture.clamp(0, 1), uniform(*self.recipe.solarise_threshold))

    def _light_lamps(self, picture: Tensor) -> Tensor:
        """Light that falls off as a bell curve about a lamp in the upper part of the picture, and the lamp itself."""
        height, width = picture.shape[-2:]
        down = torch.linspace(0, 1, height, device=picture.device)[:, None]
        right = torch.linspace(0, 1, width, device=picture.device)[None, :]
        light = torch.zeros(height, width, device=picture.device)
        for _ in range(int(torch.randint(1, 5, ()))):
            distance = (down - uniform(0, 0.7)) ** 2 + (right - uniform(0, 1)) ** 2
            pool = torch.exp(-distance / (2 * uniform(0.05, 0.3) ** 2))
            light += uniform(*self.recipe.lamps_gain) * pool + 10 * torch.exp(-distance / (2 * 0.01**2))
        colour = torch.tensor([1.0, uniform(0.7, 1.0), uniform(0.4, 1.0)], device=picture.device)[:, None, None]
        # A little of the light is seen even where the picture is black: the air, and the lamp.
        return (picture * (1 + light * colour) + 0.04 * light * colour).clamp(0, 1)

    def _blur(self, picture: Tensor, height: int) -> Tensor:
        sigma = uniform(*self.recipe.blur_sigma) * height
        return F.gaussian_blur(picture, kernel_size=2 * round(2 * sigma) + 1, sigma=max(sigma, 1e-3))

    def _add_noise(self, picture: Tensor) -> Tensor:
        noise = torch.randn_like(picture) * uniform(*self.recipe.noise_sigma)
        return (picture + noise).clamp(0, 1)


def of_training(recipe: Recipe, model: DescriptorModel) -> Preprocessing:
    """What pictures go through in training: as for the model, but at a size of their own where the recipe has one."""
    return replace(model.preprocessing, size=recipe.data.train_size or model.preprocessing.size)


class Normalisation:
    """(B, 3, H, W) pictures with values of 0 to 255 -> what the network wants to see."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.mean = torch.tensor(preprocessing.mean).view(3, 1, 1) * 255
        self.std = torch.tensor(preprocessing.std).view(3, 1, 1) * 255

    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 or float -> (B, 3, H, W) float32."""
        return (pictures.float() - self.mean.to(pictures.device)) / self.std.to(pictures.device)


def sometimes(probability: float, change: Change) -> Change:
    """A change that happens with a probability only; with 0 not even a random number is drawn."""
    return lambda picture: change(picture) if probability and uniform(0, 1) < probability else picture


def uniform(low: float, high: float) -> float:
    """A random number between two others."""
    return float(torch.empty(()).uniform_(low, high))
