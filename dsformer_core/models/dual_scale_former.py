"""The DSFormer module: two feature maps learn from themselves and from each other (section III-A of the paper).

Read from the bottom: `DualScaleFormer` turns two maps into two token grids through layers of self- and cross-encoders,
`DualScaleHead` turns those into a descriptor.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsformer_core.errors import UsageError
from dsformer_core.models.aggregation import make_aggregation
from dsformer_core.models.position_embedding import resize_position_embedding
from dsformer_core.models.registry import DESCRIPTOR_DIM
from dsformer_core.models.relative_position import RelativePositionEncoding

HEAD_DIM = 64
MLP_RATIO = 4
MAX_LAYERS = 4

Grid = tuple[int, int]


def split_heads(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, 3 * C) -> queries, keys and values, each (B, heads, L, HEAD_DIM)."""
    batch, length, width = qkv.shape
    parts = qkv.reshape(batch, length, 3, width // (3 * HEAD_DIM), HEAD_DIM).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts.unbind(0)
    return queries, keys, values


def join_heads(values: Tensor) -> Tensor:
    """(B, heads, L, HEAD_DIM) -> (B, L, C)."""
    return values.transpose(1, 2).flatten(2)


def drop_keys(logits: Tensor, ratio: float) -> Tensor:
    """DropKey: each (query, key) pair is left out of the softmax with probability `ratio`.

    Left out means the most negative finite number of the type, which float16 survives and which leaves a query with no
    key at all a uniform attention instead of NaN.
    """
    dropped = torch.rand(logits.shape, device=logits.device) < ratio
    return logits.masked_fill(dropped, torch.finfo(logits.dtype).min)


class Mlp(nn.Module):
    """Two linear layers with GELU between them: the FFN of equation 2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class SelfEncoder(nn.Module):
    """Tokens of one scale attend to each other (equation 2), knowing where they stand (equation 5)."""

    def __init__(self, dim: int, relative_position: bool, drop_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.position = RelativePositionEncoding(HEAD_DIM) if relative_position else None
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_ratio = drop_ratio

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """(B, L, C) tokens of a grid with L = height * width -> (B, L, C)."""
        tokens = tokens + self.proj(join_heads(self.attend(self.qkv(self.norm1(tokens)), grid)))
        return tokens + self.mlp(self.norm2(tokens))

    def attend(self, qkv: Tensor, grid: Grid) -> Tensor:
        """(B, L, 3 * C) -> (B, heads, L, HEAD_DIM)."""
        queries, keys, values = split_heads(qkv)
        keys = keys * HEAD_DIM**-0.5
        logits = queries @ keys.transpose(-2, -1)
        if self.position is not None:
            logits += self.position.logits(queries, keys, grid)  # in place: the largest tensors there are
        if self.training and self.drop_ratio > 0:
            logits = drop_keys(logits, self.drop_ratio)
        attention = logits.softmax(-1)
        attended = attention @ values
        if self.position is not None:
            attended = attended + self.position.values(attention, grid)
        return attended


class CrossEncoder(nn.Module):
    """Each scale attends to the other (equation 6).

    "Shared" is the attention and its output projection; queries, keys, values, norms and MLPs are per scale. Both
    directions see the tokens as they came in.
    """

    def __init__(self, dim: int, drop_ratio: float) -> None:
        super().__init__()
        self.norms1 = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.qkvs = nn.ModuleList(nn.Linear(dim, 3 * dim) for _ in range(2))
        self.proj = nn.Linear(dim, dim)
        self.norms2 = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.mlps = nn.ModuleList(Mlp(dim) for _ in range(2))
        self.drop_ratio = drop_ratio

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L0, C) and (B, L1, C) -> the same shapes."""
        heads = [split_heads(self.qkvs[i](self.norms1[i](tokens))) for i, tokens in enumerate((fine, coarse))]
        (fine_q, fine_k, fine_v), (coarse_q, coarse_k, coarse_v) = heads
        fine = fine + self.proj(join_heads(self.attend(fine_q, coarse_k, coarse_v)))
        coarse = coarse + self.proj(join_heads(self.attend(coarse_q, fine_k, fine_v)))
        fine = fine + self.mlps[0](self.norms2[0](fine))
        coarse = coarse + self.mlps[1](self.norms2[1](coarse))
        return fine, coarse

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, heads, Lq, HEAD_DIM) and twice (B, heads, Lk, HEAD_DIM) -> (B, heads, Lq, HEAD_DIM)."""
        if self.training and self.drop_ratio > 0:
            logits = queries @ (keys * HEAD_DIM**-0.5).transpose(-2, -1)
            return drop_keys(logits, self.drop_ratio).softmax(-1) @ values
        return F.scaled_dot_product_attention(queries, keys, values)


class DualScaleLayer(nn.Module):
    """A self-encoder per scale, then one cross-encoder between the scales."""

    def __init__(
        self, dim: int, relative_position: bool, self_encoder: bool, cross_encoder: bool, drop_ratio: float
    ) -> None:
        super().__init__()
        scales = range(2 if self_encoder else 0)
        self.self_encoders = nn.ModuleList(SelfEncoder(dim, relative_position, drop_ratio) for _ in scales)
        self.cross_encoder = CrossEncoder(dim, drop_ratio) if cross_encoder else None

    def forward(self, fine: Tensor, coarse: Tensor, fine_grid: Grid, coarse_grid: Grid) -> tuple[Tensor, Tensor]:
        """(B, L0, C) and (B, L1, C) -> the same shapes."""
        if self.self_encoders:
            fine, coarse = self.self_encoders[0](fine, fine_grid), self.self_encoders[1](coarse, coarse_grid)
        if self.cross_encoder is not None:
            fine, coarse = self.cross_encoder(fine, coarse)
        return fine, coarse


class DualScaleFormer(nn.Module):
    """Two feature maps -> two grids of tokens that know of each other (figure 2a).

    Args:
        channels: of the fine and the coarse map.
        grids: height and width of the two maps at the size the model is trained with; other sizes resize the
            position embeddings.
        layers: 0 to 4.
        relative_position: whether self-encoders use the relative position encoding.
        self_encoder: whether layers have self-encoders.
        cross_encoder: whether layers have a cross-encoder.
        drop_ratio: of DropKey, in training only.
        dim: channels of a token, C, a multiple of 64; the smaller of `channels` when None.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        grids: tuple[Grid, Grid],
        layers: int,
        relative_position: bool,
        self_encoder: bool,
        cross_encoder: bool,
        drop_ratio: float,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        if layers not in range(MAX_LAYERS + 1):
            raise UsageError(f"layers must be 0 to {MAX_LAYERS}, not {layers}")
        if not 0 <= drop_ratio < 1:
            raise UsageError(f"drop_ratio must be at least 0 and less than 1, not {drop_ratio}")
        dim = dim or min(channels)
        self.grids = grids
        self.projections = nn.ModuleList(nn.Identity() if c == dim else nn.Linear(c, dim) for c in channels)
        self.positions = nn.ParameterList(nn.Parameter(torch.zeros(1, h * w, dim)) for h, w in grids)
        self.layers = nn.ModuleList(
            DualScaleLayer(dim, relative_position, self_encoder, cross_encoder, drop_ratio) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.apply(_initialise)
        for position in self.positions:
            nn.init.trunc_normal_(position, std=0.02)

    def forward(self, fine_map: Tensor, coarse_map: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C0, H0, W0) and (B, C1, H1, W1) -> maps of tokens, (B, C, H0, W0) and (B, C, H1, W1)."""
        fine, fine_grid = self.embed(0, fine_map)
        coarse, coarse_grid = self.embed(1, coarse_map)
        for layer in self.layers:
            fine, coarse = layer(fine, coarse, fine_grid, coarse_grid)
        fine, coarse = self.norms[0](fine), self.norms[1](coarse)
        return fine.transpose(1, 2).unflatten(2, fine_grid), coarse.transpose(1, 2).unflatten(2, coarse_grid)

    def embed(self, scale: int, feature_map: Tensor) -> tuple[Tensor, Grid]:
        """Equation 1: each position of a map (B, Ci, H, W) becomes a token that knows its place, (B, H * W, C)."""
        height, width = feature_map.shape[-2:]
        tokens = self.projections[scale](feature_map.flatten(2).transpose(1, 2))
        position = resize_position_embedding(self.positions[scale], self.grids[scale], (height, width))
        return tokens + position, (height, width)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class DualScaleHead(nn.Module):
    """Two maps of tokens -> one descriptor: per scale L2 over channels and GeM, then one linear layer over both.

    Args:
        dim: channels of a token, C.
        aggregation: what stands for GeM, one of `AGGREGATIONS`.
        has_class_token: whether there is one for aggregations that need it.
    """

    def __init__(self, dim: int, aggregation: str = "gem", has_class_token: bool = False) -> None:
        super().__init__()
        pools = [make_aggregation(aggregation, dim, has_class_token) for _ in range(2)]
        self.pools = nn.ModuleList(pools)
        self.fc = nn.Linear(sum(pool.outputs(dim) for pool in pools), DESCRIPTOR_DIM)

    def forward(self, scales: Sequence[Tensor], class_token: Tensor | None = None) -> Tensor:
        """Two of (B, C, H, W), (B, C) -> (B, 512), unit L2 norm."""
        pooled = [
            pool(F.normalize(tokens, dim=1), class_token) for pool, tokens in zip(self.pools, scales, strict=True)
        ]
        return F.normalize(self.fc(torch.cat(pooled, dim=-1)), dim=-1)
