"""ONNX Runtime's TensorRT provider: what it is told. Nothing here runs it, for want of a GPU."""

import os
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from dsformer_core.errors import DsformerError
from dsformer_core.runtimes import Exported
from dsformer_core.runtimes.exported import Int8Recall
from dsformer_core.runtimes.onnx_runtime import OnnxNetwork
from dsformer_core.runtimes.tensorrt_provider import provider_options


@pytest.fixture
def about(onnx_file: Path) -> Exported:
    metadata = {one.key: one.value for one in onnx.load(onnx_file).metadata_props}
    return Exported.from_metadata(metadata, str(onnx_file))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before, and after."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")


def test_one_engine_is_for_all_batches_and_kept_beside_the_file(about: Exported, tmp_path: Path) -> None:
    options = provider_options(about, tmp_path / "m.onnx", 1)
    assert {name: value for name, value in options.items() if "profile" in name} == {
        "trt_profile_min_shapes": "images:1x3x224x224",
        "trt_profile_opt_shapes": "images:1x3x224x224",
        "trt_profile_max_shapes": "images:8x3x224x224",
    }
    assert options["device_id"] == "1" and options["trt_engine_cache_enable"] == "1"
    assert Path(options["trt_engine_cache_path"]) == tmp_path / "m.onnx.trt"
    assert (tmp_path / "m.onnx.trt").is_dir()


@pytest.mark.parametrize(("precision", "half", "tf32"), [("float32", "0", "0"), ("float16", "1", "1")])
def test_it_computes_in_the_precision_of_the_file(
    about: Exported, tmp_path: Path, precision: str, half: str, tf32: str
) -> None:
    options = provider_options(replace(about, precision=precision), tmp_path / "m.onnx", 0)
    assert options["trt_fp16_enable"] == half
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == tf32


def test_int8_is_for_engines_which_are_measured(about: Exported, tmp_path: Path) -> None:
    int8 = replace(about, precision="int8", int8=Int8Recall("town", "", 300, 0.9, 0.9, 100, "all", "tensorrt"))
    with pytest.raises(DsformerError, match=r"m\.onnx is INT8.*`dsformer export --tensorrt --map`"):
        provider_options(int8, tmp_path / "m.onnx", 0)
    assert not list(tmp_path.iterdir())


def test_where_no_engine_can_be_kept_none_is_built(about: Exported, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.trt").write_text("in its way")
    with pytest.raises(DsformerError, match=r"m\.onnx\.trt: cannot be written to") as caught:
        provider_options(about, tmp_path / "m.onnx", 0)
    assert "\n" not in str(caught.value)


def test_larger_batches_are_computed_in_parts_of_what_the_engine_takes(onnx_file: Path) -> None:
    network = OnnxNetwork(onnx_file, device="cpu")
    images = torch.randn(5, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    whole, _ = network(images)
    asked: list[int] = []
    compute = network._on_cpu

    def noting(part: torch.Tensor) -> list[torch.Tensor]:
        asked.append(len(part))
        return compute(part)

    network._on_cpu, network._most_at_once = noting, 2  # type: ignore[method-assign]
    parts, signs = network(images)
    assert asked == [2, 2, 1] and signs is None
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
