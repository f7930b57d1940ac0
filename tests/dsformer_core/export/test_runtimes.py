"""Extractor over exported files: chosen by the file, checked when opened, refused in one line where they do not fit."""

import ctypes
import json
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dsformer_core.cli.main import main
from dsformer_core.cli.optimize_argument import say_what_starting_took
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import Extractor
from dsformer_core.runtimes import Exported, choose_runtime
from dsformer_core.runtimes.engine_file import MAGIC, EngineFile, EngineKey
from dsformer_core.runtimes.exported import Int8Recall, probe_input
from dsformer_core.runtimes.onnx_runtime import OnnxNetwork, open_session
from dsformer_core.runtimes.tensorrt_runtime import TensorRTNetwork
from tests.dsformer_core.export.conftest import MODEL


def test_the_file_chooses_the_runtime() -> None:
    assert choose_runtime("m.onnx") == "onnx"
    assert choose_runtime(Path("m.engine")) == choose_runtime("m.plan") == "tensorrt"
    assert choose_runtime("m.safetensors") == choose_runtime("official") == choose_runtime(None) == "torch"
    assert choose_runtime("m.ONNX", "onnx") == "onnx"


@pytest.mark.parametrize(
    ("weights", "runtime", "message"),
    [
        ("m.onnx", "torch", "is for the runtime onnx, not torch"),
        ("m.engine", "onnx", "is for the runtime tensorrt, not onnx"),
        ("official", "onnx", "reads .onnx files that `dsformer export` writes"),
        ("auto", "tensorrt", "reads .engine files"),
        ("auto", "caffe", "no runtime 'caffe'; choose one of: auto, torch, onnx, tensorrt"),
        ("missing.onnx", "auto", "missing.onnx: no such file"),
    ],
)
def test_what_does_not_go_together_is_refused(weights: str, runtime: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Extractor(MODEL, weights, runtime=runtime)


def test_it_is_an_extractor_like_any_other(onnx_file: Path, exact: Extractor) -> None:
    extractor = Extractor(MODEL, onnx_file, threads=1)
    assert (extractor.runtime, exact.runtime) == ("onnx", "torch")
    for name in ("model_name", "weights", "weights_sha256", "preprocessing", "descriptor_dim", "code_bytes"):
        assert getattr(extractor, name) == getattr(exact, name)
    assert (str(extractor.device), extractor.precision) == ("cpu", "float32")
    assert extractor.computing == "float32 by onnx" and exact.computing == "float32 by torch, optimize safe"
    assert extractor.arithmetic.agrees and 0 <= (extractor.arithmetic.agreement or 0) <= 1e-4


def test_a_file_is_as_it_was_exported_whatever_optimize_says(
    onnx_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extractor = Extractor(MODEL, onnx_file, optimize="max")
    say_what_starting_took(extractor)
    assert "optimize" not in extractor.computing and not capsys.readouterr().err
    levels = ["--optimize", "off", "safe", "max", "--json", "--repeats", "1"]
    assert main(["benchmark", "--model", MODEL, "--weights", str(onnx_file), *levels]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["optimize"], row["runtime"], row["precision"]) == ("as exported", "onnx", "float32")


def test_threads_reach_onnx_runtime(onnx_file: Path) -> None:
    session = open_session(onnx_file, threads=2)
    assert session.get_session_options().intra_op_num_threads == 2


def test_other_models_and_precisions_are_refused(onnx_file: Path) -> None:
    with pytest.raises(UsageError, match="holds a gem_mobilenet_v2, not a dsformer_tiny"):
        Extractor("dsformer_tiny", onnx_file)
    with pytest.raises(UsageError, match="computes in float32, not in float16"):
        Extractor(MODEL, onnx_file, precision="float16")


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "gpu"])
def test_devices_that_are_not_here_are_refused(onnx_file: Path, device: str) -> None:
    if torch.cuda.is_available() and device != "gpu":
        pytest.skip("they are here")
    with pytest.raises(DsformerError, match=f"device '?{device}'?") as caught:
        Extractor(MODEL, onnx_file, device=device)
    assert "\n" not in str(caught.value)


def test_damaged_and_foreign_files_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx_file.read_bytes()
    path = tmp_path / "m.onnx"
    for damaged in (content[: len(content) // 2], b"no network", b""):
        path.write_bytes(damaged)
        with pytest.raises(DsformerError, match=r"m\.onnx") as caught:
            Extractor(MODEL, path)
        assert "\n" not in str(caught.value)
    foreign = onnx.load(onnx_file)
    del foreign.metadata_props[:]
    onnx.save(foreign, path)
    with pytest.raises(DsformerError, match="was not made by `dsformer export`"):
        Extractor(MODEL, path)


def test_a_weight_that_changed_is_noticed(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights = np.frombuffer(largest.raw_data, np.float32).copy()
    weights[: len(weights) // 100] = 9.0
    largest.raw_data = weights.tobytes()
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(DsformerError, match="describes a known picture otherwise than when it was exported"):
        Extractor(MODEL, tmp_path / "m.onnx")


def test_a_description_that_changed_is_noticed(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    next(one for one in model.metadata_props if one.key == "probe").value = "AAAA"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(DsformerError, match="its description is damaged"):
        Extractor(MODEL, tmp_path / "m.onnx")


INT8 = asdict(Int8Recall("town", "0" * 64, 300, 0.9, 0.9, 100, "linear layers", "cpu"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "[Infinity, 1]"),
        ("size", "[100000, 100000]"),
        ("mean", "[" * 100_000),
        ("int8", "[]"),
        ("int8", json.dumps(INT8 | {"map": ["town"]})),
        ("int8", json.dumps(INT8)),
        ("precision", "int8"),
        ("probe", "no base64!"),
        ("std", "[1, 0, 1]"),
        ("mean", "[NaN, 0, 0]"),
        ("descriptor_dim", "1" + 30 * "0"),
        ("code_bytes", "1" + 12 * "0"),
        ("difference", "NaN"),
        ("difference", "Infinity"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused_before_it_costs_anything(
    onnx_file: Path, key: str, value: str
) -> None:
    with pytest.raises(DsformerError, match=r"^m\.onnx: its description is damaged") as caught:
        Exported.from_metadata(described(onnx_file).to_metadata() | {key: value}, "m.onnx")
    assert "\n" not in str(caught.value)


def test_a_gpu_that_onnx_runtime_cannot_use_is_spoken_of(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime can use a GPU")
    with caplog.at_level(logging.WARNING):
        Extractor(MODEL, onnx_file, device="cpu")
        assert not caplog.records
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert str(OnnxNetwork(onnx_file).device) == "cpu"
    (record,) = caplog.records
    assert "computed on the CPU" in record.message and "onnxruntime-gpu" in record.message


def test_without_onnx_runtime_it_says_how_to_get_it(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DsformerError, match=r"onnxruntime is not installed: pip install onnxruntime "):
        Extractor(MODEL, onnx_file)


KEY = EngineKey("Orin (nvgpu)", 8, "8.7", "10.3.0", "0" * 64, "float16")


def described(onnx_file: Path) -> Exported:
    metadata = {one.key: one.value for one in onnx.load(onnx_file).metadata_props}
    return Exported.from_metadata(metadata, str(onnx_file))


def write_engine(path: Path, about: Exported, engine: bytes = b"engine" * 100) -> Path:
    with path.open("wb") as file:
        EngineFile(KEY, about, 4, engine).write(file)
    return path


def test_an_engine_says_what_it_is(onnx_file: Path, tmp_path: Path) -> None:
    about = described(onnx_file)
    found = EngineFile.read(write_engine(tmp_path / "m.engine", about))
    assert (found.key, found.max_batch, found.engine) == (KEY, 4, b"engine" * 100)
    assert found.about.to_metadata() == about.to_metadata()


def test_an_engine_of_another_machine_is_refused() -> None:
    KEY.require(KEY, Path("m.engine"))
    here = replace(KEY, gpu="NVIDIA H200", tensorrt="11.4.0")
    with pytest.raises(
        DsformerError, match=r"gpu Orin .*here it is NVIDIA H200; tensorrt 10\.3\.0, here it is 11\.4\.0"
    ):
        KEY.require(here, Path("m.engine"))
    with pytest.raises(DsformerError, match="multiprocessors 8, here it is 16"):
        KEY.require(replace(KEY, multiprocessors=16), Path("m.engine"))


class OneAtATime:
    """An execution context that computes where it was last told to, a while later."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.told[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        time.sleep(0.02)
        picture = ctypes.c_float.from_address(self.told["images"]).value
        (ctypes.c_float * 4).from_address(self.told["descriptors"])[:] = [picture] * 4
        return True


def test_threads_share_an_engine(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node warms up for another map while it describes."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda images, stream: None)
    network = TensorRTNetwork.__new__(TensorRTNetwork)
    vars(network).update(
        path=Path("m.engine"),
        about=replace(described(onnx_file), descriptor_dim=4),
        device=torch.device("cpu"),
        _max_batch=1,
        _context=OneAtATime(),
        _lock=threading.Lock(),
    )
    with ThreadPoolExecutor(4) as threads:
        asked = [torch.full((2, 3, 1, 1), float(number)) for number in range(8)]
        for images, (descriptors, _) in zip(asked, threads.map(network, asked), strict=True):
            assert (descriptors == images[0, 0, 0, 0]).all()


def test_damaged_and_foreign_engines_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    path = write_engine(tmp_path / "m.engine", described(onnx_file))
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-1] + b"x", content[:40], content.replace(b"max_batch", b"max_botch")):
        path.write_bytes(damaged)
        with pytest.raises(DsformerError, match="is damaged, or not all of it was copied"):
            Extractor(MODEL, path)
    for number in ("1e999", "[" * 100_000):
        header = b'{"about": %s, "max_batch": ' % json.dumps(described(onnx_file).to_metadata()).encode()
        text = header + number.encode() + b', "key": %s}' % json.dumps(asdict(KEY)).encode()
        path.write_bytes(MAGIC + len(text).to_bytes(8, "little") + text)
        with pytest.raises(DsformerError, match="is damaged, or not all of it was copied"):
            EngineFile.read(path)
    path.write_bytes(b"a bare engine of trtexec")
    with pytest.raises(DsformerError, match="was not made by `dsformer export`"):
        Extractor(MODEL, path)


def test_an_engine_without_a_gpu_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    path = write_engine(tmp_path / "m.engine", described(onnx_file))
    with pytest.raises(UsageError, match="device cpu: TensorRT needs a GPU"):
        Extractor(MODEL, path, device="cpu")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DsformerError, match="TensorRT needs a CUDA GPU, and PyTorch finds none here"):
        Extractor(MODEL, path)


def test_the_known_picture_is_the_same_everywhere(exact: Extractor) -> None:
    probe = probe_input(exact.preprocessing)
    assert probe.shape == (1, 3, 224, 224) and probe.dtype == np.float32
    assert 1.0 < np.abs(probe).max() < 3.0 and probe.std() > 0.5
