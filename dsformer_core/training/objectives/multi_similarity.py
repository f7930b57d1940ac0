"""The Multi-Similarity Loss (Wang et al., CVPR 2019), of descriptors and, as SelaVPR++ has it, of codes.

Of all pairs (i, k) of a batch, with cosines S_ik, the miner keeps those that are hard, epsilon wide:

    negative (i, n)   S_in + epsilon > min over positives p of S_ip
    positive (i, p)   S_ip - epsilon < max over negatives n of S_in

    loss = mean over i of   1/alpha log(1 + sum over kept positives p of exp(-alpha (S_ip - base)))
                          + 1/beta  log(1 + sum over kept negatives n of exp( beta  (S_in - base)))
"""

import torch
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor

from dsformer_core.models.hashing import signs
from dsformer_core.training.objectives.objective import Objective
from dsformer_core.training.recipe import MultiSimilarityOfCodesRecipe, MultiSimilarityRecipe

Pairs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Rows (i, p) of positive and (i, n) of negative pairs, as i, p, i, n."""


class MultiSimilarity(Objective):
    """Of descriptors. It has nothing to remember: places are told apart from each other, not from what they were.

    In float32 whatever surrounds it: beta times a cosine in half precision is off by some hundredths in the exponent.
    The library takes a batch with one mined pair of each kind, or fewer, for one that has nothing to teach.

    Args:
        recipe: alpha, beta, base and the miner's epsilon.
    """

    compares_pictures = True

    def __init__(self, recipe: MultiSimilarityRecipe) -> None:
        super().__init__()
        self.miner = MultiSimilarityMiner(epsilon=recipe.miner_epsilon, distance=CosineSimilarity())
        self.loss = MultiSimilarityLoss(
            alpha=recipe.alpha, beta=recipe.beta, base=recipe.base, distance=DotProductSimilarity()
        )

    def forward(self, descriptors: Tensor, places: Tensor) -> Tensor:
        """(B, D) and (B,) int64 -> the loss of the batch, a scalar; 0 where no pair is hard."""
        with torch.autocast(descriptors.device.type, enabled=False):
            return self.of_pairs(descriptors.float(), places)[0]

    def of_pairs(self, vectors: Tensor, places: Tensor) -> tuple[Tensor, Pairs]:
        """(B, D) float32 and (B,) -> the loss, and the pairs that were mined for it."""
        pairs: Pairs = self.miner(vectors, places)
        return self.loss(vectors, places, pairs), pairs


class MultiSimilarityOfCodes(MultiSimilarity):
    """Of codes b = sign(z), and a constraint that hash floats z have the similarities of their codes.

        loss(b) + weight * mean over mined pairs (i, k) of (z_i . z_k - b_i . b_k / 512)^2

    Gradients pass the sign as if it were not there, in both terms. All mined pairs count: SelaVPR++ offers to take a
    random share of them to save memory, but from the two (B, B) matrices of products they cost next to none.

    Args:
        recipe: as for descriptors, and the weight of the constraint.
    """

    def __init__(self, recipe: MultiSimilarityOfCodesRecipe) -> None:
        super().__init__(recipe)
        self.weight = recipe.constraint_weight

    def forward(self, hash_floats: Tensor, places: Tensor) -> Tensor:
        """(B, 512) of unit L2 norm and (B,) int64 -> the loss of the batch, a scalar; 0 where no pair is hard."""
        with torch.autocast(hash_floats.device.type, enabled=False):
            floats = hash_floats.float()
            codes = signs(floats)
            loss, (anchors, positives, others, negatives) = self.of_pairs(codes, places)
            rows, columns = torch.cat([anchors, others]), torch.cat([positives, negatives])
            apart = floats @ floats.T - codes @ codes.T / codes.shape[1]
            constraint = apart[rows, columns].square().sum() / max(len(rows), 1)
            return loss + self.weight * constraint
