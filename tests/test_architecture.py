"""The rules of docs/architecture.md that a program can check."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.synthetic import unit, write_map

ROOT = Path(__file__).resolve().parents[1]
ROS = {"rclpy", "sensor_msgs", "geometry_msgs", "nav_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "dsformer_ros"}

# A module may import those of its own layer and of the layers after it.
LAYERS = [
    {"cli"},
    {"training"},
    {"evaluation", "benchmark", "export"},
    {"localization"},
    {"place_map"},
    {"clustering"},
    {"extractor", "network_input", "sources", "sample_world", "pages", "charts"},
    {"runtimes"},
    {"models", "pictures", "panoramas", "image_messages", "geodesy", "tangent_plane", "mounting"}
    | {"ordered_map", "staging", "lock", "errors", "described", "arithmetic", "picture_quality", "cores", "devices"}
    | {"stamps"},
]

# The same among the parts of the place map; what is beside them, the map itself, is under all but the indexes.
PLACE_MAP_LAYERS = [{"exports", "inspection", "changes"}, {"building"}, {"indexes"}]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def layer(part: str) -> int:
    return next(depth for depth, parts in enumerate(LAYERS) if part in parts)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "dsformer_core").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_core_imports_no_ros_and_nothing_above_itself(path: Path) -> None:
    imported = imports(path)
    assert not {name.split(".")[0] for name in imported} & ROS
    own = path.relative_to(ROOT / "dsformer_core").with_suffix("").parts[0]
    if own != "__init__":
        parts = {name.split(".")[1] for name in imported if name.startswith("dsformer_core.")}
        upward = {part for part in parts if layer(part) < layer(own)}
        assert not upward, f"{own} imports {upward}, which lie above it"


@pytest.mark.parametrize("part", ["building", "indexes"])
def test_no_part_of_the_place_map_imports_one_above_itself(part: str) -> None:
    own = next(depth for depth, parts in enumerate(PLACE_MAP_LAYERS) if part in parts)
    above = {f"dsformer_core.place_map.{name}" for parts in PLACE_MAP_LAYERS[:own] for name in parts}
    if part == "indexes":
        above.add("dsformer_core.place_map.place_map")
    for path in (ROOT / "dsformer_core" / "place_map" / part).rglob("*.py"):
        upward = {name for name in imports(path) if name.startswith(tuple(above))}
        assert not upward, f"{path.name} imports {upward}, which lie above it"


def test_the_core_works_where_there_is_no_ros() -> None:
    """Not only does no file name it: nothing that is imported brings it in."""
    script = (
        "import sys, dsformer_core.cli.map, dsformer_core.cli.localize, dsformer_core.localization;"
        "sys.exit(any(name.split('.')[0] == 'rclpy' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_maps_are_opened_and_searched_without_a_network() -> None:
    """Loading PyTorch takes seconds, which `dsformer map info` and its like need not spend."""
    script = (
        "import sys, dsformer_core.place_map, dsformer_core.localization.queries;"
        "import dsformer_core.place_map.changes.merging;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_maps_are_opened_without_what_searches_and_builds_them(tmp_path: Path) -> None:
    """Each of these costs more memory than all else that opening needs beside Arrow."""
    random = np.random.default_rng(0)
    for kind in ("flat_fp16", "binary"):
        write_map(
            tmp_path / kind, unit(random.normal(size=(20, 512))), random.uniform(4e5, 4.01e5, (20, 2)), index=kind
        )
    script = (
        "import sys; from dsformer_core.place_map import PlaceMap;"
        "opened = [len(PlaceMap.open(directory)) for directory in sys.argv[1:]];"
        "found = {name.split('.')[0] for name in sys.modules} & {'torch', 'faiss', 'scipy', 'cv2', 'PIL'};"
        "sys.exit(', '.join(found) or opened != [20, 20])"
    )
    directories = [str(tmp_path / kind) for kind in ("flat_fp16", "binary")]
    done = subprocess.run([sys.executable, "-c", script, *directories], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_versions_agree() -> None:
    import re
    from importlib.metadata import version

    in_package_xml = re.search(r"<version>(.*)</version>", (ROOT / "package.xml").read_text())
    assert in_package_xml
    assert in_package_xml[1] == version("dsformer_ros")
