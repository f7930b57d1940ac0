"""The node's program, with a network that takes 200 ms longer for each picture, or as long as NETWORK_SECONDS says.

Only what warms it up takes as long as ever, lest tests wait for that.
"""

import os
import sys
import time
from typing import Any

from dsformer_core.extractor import Extractor
from dsformer_ros.localizer_node import main

NETWORK_SECONDS = float(os.environ.get("NETWORK_SECONDS", "0.2"))

describe = Extractor.describe
warm: set[Extractor] = set()


def slowly(extractor: Extractor, *arguments: Any, **options: Any) -> Any:
    time.sleep(NETWORK_SECONDS * (extractor in warm))
    warm.add(extractor)
    return describe(extractor, *arguments, **options)


if __name__ == "__main__":
    Extractor.describe = slowly  # type: ignore[method-assign]
    sys.exit(main())
