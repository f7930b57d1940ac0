"""From a feature map to one vector, as alternatives to GeM: bag of queries (BoQ) and SALAD.

Their tensors are named as their authors name them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.errors import UsageError
from dsformer_core.models.pooling import Aggregation, GeM

AGGREGATIONS = ("gem", "boq", "salad")


def check_aggregation(name: str, has_class_token: bool) -> None:
    """Makes sure that there is such an aggregation, and that a backbone gives what it needs.

    Raises:
        UsageError: there is none, or it does not.
    """
    if name not in AGGREGATIONS:
        raise UsageError(f"there is no aggregation {name!r}; choose one of: {', '.join(AGGREGATIONS)}")
    if name == "salad" and not has_class_token:
        raise UsageError("the aggregation 'salad' needs a class token, which this backbone has not; choose gem or boq")


def make_aggregation(name: str, channels: int, has_class_token: bool) -> Aggregation:
    """The aggregation of that name for a map of so many channels.

    Raises:
        UsageError: there is none, or it needs a class token and there is none.
    """
    check_aggregation(name, has_class_token)
    if name == "boq":
        return BagOfQueries(channels)
    return Salad(channels) if name == "salad" else GeM()


class BagOfQueries(Aggregation):
    """Learned queries ask the feature map through cross-attention (Ali-bey et al., "BoQ", CVPR 2024).

    Args:
        channels: of the feature map.
        width: channels in which it is asked.
        queries: of each layer.
        layers: each encodes what the one before it encoded, and asks with queries of its own.
        rows: into which all answers are combined.
    """

    def __init__(self, channels: int, width: int = 384, queries: int = 64, layers: int = 2, rows: int = 32) -> None:
        super().__init__()
        self.proj_c = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        self.norm_input = nn.LayerNorm(width)
        self.boqs = nn.ModuleList(QueryLayer(width, queries) for _ in range(layers))
        self.fc = nn.Linear(layers * queries, rows)

    def outputs(self, channels: int) -> int:
        """12288, whatever the map's channels."""
        return self.fc.out_features * self.proj_c.out_channels

    def forward(self, feature_map: Tensor, class_token: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, 12288), unit L2 norm."""
        tokens = self.norm_input(self.proj_c(feature_map).flatten(2).transpose(1, 2))
        answers = []
        for layer in self.boqs:
            tokens, answer = layer(tokens)
            answers.append(answer)
        combined = self.fc(torch.cat(answers, dim=1).transpose(1, 2))  # (B, width, rows)
        return F.normalize(combined.flatten(1), dim=-1)


class QueryLayer(nn.Module):
    """Tokens attend to each other, queries to each other, and the queries to the tokens."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        heads = width // 64
        self.encoder = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_q = nn.LayerNorm(width)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, width) -> encoded tokens (B, L, width), answers (B, queries, width)."""
        tokens = self.encoder(tokens)
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        queries = self.norm_q(queries + self.self_attn(queries, queries, queries, need_weights=False)[0])
        answers, _ = self.cross_attn(queries, tokens, tokens, need_weights=False)
        return tokens, self.norm_out(answers)


class Salad(Aggregation):
    """Tokens share themselves out over clusters by optimal transport (Izquierdo and Civera, "SALAD", CVPR 2024).

    Args:
        channels: of the feature map and the class token.
        clusters: to which tokens are assigned; a dustbin takes what belongs to none.
        width: numbers per cluster.
        token_width: numbers made of the class token.
        hidden: width of the layers in between.
        dropout: in training.
    """

    def __init__(
        self,
        channels: int,
        clusters: int = 64,
        width: int = 128,
        token_width: int = 256,
        hidden: int = 512,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()

        def per_token(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, hidden, 1), nn.Dropout(dropout), nn.ReLU(), nn.Conv2d(hidden, outputs, 1)
            )

        self.token_features = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, token_width))
        self.cluster_features = per_token(width)
        self.score = per_token(clusters)
        self.dust_bin = nn.Parameter(torch.tensor(1.0))
        self._outputs = clusters * width + token_width

    def outputs(self, channels: int) -> int:
        """8448, whatever the map's channels."""
        return self._outputs

    def forward(self, feature_map: Tensor, class_token: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and (B, C) -> (B, 8448), unit L2 norm."""
        assert class_token is not None
        local = self.cluster_features(feature_map).flatten(2)  # (B, width, L)
        share = assignment(self.score(feature_map).flatten(2), self.dust_bin)  # (B, clusters, L)
        clustered = F.normalize(torch.einsum("bwl,bcl->bwc", local, share), dim=1)
        whole = F.normalize(self.token_features(class_token), dim=-1)
        return F.normalize(torch.cat([whole, clustered.flatten(1)], dim=-1), dim=-1)


def assignment(scores: Tensor, dust_bin: Tensor, iterations: int = 3) -> Tensor:
    """How tokens share themselves out over clusters: Sinkhorn's algorithm, in logarithms and float32.

    Each of L tokens gives 1 / (L + K), each of K clusters takes as much, and the dustbin takes the rest, (L - K) /
    (L + K). Where there are no more tokens than clusters it takes what one token gives.

    Args:
        scores: (B, K, L).
        dust_bin: the score of the dustbin for every token, a scalar.
        iterations: of the algorithm.

    Returns:
        (B, K, L), times L + K: so a token that is all of one cluster counts 1 there.
    """
    batch, clusters, tokens = scores.shape
    logits = torch.cat([scores, dust_bin.to(scores.dtype).expand(batch, 1, tokens)], dim=1).float()
    total = math.log(clusters + tokens)
    rows = torch.full((clusters + 1,), -total, device=scores.device)
    rows[-1] = math.log(max(tokens - clusters, 1)) - total
    by_row, by_column = rows.new_zeros(batch, clusters + 1), rows.new_zeros(batch, tokens)
    for _ in range(iterations):
        by_row = rows - torch.logsumexp(logits + by_column[:, None, :], dim=2)
        by_column = -total - torch.logsumexp(logits + by_row[:, :, None], dim=1)
    plan = logits + by_row[:, :, None] + by_column[:, None, :] + total
    return plan[:, :-1].exp().to(scores.dtype)
