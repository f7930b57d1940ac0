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
from dsformer_core.runtimes.tensorrt_provider import engine_folder, provider_options


@pytest.fixture
def about(onnx_file: Path) -> Exported:
    metadata = {one.key: one.value for one in onnx.load(onnx_file).metadata_props}
    return Exported.from_metadata(metadata, str(onnx_file))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it was before, and after."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setenv("DSFORMER_ENGINES", str(tmp_path / "engines"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(b"a network")
    return tmp_path / "m.onnx"


def test_one_engine_is_for_all_batches(about: Exported, file: Path) -> None:
    options = provider_options(about, file, 1)
    assert {name: value for name, value in options.items() if "profile" in name} == {
        "trt_profile_min_shapes": "images:1x3x224x224",
        "trt_profile_opt_shapes": "images:1x3x224x224",
        "trt_profile_max_shapes": "images:8x3x224x224",
    }
    assert options["device_id"] == "1" and options["trt_engine_cache_enable"] == "1"


def test_engines_are_kept_where_nobody_else_can_write_by_what_is_in_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine is code: none that came with a file is loaded, nor one of another file of its name."""
    (file.parent / "m.onnx.trt").mkdir()
    first = engine_folder(file)
    assert first.parent == file.parent / "engines" and first.stat().st_mode & 0o777 == 0o700
    file.write_bytes(b"another network")
    assert engine_folder(file).parent == first.parent and engine_folder(file) != first
    file.write_bytes(b"a network")
    assert engine_folder(file.rename(file.parent / "n.onnx")) == first
    monkeypatch.delenv("DSFORMER_ENGINES")
    monkeypatch.setenv("HOME", str(file.parent / "home"))
    assert engine_folder(file.parent / "n.onnx").parent == file.parent / "home/.cache/dsformer/engines"


def test_a_folder_that_others_can_write_to_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = engine_folder(file)
    folder.chmod(0o770)
    with pytest.raises(DsformerError, match="others can write to it, and engines are code") as caught:
        engine_folder(file)
    assert "\n" not in str(caught.value)
    folder.chmod(0o755)
    assert engine_folder(file) == folder
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(DsformerError, match="others can write to it"):
        engine_folder(file)


@pytest.mark.parametrize(("precision", "half", "tf32"), [("float32", "0", "0"), ("float16", "1", "1")])
def test_it_computes_in_the_precision_of_the_file(
    about: Exported, file: Path, precision: str, half: str, tf32: str
) -> None:
    options = provider_options(replace(about, precision=precision), file, 0)
    assert options["trt_fp16_enable"] == half
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == tf32


def test_int8_is_for_engines_which_are_measured(about: Exported, tmp_path: Path) -> None:
    int8 = replace(about, precision="int8", int8=Int8Recall("town", "", 300, 0.9, 0.9, 100, "all", "tensorrt"))
    with pytest.raises(DsformerError, match=r"m\.onnx is INT8.*`dsformer export --tensorrt --map`"):
        provider_options(int8, tmp_path / "m.onnx", 0)
    assert not list(tmp_path.iterdir())


def test_where_no_engine_can_be_kept_none_is_built(about: Exported, file: Path) -> None:
    (file.parent / "engines").write_text("in its way")
    with pytest.raises(
        DsformerError, match=r"m\.onnx: the engine built of it cannot be kept.* in DSFORMER_ENGINES"
    ) as caught:
        provider_options(about, file, 0)
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
