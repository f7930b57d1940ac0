"""One map of each kind of index."""

import numpy as np
import pytest

from dsformer_core.place_map import IndexRequest, PlaceMap
from tests.indexed_maps import COUNT, FACTORIES, KINDS, places
from tests.synthetic import ORIGIN, write_map


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PlaceMap]:
    folder, descriptors = tmp_path_factory.mktemp("maps"), places(COUNT)
    utm = ORIGIN + np.random.default_rng(1).uniform(-500, 500, (COUNT, 2))
    requests = {kind: IndexRequest(kind, factory=FACTORIES.get(kind)) for kind in KINDS}
    return {kind: write_map(folder / f"{kind}.map", descriptors, utm, index=requests[kind]) for kind in KINDS}
