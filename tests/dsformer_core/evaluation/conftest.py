"""What several tests of the evaluation use."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsformer_core.evaluation import Benchmark, Evaluation, Pictures
from dsformer_core.evaluation.search_cost import Cost
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel, create_model
from dsformer_core.models.checkpoint import save_checkpoint


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return Extractor("gem_mobilenet_v2", "untrained", device="cpu")


@pytest.fixture(scope="session")
def hashing_model() -> DescriptorModel:
    """A network with a hash branch that was not trained, but set so that codes differ where pictures do."""
    torch.manual_seed(0)
    model = create_model("dsformer_tiny", "rendered-towns", variant="rerank", to_train=True).eval()
    assert model.hash_branch is not None
    last, seen = model.hash_branch.fc, []
    looking = last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model.hash_floats(F.interpolate(torch.randn(16, 3, 6, 8), model.preprocessing.size, mode="bicubic"))
        looking.remove()
        last.bias.copy_(-last.weight @ seen[0].mean(dim=0))
    return model


@pytest.fixture(scope="session")
def hashing_weights(hashing_model: DescriptorModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "hashing.safetensors"
    save_checkpoint(hashing_model, path)
    return path


@pytest.fixture(scope="session")
def hashing_extractor(hashing_weights: Path) -> Extractor:
    """Gives codes beside descriptors."""
    return Extractor("dsformer_tiny", hashing_weights, device="cpu")


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
