"""What a network gets of a picture, whatever size that was decoded at, and on whichever device."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsformer_core.extractor import Extractor
from dsformer_core.models import create_model, default_weights, preprocessing_of
from dsformer_core.models.registry import Preprocessing
from dsformer_core.network_input import NetworkInput
from dsformer_core.pictures import read_picture

CPU = torch.device("cpu")


def network_input(side: int) -> NetworkInput:
    return NetworkInput(Preprocessing(size=(side, side)), CPU)


@pytest.mark.parametrize(
    ("width", "height", "side", "decoded"),
    [
        (1280, 720, 224, (1280, 720)),  # halved, 1.6 times the network's size
        (1920, 1080, 224, (960, 540)),  # 2.4 times
        (1080, 1920, 224, (540, 960)),
        (1920, 1080, 226, (1920, 1080)),
        (3840, 2160, 322, (1920, 1080)),
        (4000, 3000, 224, (1000, 750)),
    ],
)
def test_pictures_are_decoded_as_large_as_the_network_needs_them(
    tmp_path: Path, width: int, height: int, side: int, decoded: tuple[int, int]
) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "a.jpg")
    picture = read_picture(tmp_path / "a.jpg", at_least=network_input(side).decode_size)
    assert picture.shape == (*decoded[::-1], 3)


@pytest.mark.parametrize("scale", [2, 4])
def test_of_photographs_decoded_smaller_it_gets_the_same_within_the_tolerance(shared: Path, scale: int) -> None:
    """What `REDUCED_AT_LEAST` promises: 0.45 grey levels on average."""
    prepare = network_input(int(768 / scale / 2.4))
    for path in sorted((shared / "data" / "lund").iterdir())[::2]:
        whole, reduced = read_picture(path), read_picture(path, at_least=prepare.decode_size)
        assert reduced.shape[0] == whole.shape[0] // scale
        difference = np.abs(prepare.resized(whole, "").astype(float) - prepare.resized(reduced, ""))
        assert difference.mean() <= 0.45 and np.quantile(difference, 0.999) <= 4, path


def test_so_they_have_the_same_descriptors(shared: Path) -> None:
    weights = default_weights("dsformer_tiny")
    network = create_model("dsformer_tiny", weights)
    network.preprocessing = replace(network.preprocessing, size=(160, 160))
    extractor = Extractor.of_model(network, "dsformer_tiny", device="cpu")
    paths = sorted((shared / "data" / "lund").iterdir())[::4]
    assert extractor.loader(paths[0])().shape == (384, 512, 3)
    whole = extractor.extract([read_picture(path) for path in paths])
    reduced = extractor.extract([extractor.loader(path)() for path in paths])
    assert np.sum(whole * reduced, axis=1).min() >= 0.999


def test_a_picture_of_its_size_stays_as_it_is() -> None:
    """Whoever needs what the network gets may hand that on in the picture's place."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    prepare = network_input(224)
    resized = prepare.resized(noise, "noise")
    assert resized.shape == (224, 224, 3) and resized.flags.c_contiguous
    np.testing.assert_array_equal(prepare.resized(resized, "noise"), resized)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3)), "the fifth is float64 of shape"),
        (np.zeros((4, 4), np.uint8), "HxWx3 uint8 RGB"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ("a.jpg", "the fifth is str"),
    ],
)
def test_what_is_no_picture_is_named(image: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        network_input(8).resized(image, "the fifth")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))],
)
def test_a_batch_is_normalised(device: str) -> None:
    """Several in a row: on a GPU they share memory that is still being read."""
    preprocessing = replace(preprocessing_of("dsformer_tiny"), size=(32, 48))
    prepare = NetworkInput(preprocessing, torch.device(device))
    random = np.random.default_rng(0)
    given = [list(random.integers(0, 256, (3, 32, 48, 3), np.uint8)) for _ in range(8)]
    for pictures, batch in zip(given, [prepare.batch(some) for some in given], strict=True):
        expected = (np.stack(pictures) / 255 - preprocessing.mean) / preprocessing.std
        assert batch.dtype == torch.float32 and batch.device.type == device and batch.shape == (3, 3, 32, 48)
        np.testing.assert_allclose(batch.cpu().permute(0, 2, 3, 1), expected, atol=2e-6)
