"""Where the files lie that are installed beside the code: the sample map, the configuration, the launch files."""

import sys
from contextlib import suppress
from pathlib import Path

from dsformer_core.errors import DsformerError

PACKAGE = "dsformer_ros"
SAMPLE_MAP = Path("maps") / "sample"


def share_directory() -> Path:
    """The package's share directory: of a colcon workspace, of a pip environment, or the source tree itself.

    Raises:
        DsformerError: the package was copied here without its data files.
    """
    candidates = [Path(sys.prefix) / "share" / PACKAGE, Path(__file__).resolve().parents[1]]
    # Without a sourced ROS workspace, or with one that lacks this package, the others remain.
    with suppress(ImportError, LookupError, OSError):
        from ament_index_python.packages import get_package_share_directory

        candidates.insert(0, Path(get_package_share_directory(PACKAGE)))
    for candidate in candidates:
        if (candidate / "config" / "localizer.yaml").is_file():
            return candidate
    raise DsformerError(f"the data files of {PACKAGE} are not installed: looked in {', '.join(map(str, candidates))}")
