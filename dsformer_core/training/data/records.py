"""Records of a partition -> views of groups."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dsformer_core.training.data.class_pictures import ClassPictures

Array = npt.NDArray[np.float64]
Starts = npt.NDArray[np.int64]
"""(K + 1,): where each of K classes begins in records that are ordered by class, and their number at the end."""

MakeView = Callable[[str, pa.Table, Starts], ClassPictures]
"""(name, records, starts) -> view."""


def group_views(table: pa.Table, make: MakeView) -> list[list[ClassPictures]]:
    """Per group its views, lateral before frontal. Views without a class, and groups without a view, are left out.

    Args:
        table: with the columns group, class, angle and row.
        make: makes a view of its name, of its records ordered by class and row, and of where classes begin.
    """
    groups = []
    for group in np.unique(table["group"]).tolist():
        of_group = table.filter(pc.equal(table["group"], group))
        views = []
        for angle in np.unique(of_group["angle"]).tolist():
            records = of_group.filter(pc.equal(of_group["angle"], angle))
            records = records.sort_by([("class", "ascending"), ("row", "ascending")]).combine_chunks()
            views.append(make(f"group {group}, angle {angle}", records, class_starts(records["class"].to_numpy())))
        groups.append(views)
    return groups


def class_starts(classes: npt.NDArray[np.integer]) -> Starts:
    """Where classes begin in (N,) class numbers in ascending order."""
    return np.concatenate([[0], np.flatnonzero(np.diff(classes)) + 1, [len(classes)]]).astype(np.int64)


def columns(table: pa.Table, *names: str) -> Array:
    """Columns of a table as one array, (N, len(names))."""
    return np.column_stack([table[name].to_numpy() for name in names])


def single_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
