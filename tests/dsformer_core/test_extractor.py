"""What goes into the network, what comes out, and what happens to everything that should not go in."""

import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.models import create_model, save_checkpoint
from dsformer_core.pictures import PictureError

MODEL = "gem_mobilenet_v2"
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(MODEL, "untrained", device="cpu")


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """Structure at every scale, as photographs have it."""
    random = np.random.default_rng(seed)
    layers = [
        Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for size in (3, 12, 50, 200)
    ]
    return np.mean([np.asarray(layer, float) for layer in layers], axis=0).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for seed, (height, width) in enumerate([(60, 90), (480, 640), (300, 200), (1200, 1600), (64, 64), (100, 700)]):
        paths.append(folder / f"{seed}.jpg")
        Image.fromarray(scene(seed, height, width)).save(paths[-1], quality=92)
    return paths


def network_input(extractor: Extractor, describe) -> list[np.ndarray]:
    """The pictures that enter the network while `describe` runs, in [0, 1], each HxWx3."""
    seen: list[np.ndarray] = []
    mean, std = (
        torch.tensor(value).view(3, 1, 1) for value in (extractor.preprocessing.mean, extractor.preprocessing.std)
    )

    def note(module, arguments):
        seen.extend((image * std + mean).permute(1, 2, 0).numpy() for image in arguments[0])

    handle = extractor._network.register_forward_pre_hook(note)
    describe()
    handle.remove()
    return seen


def pillow_input(extractor: Extractor, image: Image.Image) -> np.ndarray:
    height, width = extractor.preprocessing.size
    return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), float) / 255


@pytest.mark.parametrize("shape", [(480, 640), (100, 60), (1, 1), (3000, 50), (224, 224), (1500, 2000)])
def test_the_network_gets_what_pillow_would_give_it(extractor, shape):
    for image in (
        np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8),
        scene(1, *shape),
    ):
        (seen,) = network_input(extractor, lambda image=image: extractor.extract([image]))
        assert np.abs(seen - pillow_input(extractor, Image.fromarray(image))).mean() <= 0.5 / 255


def test_so_do_files_even_where_they_are_decoded_smaller(extractor, files, tmp_path):
    noise = tmp_path / "noise.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (2400, 3200, 3), np.uint8)).save(noise)
    paths = [*files, noise]
    for path, seen in zip(paths, network_input(extractor, lambda: extractor.extract_files(paths)), strict=True):
        assert np.abs(seen - pillow_input(extractor, Image.open(path))).mean() <= 1 / 255, path


def test_descriptors_are_float32_of_unit_norm(extractor):
    descriptors = extractor.extract(
        [scene(0, 50, 70), np.zeros((5, 5, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)]
    )
    assert descriptors.shape == (3, 512) and descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-6)


def test_company_does_not_change_a_descriptor(extractor, files):
    images = [np.asarray(Image.open(path)) for path in files]
    alone = np.concatenate([extractor.extract([image]) for image in images])
    np.testing.assert_allclose(extractor.extract(images), alone, atol=1e-5)
    np.testing.assert_allclose(extractor.extract(images, batch_size=4), alone, atol=1e-5)
    np.testing.assert_allclose(extractor.extract(images[::-1])[::-1], alone, atol=1e-5)


def test_files_and_arrays_agree(extractor, files):
    progress = []
    from_files = extractor.extract_files(files, batch_size=4, on_progress=progress.append)
    from_arrays = extractor.extract([np.asarray(Image.open(path)) for path in files])
    assert np.sum(from_files * from_arrays, axis=1).min() > 0.9995  # the large ones are decoded smaller
    assert sum(progress) == len(files)


def test_no_pictures_give_no_descriptors(extractor):
    for nothing in (extractor.extract([]), extractor.extract_files([])):
        assert nothing.shape == (0, 512) and nothing.dtype == np.float32


def test_arrays_that_torch_dislikes(extractor):
    image = scene(2, 40, 60)
    expected = extractor.extract([image])
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    read_only = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    for same in (bgr[:, :, ::-1], np.asfortranarray(image), read_only):
        np.testing.assert_array_equal(extractor.extract([same]), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"images\[1\] is float32 of shape \(4, 4, 3\); pictures are HxWx3 uint8"),
        (np.zeros((4, 4), np.uint8), r"images\[1\] is uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), "pictures are HxWx3"),
        (np.zeros((3, 4, 4), np.uint8), "pictures are HxWx3"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
        ("street.jpg", r"images\[1\] is str"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(extractor, image, message):
    with pytest.raises(ValueError, match=message):
        extractor.extract([np.zeros((4, 4, 3), np.uint8), image])


def test_unreadable_files_are_named_and_the_others_described(extractor, files, tmp_path, caplog):
    empty, cut = tmp_path / "empty.jpg", tmp_path / "cut.jpg"
    empty.touch()
    cut.write_bytes(files[1].read_bytes()[:2000])
    paths = [files[0], empty, files[1], cut, tmp_path / "missing.jpg", files[2]]
    with caplog.at_level(logging.WARNING):
        descriptors = extractor.extract_files(paths, batch_size=2)
    assert np.isnan(descriptors).all(axis=1).tolist() == [False, True, False, True, True, False]
    np.testing.assert_allclose(descriptors[[0, 2, 5]], extractor.extract_files(files[:3]), atol=1e-5)
    for path, message in zip([empty, cut, tmp_path / "missing.jpg"], caplog.messages, strict=True):
        assert message.startswith(f"{path}: ")
    with pytest.raises(PictureError, match=r"empty\.jpg: empty"):
        extractor.extract_files(paths, strict=True)
    assert np.isnan(extractor.extract_files([empty, cut])).all()


def test_pictures_stream_in_order_with_their_errors(extractor):
    def fail():
        raise PictureError("third.jpg: gone")

    loaders = [lambda: scene(0, 20, 20), lambda: scene(1, 20, 20), fail, lambda: scene(3, 20, 20)]
    results = list(extractor.extract_pictures(iter(loaders), batch_size=2, workers=1))
    assert [index for index, _ in results] == [0, 1, 2, 3]
    assert str(results[2][1]) == "third.jpg: gone"
    np.testing.assert_allclose(results[3][1].descriptors[0], extractor.extract([scene(3, 20, 20)])[0], atol=1e-5)


def test_an_endless_stream_is_taken_a_bounded_number_ahead_and_closes(extractor):
    loaded = []

    def endless():
        while True:
            yield lambda: loaded.append(1) or scene(0, 8, 8)

    before = threading.active_count()
    stream = extractor.extract_pictures(endless(), batch_size=2, workers=2)
    next(stream)
    stream.close()
    assert len(loaded) <= 8
    assert threading.active_count() == before


def test_ctrl_c_ends_the_work(files, tmp_path):
    """A real process with a real signal: threads that went on decoding would keep it alive."""
    script = f"""
import sys
from dsformer_core.extractor import Extractor
def told(count): print("working", flush=True)
try:
    Extractor({MODEL!r}, "untrained", device="cpu").extract_files([{str(files[3])!r}] * 100_000, on_progress=told)
except KeyboardInterrupt:
    sys.exit(7)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readline() == b"working\n"
    os.kill(process.pid, signal.SIGINT)
    process.stdout.close()
    assert process.wait(30) in (7, 1)


def test_untrained_weights_are_announced_first_and_are_the_same_every_time(extractor, caplog):
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    with caplog.at_level(logging.WARNING):
        again = Extractor(MODEL, None, device="cpu")
    assert caplog.messages[0].startswith("UNTRAINED")
    assert again.weights == extractor.weights == "untrained"
    assert again.weights_sha256 == extractor.weights_sha256 and len(again.weights_sha256) == 64
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_released_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("DSFORMER_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DsformerError, match="dsformer weights fetch dsformer_resnet50"):
        Extractor("dsformer_resnet50")


def test_a_file_of_weights_is_told_from_another_by_its_digest(extractor, tmp_path):
    path = tmp_path / "mine.pth"
    state = Extractor(MODEL, "untrained", device="cpu", optimize="off")._network.state_dict()
    torch.save(state, path)
    loaded = Extractor(MODEL, path, device="cpu")
    assert loaded.weights == "mine.pth"
    assert loaded.weights_sha256 == extractor.weights_sha256
    name = next(iter(state))
    torch.save({**state, name: state[name] + 1}, path)
    assert Extractor(MODEL, path, device="cpu").weights_sha256 != extractor.weights_sha256


@pytest.fixture(scope="module")
def small_resnet(tmp_path_factory) -> Path:
    """Weights of a network that looks at 96 x 96: where a CPU has no half precision, larger pictures take seconds."""
    path = tmp_path_factory.mktemp("resnet") / "small.safetensors"
    model = create_model("gem_resnet50")
    model.preprocessing = replace(model.preprocessing, size=(96, 96))
    save_checkpoint(model, path)
    return path


def test_half_precision_that_this_pytorch_has_no_cpu_code_for_is_refused(monkeypatch):
    """As in versions below 2.3, which went on in float32 with a warning."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with pytest.raises(DsformerError, match=r"^precision float16: PyTorch \S+ has it on GPUs alone; choose bfloat16"):
        Extractor(MODEL, None, device="cpu", precision="float16")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_still_gives_float32_of_unit_norm(precision, small_resnet):
    # MobileNetV2's untrained features, 1e-9, are zero in float16.
    model = "gem_resnet50"
    extractor = Extractor(model, small_resnet, device="cpu")
    half = Extractor(model, small_resnet, device="cpu", precision=precision)
    images = [scene(seed, 100, 120) for seed in range(3)]
    descriptors = half.extract(images)
    assert half.precision == precision and descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-6)
    assert np.sum(descriptors * extractor.extract(images), axis=1).min() > 0.99
    assert half.weights_sha256 == extractor.weights_sha256


@needs_gpu
@pytest.mark.parametrize("optimize", ["off", "safe", "max"])
def test_cuda_agrees_with_the_cpu(extractor, optimize):
    images = [scene(seed, 300, 400) for seed in range(9)]
    expected = extractor.extract(images)
    exact = Extractor(MODEL, None, device="cuda", precision="float32", optimize=optimize)
    # Of `max` the first batch of a size is computed while its kernels are recorded, later ones by the recording.
    for count in (9, 1, 9, 1):
        np.testing.assert_allclose(exact.extract(images[:count]), expected[:count], atol=1e-5)
    auto = Extractor(MODEL, None, optimize=optimize)
    assert auto.device.type == "cuda" and auto.precision in ("bfloat16", "float16")
    assert np.sum(auto.extract(images) * expected, axis=1).min() > 0.99


@needs_gpu
def test_float32_stays_exact_while_another_thread_describes(extractor, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    images = [scene(seed, 300, 400) for seed in range(9)]
    expected = extractor.extract(images)
    extractors = [Extractor(MODEL, None, device="cuda", precision="float32") for _ in range(2)]
    assert not torch.backends.cudnn.allow_tf32
    with ThreadPoolExecutor(2) as threads:
        for described in threads.map(lambda one: one.extract(images * 5), extractors * 2):
            np.testing.assert_allclose(described, np.tile(expected, (5, 1)), atol=1e-5)


def test_optimized_networks_keep_their_name_and_their_descriptors(extractor, files):
    as_trained = Extractor(MODEL, "untrained", device="cpu", optimize="off")
    assert as_trained.weights_sha256 == extractor.weights_sha256
    np.testing.assert_allclose(as_trained.extract_files(files), extractor.extract_files(files), atol=2e-6)
    with pytest.raises(UsageError, match="optimize 'faster': choose off, safe, max"):
        Extractor(MODEL, "untrained", device="cpu", optimize="faster")


FAULTS = """
import resource, sys
import numpy as np
from dsformer_core.extractor import Extractor
extractor = Extractor("dsformer_tiny", device="cpu", threads=1, optimize=sys.argv[1])
pictures = [np.zeros((*extractor.preprocessing.size, 3), np.uint8)] * 8
for _ in range(3):
    extractor.describe(pictures)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
extractor.describe(pictures)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone can be told")
def test_memory_of_one_batch_serves_the_next():
    faults = {}
    for optimize in ("off", "safe"):
        done = subprocess.run([sys.executable, "-c", FAULTS, optimize], capture_output=True, text=True, check=True)
        faults[optimize] = int(done.stdout)
    assert faults["safe"] < 0.7 * faults["off"]


def test_a_network_in_memory_describes_as_one_from_a_file(files):
    extractor, model = Extractor(MODEL, "untrained", device="cpu", optimize="off"), create_model(MODEL)
    model.load_state_dict(extractor._network.state_dict())
    wrapped = Extractor.of_model(model.train(), "mine")
    np.testing.assert_array_equal(wrapped.extract_files(files), extractor.extract_files(files))
    assert not model.training, "put into evaluation mode"
    assert (wrapped.model_name, wrapped.weights, wrapped.precision) == ("mine", "in training", "float32")
    assert wrapped.weights_sha256 == extractor.weights_sha256
    assert wrapped.preprocessing == extractor.preprocessing and wrapped.device == extractor.device
    with torch.no_grad():
        next(model.parameters()).normal_()
    assert not np.allclose(wrapped.extract_files(files), extractor.extract_files(files)), "the weights are shared"
    with pytest.raises(UsageError, match="no device 'tpu'"):
        Extractor.of_model(model, "mine", device="tpu")


def test_auto_on_the_cpu_is_float32(extractor):
    assert str(extractor.device) == "cpu" and extractor.precision == "float32"


@needs_no_gpu
def test_a_gpu_that_is_not_there():
    assert str(Extractor(MODEL, None).device) == "cpu"
    with pytest.raises(DsformerError, match="no CUDA GPU") as caught:
        Extractor(MODEL, None, device="cuda")
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "tpu"}, "no device 'tpu'; choose one of: auto, cpu, cuda"),
        ({"device": "mps"}, "no device 'mps'"),
        ({"device": ""}, "no device ''"),
        ({"precision": "float64"}, "no precision 'float64'; choose one of: auto, float32, bfloat16, float16"),
        ({"threads": 0}, "threads is 0"),
        ({"model": "resnet"}, "resnet"),
        ({"weights": "nonsense"}, "nonsense"),
    ],
)
def test_wrong_settings_name_the_choices(arguments, message):
    with pytest.raises(UsageError, match=message):
        Extractor(**{"model": MODEL, "weights": None, "device": "cpu", **arguments})


def test_counts_below_one_are_refused(extractor, files):
    for call in (
        lambda: extractor.extract([], batch_size=0),
        lambda: extractor.extract_files(files, batch_size=0),
        lambda: extractor.extract_files(files, workers=0),
    ):
        with pytest.raises(UsageError, match="is 0: it must be 1 or more"):
            call()


def test_numbers_that_are_none_do_not_get_out():
    broken = Extractor(MODEL, None, device="cpu")
    with torch.no_grad():
        next(broken._network.parameters()).fill_(float("nan"))
    with pytest.raises(DsformerError, match="not finite or zero"):
        broken.extract([scene(0, 10, 10)])


def test_running_out_of_gpu_memory_is_one_line(extractor, monkeypatch):
    def exhausted(images):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(extractor, "_forward", exhausted)
    with pytest.raises(DsformerError, match="out of memory at batch size 2: choose a smaller"):
        extractor.extract([scene(0, 10, 10)] * 2)
