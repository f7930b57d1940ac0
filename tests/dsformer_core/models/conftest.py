"""Networks of a hundred million numbers take both cores of a test machine."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def both_cores() -> Iterator[None]:
    """Two threads for the tests of this folder, unless the suite's processes have a core each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    yield
    torch.set_num_threads(before)
