"""What the installation commands rely on: versions that go together, on workstations and on robots."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOO_OLD_IN_APT = {"pillow", "rich"}
"""Of Ubuntu 22.04."""


def pinned(name: str) -> dict[str, str]:
    lines = (line.split("#")[0].partition(";")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def test_robots_keep_the_numpy_that_their_apt_packages_were_built_for() -> None:
    robot, workstation = pinned("constraints-robot.txt"), pinned("constraints.txt")
    assert robot.pop("numpy").startswith("1.26.")
    assert robot.items() <= workstation.items(), "the rest is what the tests run with"


def test_the_robot_s_recipe_holds_every_package_that_it_installs() -> None:
    (command,) = re.findall(r"pip install .*-c src/dsformer_ros/(\S+) (.*)", (ROOT / "README.md").read_text())
    assert command[0] == "constraints-robot.txt"
    assert set(command[1].split()) <= pinned("constraints-robot.txt").keys()


def test_every_recipe_for_robots_installs_the_same() -> None:
    """apt brings the others; what it brings too old must come from pip everywhere."""
    readme = re.findall(r"pip install .*-c \S+ (.*)", (ROOT / "README.md").read_text())
    jetson = re.findall(r"pip install .*-c \S+ (.*)", (ROOT / "docs/jetson.md").read_text())
    docker = re.findall(r"--constraint \S+ \\\n(.*) \\\n", (ROOT / "docker/Dockerfile.jetson").read_text())
    (robot,), (board,), (image,) = ([set(packages.split()) for packages in found] for found in (readme, jetson, docker))
    assert robot >= TOO_OLD_IN_APT
    # PyTorch comes from an index of its own there; engines are built there.
    assert board == image == robot - {"torch", "torchvision"} | {"onnxruntime"}
