"""The MATLAB tables in which NetVLAD's authors publish Pittsburgh and Tokyo 24/7: `dbStruct`, read by its place.

dbStruct(1) set, (2) reference files, (3) their UTM, 2 x N, (4) query files, (5) their UTM, ...
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.evaluation.datasets.layout import LayoutError

_REFERENCES, _QUERIES = 1, 3


@dataclass(frozen=True, eq=False)
class Table:
    """File names as the table has them, and their positions (N, 2) in metres."""

    references: list[str]
    reference_utm: npt.NDArray[np.float64]
    queries: list[str]
    query_utm: npt.NDArray[np.float64]


def read_table(path: Path) -> Table:
    """Reads one table.

    Raises:
        LayoutError: the file is not such a table.
    """
    from scipy.io import loadmat

    try:
        struct = loadmat(path)["dbStruct"].item()
        sides = [
            ([str(cell[0].item()) for cell in struct[first]], np.asarray(struct[first + 1], np.float64).T)
            for first in (_REFERENCES, _QUERIES)
        ]
    except (OSError, KeyError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise LayoutError(f"{path} is not one of NetVLAD's tables ({error})") from error
    for names, utm in sides:
        if utm.shape != (len(names), 2):
            raise LayoutError(f"{path}: {len(names)} file names with positions of shape {utm.shape}")
    return Table(sides[0][0], sides[0][1], sides[1][0], sides[1][1])
