"""What makes a network faster leaves what it computes as it was: random weights, random inputs, several sizes.

That every registered model as a whole stays the same at `safe` is said by test_models.py, and by test_parity.py.
"""

import copy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from dsformer_core.errors import DsformerError
from dsformer_core.models import inference
from dsformer_core.models.compiled import CompiledForward, Forward
from dsformer_core.models.dual_scale_former import DualScaleFormer
from dsformer_core.models.inference import PackedLinear, optimize_for_inference
from dsformer_core.models.relative_position import RelativePositionEncoding

CPU = torch.device("cpu")


def former(grids: tuple[tuple[int, int], tuple[int, int]]) -> DualScaleFormer:
    """With random tables, and random everything else."""
    network = DualScaleFormer((128, 64), grids, 1, True, True, True, 0.0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (7, 7), (9, 4)])
def test_a_held_grid_changes_nothing(grid):
    torch.manual_seed(grid[0])
    plain = RelativePositionEncoding(8)
    for table in plain.parameters():
        nn.init.normal_(table)
    held = copy.deepcopy(plain)
    held.hold(grid)
    assert held.state_dict().keys() == plain.state_dict().keys(), "weights, and their digest, are what they were"
    for size in (grid, (3, 6)):
        length = size[0] * size[1]
        queries, keys = torch.randn(2, 3, 4, length, 8)
        attention = torch.randn(3, 4, length, length).softmax(-1)
        with torch.inference_mode():
            torch.testing.assert_close(
                held.logits(queries, keys, size), plain.logits(queries, keys, size), atol=0, rtol=0
            )
            torch.testing.assert_close(held.values(attention, size), plain.values(attention, size), atol=0, rtol=0)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(32, 48), (17, 33)])
def test_weights_in_half_precision_are_those_that_autocast_casts(half, size):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(2),
        nn.LayerNorm(_tokens(size)),
        nn.Linear(_tokens(size), 32),
    ).eval()
    images = torch.randn(2, 3, *size)
    halved = copy.deepcopy(network)
    optimize_for_inference(halved, float32=False, half=half)
    assert {halved[0].weight.dtype, halved[4].bias.dtype} == {half} and halved[3].weight.dtype == torch.float32
    with torch.inference_mode(), torch.autocast("cpu", half):
        # Channels in another order are added up in another one.
        torch.testing.assert_close(halved(images), network(images), atol=4 * torch.finfo(half).eps, rtol=0.02)
        torch.testing.assert_close(halved[4](torch.ones(2, _tokens(size))), network[4](torch.ones(2, _tokens(size))))


def _tokens(size: tuple[int, int]) -> int:
    return ((size[0] - 3) // 2 + 1) * ((size[1] - 3) // 2 + 1)


@pytest.mark.parametrize("size", [(9, 12), (16, 16), (31, 7)])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 24, 1, bias=False),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.Conv2d(8, 16, 3, padding=2, dilation=2),
        nn.Conv2d(8, 16, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 16, 3, padding="same"),
    ],
    ids=["pointwise", "depthwise", "dilated", "reflected", "same"],
)
@pytest.mark.parametrize("after", [nn.ReLU6, nn.ReLU, nn.Hardswish])
def test_convolutions_of_any_kind_stay_the_same(conv, size, after):
    torch.manual_seed(3)
    norm = nn.BatchNorm2d(conv.out_channels)
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 1.5), nn.init.normal_(norm.bias, std=3.0)
    network = nn.Sequential(copy.deepcopy(conv), norm, after(), nn.ReLU6()).eval()
    optimized = copy.deepcopy(network)
    optimize_for_inference(optimized, float32=True)
    with torch.inference_mode():
        # The first decides how weights are ordered; others are computed all the same.
        for images in (5 * torch.randn(2, 8, *size), 5 * torch.randn(1, 8, *size), 5 * torch.randn(3, 8, 11, 9)):
            torch.testing.assert_close(optimized(images), network(images), atol=1e-5, rtol=1e-4)


def test_threads_whose_first_pictures_come_together_get_the_same():
    torch.manual_seed(4)
    plain = nn.Sequential(*(nn.Conv2d(16, 16, 3, padding=1) for _ in range(8))).eval()
    optimized = copy.deepcopy(plain)
    optimize_for_inference(optimized, float32=True)
    images = torch.randn(1, 16, 24, 24)
    start = threading.Barrier(8)

    def together() -> Tensor:
        start.wait()
        with torch.inference_mode():
            return optimized(images)

    with ThreadPoolExecutor(8) as pool:
        for found in [pool.submit(together) for _ in range(8)]:
            torch.testing.assert_close(found.result(), plain(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (5, 5)])
def test_a_former_in_any_size_stays_the_same(size):
    torch.manual_seed(1)
    plain = former(((4, 6), (2, 3)))
    optimized = copy.deepcopy(plain)
    optimize_for_inference(optimized, float32=True)
    fine, coarse = torch.randn(2, 128, *size), torch.randn(2, 64, *(max(side // 2, 1) for side in size))
    with torch.inference_mode():
        for one, other in zip(plain(fine, coarse), optimized(fine, coarse), strict=True):
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)


class Small(nn.Module):
    """A convolution, its normalisation and a former: what compiling has to deal with in a DSFormer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 128, 4, stride=4)
        self.norm = nn.BatchNorm2d(128)
        self.down = nn.Conv2d(128, 64, 2, stride=2)
        self.former = former(((4, 6), (2, 3)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        fine = self.norm(self.conv(images)).relu()
        fine, coarse = self.former(fine, self.down(fine))
        return torch.cat([fine.mean((-2, -1)), coarse.mean((-2, -1))], dim=-1), (coarse.amax((-2, -1)) > 0).to(
            torch.int8
        )


def test_compiled_it_computes_the_same_and_smaller_batches_are_filled_up():
    torch.manual_seed(2)
    network = Small().eval()
    network.norm.running_mean.normal_(), network.norm.running_var.uniform_(0.5, 1.5)
    optimized = copy.deepcopy(network)
    optimize_for_inference(optimized, float32=True, pack=False)
    try:
        compiled = CompiledForward(optimized, CPU)
    except DsformerError as error:
        pytest.skip(str(error))
    sizes = []
    with torch.inference_mode():
        for count in (2, 1):
            images = torch.randn(count, 3, 16, 24)
            before = compiled.compile_seconds
            for one, other in zip(network(images), compiled(images), strict=True):
                torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
            sizes.append(compiled.compile_seconds > before)
    assert sizes == [True, False]


class NamesSizes(CompiledForward):
    """Leaves the network as it is, and keeps which sizes would have been compiled."""

    def _prepare(self, images: Tensor) -> Forward:
        self.sizes = [*getattr(self, "sizes", []), len(images)]
        return super()._prepare(images)


def test_few_sizes_are_compiled_and_no_batch_costs_more_than_twice_its_own(monkeypatch):
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    computed = []

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        computed.append(len(images))
        return images.flatten(1).cumsum(1), images.flatten(1).sign()

    compiled = NamesSizes(forward, CPU)
    for count in (64, 1, 40, 2, 3, 5, 9, 17, 80, 7, 100, 24, 200):
        images = torch.randn(count, 3, 2, 2)
        descriptors, codes = compiled(images)
        torch.testing.assert_close(descriptors, images.flatten(1).cumsum(1))
        torch.testing.assert_close(codes, images.flatten(1).sign())
        if len(compiled.sizes) < 8:
            assert computed[-1] <= 2 * count
    assert compiled.sizes == [64, 1, 2, 3, 5, 9, 17, 80]


def test_packing_that_this_pytorch_does_otherwise_is_left_out(monkeypatch):
    def other_arguments(*_: object) -> None:
        raise TypeError("takes 5 positional arguments but 6 were given")

    monkeypatch.setattr(PackedLinear, "forward", other_arguments)
    inference._has_packing.cache_clear()
    try:
        network = nn.Sequential(nn.Linear(512, 512)).eval()
        optimize_for_inference(network, float32=True)
        assert type(network[0]) is nn.Linear
    finally:
        inference._has_packing.cache_clear()


def test_without_a_compiler_max_says_so_in_one_line(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        DsformerError, match=r"no-such-compiler is not on this machine: install it .* or choose optimize safe$"
    ):
        CompiledForward(former(((1, 1), (1, 1))), CPU)


def test_what_cannot_be_compiled_is_one_line():
    def fails(images: Tensor) -> tuple[Tensor, None]:
        raise RuntimeError("first\nsecond")

    with pytest.raises(DsformerError, match=r"^optimize max: compiling failed \(.*\): choose optimize safe$"):
        CompiledForward(fails, CPU)(torch.zeros(1, 3, 2, 2))


def test_other_machines_than_x86_pack_nothing():
    script = (
        "import platform; platform.machine = lambda: 'aarch64'\n"
        "import torch; from dsformer_core.models import create_model\n"
        "from dsformer_core.models.inference import PackedConv2d, PackedLinear, optimize_for_inference\n"
        "network = create_model('dsformer_tiny'); optimize_for_inference(network, float32=True)\n"
        "assert not any(isinstance(module, PackedConv2d | PackedLinear) for module in network.modules())\n"
        "with torch.inference_mode(): assert network(torch.zeros(1, 3, 64, 64)).isfinite().all()\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
