"""What tests of the training share."""

from pathlib import Path

import pytest
import yaml

from tests.dsformer_core.training.places import SIDE, write_places


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partition to read, not to change."""
    return write_places(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="session")
def small_recipe() -> str:
    """A recipe that a slow core runs in seconds: GeM over MobileNetV2 at 64 x 64, random weights."""
    values = {
        "model": {"name": "gem_mobilenet_v2", "freeze": [f"features.{i}" for i in range(15)]},
        "data": {"size": [SIDE, SIDE], "workers": 0},
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {
            "epochs": 2,
            "iterations_per_epoch": 4,
            "batch_size": 4,
            "precision": "float32",
            "log_every": 1,
            "save_every": 2,
        },
    }
    return yaml.safe_dump(values)


@pytest.fixture
def recipe_file(tmp_path: Path, small_recipe: str) -> Path:
    """`small_recipe` as a file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(small_recipe)
    return path
