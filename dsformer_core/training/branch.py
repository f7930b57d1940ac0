"""The branch of a network that is trained, on batches too large for the memory."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dsformer_core.models import DescriptorModel


class TrainedBranch(nn.Module):
    """Pictures -> what the loss is of: descriptors, or hash floats.

    A batch in several parts is computed a part at a time, and of each part only the output is kept. When gradients are
    wanted, a part is computed once more, with the same random numbers, and its activations live until its gradient is
    known (Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", 2021). So the gradient
    is that of the whole batch and the memory that of a part; the price is a second forward pass. Statistics of
    normalisations, where they are not frozen, are those of each part, and are followed in the first pass alone.

    Args:
        model: whose branch it is.
        of_codes: whether it is the hash branch.
    """

    def __init__(self, model: DescriptorModel, of_codes: bool) -> None:
        super().__init__()
        self.model, self.of_codes = model, of_codes

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Parts (Bi, 3, H, W) of a batch, normalised -> (B, D), unit L2 norm."""
        if len(parts) == 1:
            return self._describe(parts[0])
        outputs: list[Tensor] = [
            checkpoint(self._describe, part, use_reentrant=False, context_fn=self._contexts) for part in parts
        ]
        return torch.cat(outputs)

    def _describe(self, pictures: Tensor) -> Tensor:
        return self.model.hash_floats(pictures) if self.of_codes else self.model(pictures)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the first pass, and around the second."""
        return nullcontext(), self._keep_statistics()

    @contextmanager
    def _keep_statistics(self) -> Iterator[None]:
        before = self.statistics()
        try:
            yield
        finally:
            restore(before)

    def statistics(self) -> list[tuple[Tensor, Tensor]]:
        """The statistics of normalisations that a forward pass changes, each with a copy of what it is now."""
        layers = [layer for layer in self.model.modules() if isinstance(layer, _BatchNorm) and layer.training]
        return [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers()]


def restore(statistics: list[tuple[Tensor, Tensor]]) -> None:
    """Takes statistics back to what they were."""
    for buffer, before in statistics:
        buffer.copy_(before)
