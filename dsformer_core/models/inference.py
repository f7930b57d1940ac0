"""A network whose weights will not change any more, rewritten to compute the same function faster.

Batch normalisation becomes part of the convolution before it, and the channels of a pixel lie side by side, which made
a MobileNetV2 a quarter faster on an AMD EPYC. On CPUs, in float32, linear layers and convolutions keep their weights in
the order in which oneDNN reads them: PyTorch multiplies linear layers with MKL otherwise, slower by a sixth there, and
orders those of convolutions anew for every batch, a tenth of a MobileNetV2's time. In half precision the weights are
stored as autocast would cast them for every batch.
"""

import ctypes
import functools
import platform
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dsformer_core.errors import UsageError
from dsformer_core.models.dual_scale_former import DualScaleFormer, DualScaleLayer, SelfEncoder

Optimize = Literal["off", "safe", "max"]
OPTIMIZE: tuple[str, ...] = get_args(Optimize)

# Rows that a linear layer mostly gets: the tokens of one picture. It serves any number of them.
_ROWS = 400
# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Smaller ones take longer to enter than to compute.
_FEWEST_WEIGHTS = 2**16


class PackedLinear(nn.Module):
    """A linear layer in oneDNN's order of weights, for float32 on a CPU, without gradients."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise(tokens, self._weight, self._bias, "none", [], "")
        return found

    def extra_repr(self) -> str:
        """As `nn.Linear` has it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self._bias is not None}"


class PackedConv2d(nn.Module):
    """A convolution in oneDNN's order of weights, likewise, with what clips its results where something does.

    The order depends on how large images are, so the first batch decides it: a guess took a ResNet-50 twice as long.

    Args:
        conv: padded with zeros.
        most: upper end of the clipping to [0, most] that follows; None where none does.
    """

    def __init__(self, conv: nn.Conv2d, most: float | None) -> None:
        super().__init__()
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._weight = conv.weight.detach()
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._clipping = ("none", []) if most is None else ("hardtanh", [0.0, most])

    def forward(self, images: Tensor) -> Tensor:
        """As `nn.Conv2d`; channels of a pixel lie side by side."""
        images = images.contiguous(memory_format=torch.channels_last)
        weight = self._weight
        if not weight.is_mkldnn:
            # Of threads that come here together each orders the plain weights, and any result serves all.
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry, list(images.shape))
            self._weight = weight
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, weight, self._bias, *self._geometry, *self._clipping, ""
        )
        return found


def check_optimize(value: str) -> None:
    """Refuses what is none of `OPTIMIZE`.

    Raises:
        UsageError: names them.
    """
    if value not in OPTIMIZE:
        raise UsageError(f"optimize {value!r}: choose {', '.join(OPTIMIZE)}")


def optimize_for_inference(
    network: nn.Module,
    *,
    float32: bool,
    half: torch.dtype | None = None,
    device: torch.device | None = None,
    pack: bool = True,
) -> None:
    """Rewrites a network in place; afterwards it can be neither trained nor saved.

    What it computes stays the same to rounding: float32 descriptors differ by some 1e-7.

    Args:
        network: in evaluation mode.
        float32: whether it computes in float32, not in half precision by autocast.
        half: which half precision autocast will be told; None leaves the weights as they are.
        device: on which it will compute; None for where it is.
        pack: False leaves weights to a compiler, who knows no other library's order.
    """
    assert not network.training
    on_cpu = (device or next(network.parameters()).device).type == "cpu"
    for module in list(network.modules()):
        _fold_batch_norms(module)
        if isinstance(module, DualScaleFormer):
            _hold_grids(module)
    if half is not None:
        for module in list(network.modules()):
            _halve_weights(module, half)
    if on_cpu or half is not None:
        # CUDA cores gain nothing by it in float32.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if float32 and pack and on_cpu and _has_packing():
        for module in list(network.modules()):
            _pack_linears(module)
            _pack_convolutions(module)


@functools.cache
def keep_freed_memory() -> None:
    """Lets the process keep what one batch of pictures frees for the next, up to a gigabyte, instead of giving it back.

    Linux hands out each page of a fresh block by an interrupt, thousands for a batch: a fifth of the time of batches of
    8 on a CPU, and nothing where pictures come one by one, as to a robot, which needs its memory for others. glibc
    alone has this setting (mallopt(3)); elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most it takes
        mallopt(_M_TRIM_THRESHOLD, 2**30)


def _fold_batch_norms(parent: nn.Module) -> None:
    """Convolutions that are directly followed by their normalisation, in the order in which `parent` names them."""
    before: tuple[str, nn.Module] | None = None
    for name, child in list(parent.named_children()):
        if (
            before is not None
            and isinstance(before[1], nn.Conv2d)
            and isinstance(child, nn.BatchNorm2d)
            and child.num_features == before[1].out_channels
        ):
            setattr(parent, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(parent, name, nn.Identity())
        before = name, child


def _hold_grids(former: DualScaleFormer) -> None:
    for layer in former.layers:
        assert isinstance(layer, DualScaleLayer)
        # A layer may have none.
        for encoder, grid in zip(layer.self_encoders, former.grids, strict=False):
            assert isinstance(encoder, SelfEncoder)
            if encoder.position is not None:
                encoder.position.hold(grid)


def _halve_weights(parent: nn.Module, half: torch.dtype) -> None:
    """Of what autocast computes in half precision, so that it finds nothing to cast."""
    if isinstance(parent, nn.TransformerEncoderLayer | nn.MultiheadAttention):
        return
    for child in parent.children():
        if type(child) in (nn.Linear, nn.Conv2d):
            child.to(half)


def _pack_linears(parent: nn.Module) -> None:
    if isinstance(parent, nn.TransformerEncoderLayer):
        # It hands its weights to one operator for the whole layer.
        return
    for name, child in list(parent.named_children()):
        if type(child) is nn.Linear and child.weight.numel() >= _FEWEST_WEIGHTS:
            setattr(parent, name, PackedLinear(child))


def _pack_convolutions(parent: nn.Module) -> None:
    """With the ReLU6 that directly follows in a sequence, behind nothing but a folded normalisation."""
    clips: str | None = None
    for name, child in reversed(list(parent.named_children())):
        if type(child) is nn.ReLU6 and isinstance(parent, nn.Sequential):
            clips = name
        elif type(child) is nn.Conv2d and child.padding_mode == "zeros" and not isinstance(child.padding, str):
            setattr(parent, name, PackedConv2d(child, None if clips is None else 6.0))
            if clips is not None:
                setattr(parent, clips, nn.Identity())
            clips = None
        elif not isinstance(child, nn.Identity):
            clips = None


@functools.cache
def _has_packing() -> bool:
    """Whether this PyTorch has what its own compiler packs weights with on x86; elsewhere nobody measured it.

    Its operators are no public interface, and may take other arguments in another version.
    """
    if not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        with torch.inference_mode():
            PackedLinear(nn.Linear(16, 16))(torch.zeros(1, 16))
            PackedConv2d(nn.Conv2d(16, 16, 1), 6.0)(torch.zeros(1, 16, 2, 2))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True
