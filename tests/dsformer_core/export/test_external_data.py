"""Files whose tensors lie in others are refused, wherever in the file the tensor is, before those are opened."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Extractor
from dsformer_core.runtimes.external_data import DATA_LOCATION, EXTERNAL_DATA, MESSAGES, refuse_external_data
from tests.dsformer_core.export.conftest import MODEL


def test_our_own_files_pass_and_with_external_data_they_do_not(onnx_file: Path, tmp_path: Path) -> None:
    refuse_external_data(onnx_file)
    path = tmp_path / "m.onnx"
    onnx.save(onnx.load(onnx_file), path, save_as_external_data=True, location="m.data")
    assert (tmp_path / "m.data").stat().st_size > 1_000_000
    with pytest.raises(DsformerError, match=r"m\.onnx: keeps tensors in files beside it") as caught:
        Extractor(MODEL, path)
    assert "\n" not in str(caught.value)


def external() -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "weights")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def inside() -> TensorProto:
    """Says in so many words that its numbers are in it."""
    tensor = numpy_helper.from_array(np.frombuffer(b"\x0a\x08location\x12\x01x" * 4, np.float32), "weights")
    tensor.data_location = TensorProto.DEFAULT
    return tensor


def graph(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "graph", [], [], initializer=[tensor])


def model(where: str, tensor: TensorProto) -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    sparse = onnx.SparseTensorProto(values=tensor)
    made = onnx.ModelProto(ir_version=10)
    if where == "initializer":
        made.graph.CopyFrom(graph(tensor))
    elif where == "constant":
        made.graph.node.append(constant)
    elif where == "sparse":
        made.graph.sparse_initializer.append(sparse)
    elif where == "branch":
        inner = helper.make_graph([constant], "inner", [], [])
        made.graph.node.append(helper.make_node("If", ["c"], [], then_branch=inner, else_branch=graph(tensor)))
    elif where == "function":
        made.functions.append(onnx.FunctionProto(node=[constant]))
    elif where == "training":
        made.training_info.append(onnx.TrainingInfoProto(algorithm=graph(tensor)))
    return made


@pytest.mark.parametrize("where", ["initializer", "constant", "sparse", "branch", "function", "training"])
def test_it_is_found_wherever_a_tensor_can_be(where: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(where, external()).SerializeToString())
    with pytest.raises(DsformerError, match="keeps tensors in files beside it"):
        refuse_external_data(path)
    path.write_bytes(model(where, inside()).SerializeToString())
    refuse_external_data(path)


def test_a_description_appended_to_it_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(
        onnx.ModelProto(ir_version=10).SerializeToString() + model("branch", external()).SerializeToString()
    )
    with pytest.raises(DsformerError, match="keeps tensors in files beside it"):
        refuse_external_data(path)


def test_the_fields_are_all_through_which_onnx_reaches_a_tensor() -> None:
    for name, fields in MESSAGES.items():
        leading = {
            field.number: field.message_type.name
            for field in getattr(onnx, name).DESCRIPTOR.fields
            if field.message_type is not None and field.message_type.name in MESSAGES
        }
        assert fields == leading, name
    numbers = {field.name: field.number for field in TensorProto.DESCRIPTOR.fields}
    assert (numbers["external_data"], numbers["data_location"]) == (EXTERNAL_DATA, DATA_LOCATION)


@pytest.mark.parametrize("content", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff", b"\xff" * 40, bytes(range(256))])
def test_what_is_no_protobuf_is_left_to_onnx_runtime(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refuse_external_data(path)
    with pytest.raises(DsformerError, match=r"m\.onnx"):
        Extractor(MODEL, path)
