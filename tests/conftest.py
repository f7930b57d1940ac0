"""What every test may use."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.made_once import made_once

# How long an example takes says more of what else the machine does than of the example.
settings.register_profile("calm", settings(), deadline=None)
settings.load_profile("calm")

# Before numpy, torch or OpenCV are imported: two cores are all a test machine has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# How wide a terminal is says the test that has one; pytest-xdist would tell its processes of the suite's.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# A suite that a shell started in the background ignores Ctrl-C, and would hand that on to the processes it interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Folders whose files take longest.
LONG = {"training", "models", "export", "evaluation", "building", "benchmark"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The node's tests first, which wait more than they reckon; short ones last, so that processes end together."""
    items.sort(key=lambda item: 0 if "dsformer_ros" in item.path.parts else 1 if LONG & set(item.path.parts) else 2)


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """What networks keep from the system for their next batch (`models.inference`) would add up over the suite."""
    yield
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of fixtures and real pictures that stands beside a checkout; absent on most machines."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return folder


@pytest.fixture(scope="session")
def unseen_town(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Drives through a town that nothing was trained on, rendered once for all who ask (`unseen_town.py`)."""
    from tests.unseen_town import read_drives, write_drives

    return read_drives(made_once(tmp_path_factory, "unseen_town.npz", write_drives))
