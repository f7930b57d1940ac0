"""What several tests of the evaluation use."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dsformer_core.evaluation import Benchmark, Evaluation, Pictures
from dsformer_core.evaluation.search_cost import Cost
from dsformer_core.extractor import Extractor


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return Extractor("gem_mobilenet_v2", "untrained", device="cpu")


def made_up(
    database: np.ndarray, queries: np.ndarray, rows: np.ndarray, similarities: np.ndarray | None = None, **more: object
) -> Evaluation:
    """An evaluation with given positions and matches."""
    benchmark = Benchmark(
        "made up",
        "none",
        Pictures(Path("/database"), names(len(database)), np.asarray(database, float)),
        Pictures(Path("/queries"), names(len(queries)), np.asarray(queries, float)),
        **more,  # type: ignore[arg-type]
    )
    if similarities is None:
        similarities = np.linspace(1, 0, rows.size).reshape(rows.shape)
    cost = Cost(bytes_per_reference=2048, seconds_per_query=0.001)
    return Evaluation(benchmark, "model", "weights", "0" * 64, "float", cost, rows, similarities.astype(np.float32))


def names(count: int) -> Sequence[str]:
    return [f"{number:06d}.jpg" for number in range(count)]
