"""An ONNX file computes what PyTorch computes, for batches of any size, and says what it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.export import export_onnx
from dsformer_core.export import onnx_file as onnx_file_module
from dsformer_core.export.onnx_file import write_onnx
from dsformer_core.extractor import Extractor
from dsformer_core.models import DescriptorModel, create_model
from dsformer_core.runtimes import Exported
from dsformer_core.runtimes.exported import probe_input
from tests.dsformer_core.export.conftest import MODEL
from tests.dsformer_core.export.small_network import ABOUT, Small, small


def pictures(count: int, side: int = 300) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (side, side + 40, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_it_computes_the_same(onnx_file: Path, exact: Extractor, batch_size: int) -> None:
    found = Extractor(MODEL, onnx_file).extract(pictures(7), batch_size=batch_size)
    np.testing.assert_allclose(found, exact.extract(pictures(7)), atol=1e-4)


def test_codes_are_a_second_output(tiny_with_codes: tuple[Path, Exported, DescriptorModel]) -> None:
    path, exported, network = tiny_with_codes
    expected = Extractor.of_model(network, "dsformer_tiny").describe(pictures(3))
    extractor = Extractor("dsformer_tiny", path)
    found = extractor.describe(pictures(3))
    assert extractor.code_bytes == exported.code_bytes == 64
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-4)
    assert found.codes is not None and expected.codes is not None
    # A number at zero may fall on either side.
    assert np.unpackbits(found.codes ^ expected.codes).sum() <= 3


def test_it_says_what_it_is_to_any_tool(onnx_file: Path, exact: Extractor) -> None:
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert len(metadata) == len(model.metadata_props)
    assert metadata["model"] == MODEL and metadata["weights_sha256"] == exact.weights_sha256
    assert json.loads(metadata["size"]) == [224, 224] and json.loads(metadata["descriptor_dim"]) == 512
    assert 0 <= float(metadata["difference"]) <= 1e-4
    assert metadata["opset"] == str(model.opset_import[0].version) == "20"
    assert "RGB" in metadata["input"] and metadata["precision"] == "float32"
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param and not batch.dim_value


def test_it_serves_programs_that_know_nothing_of_ours(onnx_file: Path, exact: Extractor) -> None:
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    (descriptors,) = session.run(None, {"images": np.repeat(probe_input(exact.preprocessing), 5, axis=0)})
    assert descriptors.shape == (5, 512) and descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-5)


def test_the_batch_of_vision_transformers_and_of_boq_stays_open() -> None:
    """`len` of a tensor once fixed it."""
    batch = ({0: torch.export.Dim.DYNAMIC},)
    model = create_model("selavprpp_base", blocks=1, aggregation="boq")
    program = torch.export.export(model, (torch.zeros(2, 3, 56, 56),), dynamic_shapes=batch, strict=False)
    assert program.module()(torch.zeros(3, 3, 56, 56)).shape[0] == 3


def test_a_file_that_computes_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights change between what is compared with and what is traced."""
    trace = onnx_file_module._trace

    def traced_after_a_change(network: Small, opset: int, precision: str) -> object:
        network.convolution.weight[:100] *= 1.5
        return trace(network, opset, precision)

    monkeypatch.setattr(onnx_file_module, "_trace", traced_after_a_change)
    with pytest.raises(DsformerError, match=r"mine\.onnx was not written: at batch size 1 .* differ .* allows 1e-04"):
        write_onnx(small(), tmp_path / "mine.onnx", opset=20, precision="float32", about=ABOUT)
    assert not list(tmp_path.iterdir())


def test_a_killed_export_leaves_no_file(tmp_path: Path) -> None:
    script = """
import os, signal
from pathlib import Path
from dsformer_core.export.onnx_file import write_onnx
from tests.dsformer_core.export.small_network import ABOUT, small

def killed(step, done, total):
    if step == "comparing with PyTorch":
        os.kill(os.getpid(), signal.SIGKILL)

write_onnx(small(), Path("killed.onnx"), opset=20, precision="float32", about=ABOUT, on_progress=killed)
"""
    root = str(Path(__file__).resolve().parents[3])
    environment = os.environ | {"PYTHONPATH": root}
    finished = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=False)
    assert finished.returncode == -9
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


def test_half_precision_keeps_to_its_own_tolerance(tmp_path: Path) -> None:
    exported = write_onnx(small(), tmp_path / "half.onnx", opset=20, precision="float16", about=ABOUT)
    assert 0 < exported.difference <= 1e-2
    model = onnx.load(tmp_path / "half.onnx")
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": "m.pt"}, "must end in .onnx"),
        ({"opset": 12}, "opset 12: choose 18 to 23"),
        ({"precision": "int8"}, "no precision 'int8'"),
        ({"model": "resnet"}, "no model is called"),
        ({"output": "missing/m.onnx"}, "no such folder"),
        ({"output": "there.onnx"}, "exists: choose another name, or say --overwrite"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(tmp_path: Path, arguments: dict[str, str], message: str) -> None:
    (tmp_path / "there.onnx").write_bytes(b"mine")
    model, output = arguments.pop("model", MODEL), tmp_path / arguments.pop("output", "m.onnx")
    with pytest.raises(UsageError, match=message) as caught:
        export_onnx(model, "untrained", output, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_without_the_libraries_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(DsformerError, match=r"onnxscript is not installed: pip install 'dsformer_ros\[export\]'"):
        export_onnx(MODEL, "untrained", tmp_path / "m.onnx")
