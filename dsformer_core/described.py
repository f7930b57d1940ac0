"""What a network says of pictures: descriptors, and codes where it has a hash branch.

Apart from networks, so that maps are opened, searched and changed without loading PyTorch.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Descriptors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

CODE_BITS = 512
CODE_BYTES = CODE_BITS // 8


@dataclass(frozen=True, eq=False)
class Described:
    """What a network says of N pictures.

    Attributes:
        descriptors: (N, D) float32, unit L2 norm.
        codes: (N, 64) uint8, the signs of the hash branch, eight to a byte; None where the network has none.
    """

    descriptors: Descriptors
    codes: Codes | None = None

    def __len__(self) -> int:
        return len(self.descriptors)

    def __getitem__(self, row: int) -> "Described":
        """One of the pictures, still with N = 1."""
        one = slice(row, row + 1)
        return Described(self.descriptors[one], None if self.codes is None else self.codes[one])
