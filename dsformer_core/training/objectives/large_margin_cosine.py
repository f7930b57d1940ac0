"""The Large Margin Cosine Loss (CosFace: Wang et al., CVPR 2018) and the classifiers that it trains along."""

import torch
from pytorch_metric_learning.losses import CosFaceLoss
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import Tensor, nn

from dsformer_core.training.objectives.objective import Objective
from dsformer_core.training.recipe import LargeMarginCosineRecipe


class Classifier(Objective):
    """The classes of one group, seen from one side, with an optimiser of their own.

    With descriptor d of class y and a unit vector w_j per class,

        loss = -log( exp(s (cos(d, w_y) - m)) / (exp(s (cos(d, w_y) - m)) + sum over j != y of exp(s cos(d, w_j))) )

    In pytorch-metric-learning's `CosFaceLoss` the paper's s is called `scale` and m `margin`; its margin is subtracted
    from the cosine itself (for `ArcFaceLoss` of the same library it would be an angle in degrees). The library's own
    defaults are 64 and 0.35.

    The vectors start with Xavier's uniform distribution instead of the library's normal one. Their length does not
    matter to the loss but sets how far a step of Adam turns them: 0.01 is right for vectors this short, and would
    hardly move vectors whose entries are of the order of one.

    Args:
        classes: how many.
        descriptor_dim: numbers of a descriptor, D.
        recipe: scale and margin.
        learning_rate: of the classifier's own Adam.
    """

    optimizer: torch.optim.Adam

    def __init__(
        self, classes: int, descriptor_dim: int, recipe: LargeMarginCosineRecipe, learning_rate: float
    ) -> None:
        super().__init__()
        self.loss = CosFaceLoss(
            num_classes=classes,
            embedding_size=descriptor_dim,
            scale=recipe.scale,
            margin=recipe.margin,
            weight_init_func=TorchInitWrapper(nn.init.xavier_uniform_),
        )
        self.optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)

    @property
    def weight(self) -> nn.Parameter:
        """(D, classes), one column per class."""
        return self.loss.W

    @torch.no_grad()
    def imprint(self, means: Tensor) -> None:
        """Begins with what the classes look like (Qi et al., "Low-shot learning with imprinted weights", CVPR 2018).

        Args:
            means: (classes, D), of unit length.
        """
        self.weight.copy_(means.T * self.weight.norm(dim=0).mean())

    def forward(self, descriptors: Tensor, classes: Tensor) -> Tensor:
        """(B, D) and (B,) int64 -> the mean loss of the batch, a scalar.

        In float32 whatever surrounds it: scaled by 100, half precision would round the cosines to steps of 0.1 in the
        exponent, and the library would turn its weights into the descriptors' type for good.
        """
        with torch.autocast(descriptors.device.type, enabled=False):
            return self.loss(descriptors.float(), classes)
