"""What a network gets of a picture, whatever size that was decoded at, and on whichever device."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsformer_core import network_input as network_input_module
from dsformer_core.extractor import Extractor
from dsformer_core.models import create_model, default_weights, preprocessing_of
from dsformer_core.models.registry import Preprocessing
from dsformer_core.network_input import LARGEST_REDUCTION, NetworkInput, decode_size, resize_on_device
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
    picture = read_picture(tmp_path / "a.jpg", at_least=decode_size(Preprocessing(size=(side, side))))
    assert picture.shape == (*decoded[::-1], 3)


@pytest.mark.parametrize("scale", [2, 4])
def test_of_photographs_decoded_smaller_it_gets_the_same_within_the_tolerance(shared: Path, scale: int) -> None:
    """What `REDUCED_AT_LEAST` promises: 0.45 grey levels on average."""
    side = int(768 / scale / 2.4)
    prepare, at_least = network_input(side), decode_size(Preprocessing(size=(side, side)))
    for path in sorted((shared / "data" / "lund").iterdir())[::2]:
        whole, reduced = read_picture(path), read_picture(path, at_least=at_least)
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


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))]


def on_device(picture: np.ndarray, size: tuple[int, int], device: str) -> np.ndarray:
    """What the operators that resize on a GPU make of a picture; a CPU has the same, but other kernels."""
    pixels = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None]
    return resize_on_device(pixels, size)[0].permute(1, 2, 0).cpu().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(224, 224), (322, 322), (200, 260)])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (720, 1280),
        (480, 640),
        (100, 120),
        (224, 1000),
        (1000, 224),
        (37, 53),
        (3, 2000),
        (1, 1),
        (224, 224),
        (200, 260),
    ],
)
def test_the_operators_for_a_gpu_resize_as_torchvision_does_on_a_cpu(
    height: int, width: int, size: tuple[int, int], device: str
) -> None:
    """Of noise, whose every pixel is another: photographs are far closer."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    expected = NetworkInput(Preprocessing(size=size), CPU).resized(noise, "noise")
    found = on_device(noise, size, device)
    assert found.min() >= 0 and found.max() <= 255 and (found == np.round(found)).all()
    difference = np.abs(found - expected.astype(np.float32))
    assert difference.max() <= 2 and difference.mean() <= 0.03 and (difference > 1).mean() < 1e-4


@pytest.mark.parametrize("device", DEVICES)
def test_of_photographs_both_are_within_the_tolerance_of_pillow(shared: Path, device: str) -> None:
    """What the module promises: 0.01 of 255 on average."""
    for path in sorted((shared / "data" / "lund").iterdir())[::6]:
        picture = read_picture(path)
        for size in ((224, 224), (322, 322), (900, 1100)):
            pillow = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR), np.float32)
            by_cpu = NetworkInput(Preprocessing(size=size), CPU).resized(picture, "")
            for found in (by_cpu, on_device(picture, size, device)):
                difference = np.abs(found - pillow)
                assert difference.mean() <= 0.01 and difference.max() <= 2, (path, size)


def test_pictures_go_to_a_gpu_as_they_are_and_have_the_same_descriptors(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several sizes, mixed, through files and from memory; a CPU stands in for the GPU."""
    paths = sorted((shared / "data" / "lund").iterdir())[:5]
    pictures = [read_picture(path) for path in paths]
    pictures[1], pictures[3] = pictures[1][:, ::-1], pictures[3][:150, :170]
    pictures.append(np.zeros((1, LARGEST_REDUCTION * 224 + 1, 3), np.uint8))
    expected = Extractor("dsformer_tiny", device="cpu")
    monkeypatch.setattr(network_input_module, "RESIZING_DEVICES", ("cpu",))
    like_a_gpu = Extractor("dsformer_tiny", device="cpu")
    ready = [like_a_gpu._input.ready(picture, "") for picture in pictures]
    assert [one.shape for one in ready] == [*(picture.shape for picture in pictures[:-1]), (224, 224, 3)]
    assert ready[0] is pictures[0], "nothing is copied that need not be"
    cosines = (expected.extract(pictures, batch_size=4) * like_a_gpu.extract(pictures, batch_size=4)).sum(axis=1)
    assert cosines.min() > 0.9999
    np.testing.assert_allclose(like_a_gpu.extract_files(paths[:2]), expected.extract_files(paths[:2]), atol=2e-3)
    with pytest.raises(ValueError, match=r"images\[0\] is float64"):
        like_a_gpu.extract([np.zeros((4, 4, 3))])  # type: ignore[list-item]


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


def test_one_picture_at_a_time_is_resized_on_a_device_whose_memory_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As floats it is four times as large as its bytes; the bits are those of all at once."""
    random = np.random.default_rng(0)
    shapes = [(60, 90, 3)] * 10 + [(32, 48, 3)] * 3 + [(50, 50, 3)] + [(60, 90, 3)] * 2
    pictures = [random.integers(0, 256, shape, np.uint8) for shape in shapes]
    prepare = NetworkInput(Preprocessing(size=(32, 48)), CPU)
    resized: list[tuple[int, ...]] = []

    def noting(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        resized.append(tuple(pixels.shape))
        return resize_on_device(pixels, size)

    monkeypatch.setattr(network_input_module, "resize_on_device", noting)
    batch = prepare.batch(pictures)
    assert resized == [*[(1, 3, 60, 90)] * 10, (3, 3, 32, 48), (1, 3, 50, 50), *[(1, 3, 60, 90)] * 2]
    together = resize_on_device(torch.from_numpy(np.stack(pictures[:10])).permute(0, 3, 1, 2), (32, 48))
    assert torch.equal(batch[:10], together.sub_(prepare._mean).div_(prepare._std))
    assert torch.equal(batch[10:13], prepare.batch(pictures[10:13]))


@pytest.mark.parametrize("device", DEVICES)
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
