"""A town small enough to be built and looked at in seconds."""

import cv2
import pytest

from dsformer_core.sample_world import Town, make_town

SIZE_M = 150.0


@pytest.fixture(scope="package")
def town() -> Town:
    cv2.setNumThreads(1)
    return make_town(4, SIZE_M)
