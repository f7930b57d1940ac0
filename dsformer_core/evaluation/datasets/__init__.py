"""Data sets by name. A new one is one file here with a list of `Dataset`, and one line in `_MODULES`."""

import difflib
from pathlib import Path

from dsformer_core.errors import UsageError
from dsformer_core.evaluation.benchmark import RIGHT_WITHIN_M, Benchmark
from dsformer_core.evaluation.datasets import msls, nordland, pittsburgh, sf_xl, tokyo247
from dsformer_core.evaluation.datasets.dataset import Dataset
from dsformer_core.evaluation.datasets.folders import open_folder_pair
from dsformer_core.geodesy import UtmZone

_MODULES = (msls, pittsburgh, tokyo247, nordland, sf_xl)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for module in _MODULES for dataset in module.DATASETS}


def open_benchmark(
    name_or_path: str | Path,
    root: str | Path | None = None,
    *,
    radius: float | None = None,
    zone: UtmZone | None = None,
) -> Benchmark:
    """A data set by name, or any folder with `database/` and `queries/` in it.

    Args:
        name_or_path: one of `DATASETS`, or a folder whose pictures carry positions in '@' names or EXIF.
        root: where data sets lie; needed for those with a name.
        radius: metres within which a reference is right, for a folder (25 when None); named data sets have their own.
        zone: of '@' names that give UTM coordinates without a zone, for a folder.

    Raises:
        UsageError: there is no such data set, `root` is missing, or `radius` or `zone` is given for one with a name.
        LayoutError: the data set is not below `root`; says what was looked for and where to get it.
    """
    dataset = DATASETS.get(str(name_or_path))
    if dataset is not None:
        if root is None:
            raise UsageError(f"{dataset.name} is a data set: say below which folder it lies, --root DIR")
        if not Path(root).is_dir():
            raise UsageError(f"{root}: no such folder to look for {dataset.name} in")
        if radius is not None or zone is not None:
            raise UsageError(f"{dataset.name} has a protocol: neither a radius nor a zone can be chosen")
        return dataset.open(Path(root))
    folder = Path(name_or_path) if root is None else Path(root) / name_or_path
    if not folder.exists():
        close = difflib.get_close_matches(str(name_or_path), DATASETS) or list(DATASETS)
        raise UsageError(
            f"{name_or_path} is neither a data set nor a folder with database/ and queries/; data sets: "
            f"{', '.join(close)}"
        )
    return open_folder_pair(folder, radius=radius or RIGHT_WITHIN_M, zone=zone)
