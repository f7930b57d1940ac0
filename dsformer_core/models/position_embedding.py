"""Learned absolute position embeddings, for token grids of any size."""

import torch.nn.functional as F
from torch import Tensor


def resize_position_embedding(
    embedding: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], offset: float = 0.0
) -> Tensor:
    """Resizes (bicubic) the position embedding of a token grid to another grid.

    Args:
        embedding: (1, height * width, C), row by row.
        grid: height and width it was learned for.
        new_grid: height and width it is needed for.
        offset: added to the new height and width where the scale of the resampling is computed, not to its result.
            DINOv2's position embeddings are resampled with 0.1, and the released weights were trained so.

    Returns:
        (1, new height * new width, C).
    """
    if grid == new_grid:
        return embedding
    (height, width), (new_height, new_width) = grid, new_grid
    scale = ((new_height + offset) / height, (new_width + offset) / width)
    planes = embedding.reshape(1, height, width, -1).permute(0, 3, 1, 2).float()
    if offset:
        planes = F.interpolate(planes, scale_factor=scale, mode="bicubic", align_corners=False)
    else:
        planes = F.interpolate(planes, size=new_grid, mode="bicubic", align_corners=False)
    return planes.flatten(2).transpose(1, 2).to(embedding.dtype)
