"""Files whose tensors lie in others are refused, wherever in the file the tensor is, before those are opened."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
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


REFUSED = r"m\.onnx: (is no ONNX file of `dsformer export`|keeps tensors in files beside it)"


@pytest.mark.parametrize("content", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff", b"\xff" * 40, bytes(range(256))])
def test_what_is_no_protobuf_is_none_of_ours(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(DsformerError, match=r"m\.onnx: is no ONNX file of `dsformer export`") as caught:
        Extractor(MODEL, path)
    assert "\n" not in str(caught.value)


def test_a_file_of_ours_of_which_the_end_was_lost_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    whole = onnx_file.read_bytes()
    for lost in (1, 1000, len(whole) // 2):
        (tmp_path / "m.onnx").write_bytes(whole[:-lost])
        with pytest.raises(DsformerError, match="not all of it was copied"):
            refuse_external_data(tmp_path / "m.onnx")


GARBAGE = b"\x3a\x0b" + b"\x3f" * 11  # a graph of fields that there are not
GROUP, END_OF_GROUP = b"\xc3\x3e", b"\xc4\x3e"  # of field 1000, which readers pass over with all that is in it
SAME_TO_SOME = b"\xba\x80\x80\x80\x10"  # the tag of a graph and a 33rd bit, which some readers drop


def test_garbage_that_readers_pass_over_hides_nothing(tmp_path: Path) -> None:
    """ONNX Runtime reads such a file to its end, and would open the files that its tensors are in."""
    path = tmp_path / "m.onnx"
    content = model("initializer", external()).SerializeToString() + GROUP + GARBAGE + END_OF_GROUP
    assert onnx.ModelProto.FromString(content).graph.initializer[0].external_data
    path.write_bytes(content)
    with pytest.raises(DsformerError, match=REFUSED):
        refuse_external_data(path)


@pytest.mark.parametrize("piece", [GROUP + END_OF_GROUP, SAME_TO_SOME + b"\x00", b"\x00\x00", b"\x06", b"\x0a\x05abcd"])
def test_what_readers_do_not_agree_on_is_refused(piece: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model("initializer", inside()).SerializeToString() + piece)
    with pytest.raises(DsformerError, match="is no ONNX file"):
        refuse_external_data(path)


def has_external_data(message: Message) -> bool:
    """By protobuf itself, through every field that there is."""
    if isinstance(message, TensorProto):
        return bool(message.external_data) or message.data_location == TensorProto.EXTERNAL
    values = [value for field, value in message.ListFields() if field.message_type is not None]
    several = [[value] if isinstance(value, Message) else list(value) for value in values]
    return any(has_external_data(one) for part in several for one in part)


PLACES = ("initializer", "constant", "sparse", "branch", "function", "training")
MODELS = st.sampled_from(PLACES).map(lambda where: model(where, external()).SerializeToString())
LOOSE = st.sampled_from([GARBAGE, GROUP, END_OF_GROUP, SAME_TO_SOME]) | st.binary(max_size=12)
GROUPS = (st.just(GARBAGE) | LOOSE).map(lambda content: GROUP + content + END_OF_GROUP)


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.tuples(MODELS, GROUPS | LOOSE | MODELS, GROUPS | LOOSE).flatmap(st.permutations),
    spoilt=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=2), st.integers(0, 2)), max_size=2),
    kept=st.just(1.0) | st.floats(0.5, 1),
)
def test_nothing_passes_in_which_protobuf_finds_external_data(
    pieces: list[bytes], spoilt: list[tuple[float, bytes, int]], kept: float
) -> None:
    """Models, garbage and groups in any order, bytes put in or lost anywhere, and the end cut off."""
    content = b"".join(pieces)
    for where, new, lost in spoilt:
        place = int(where * len(content))
        content = content[:place] + new + content[place + lost :]
    content = content[: int(kept * len(content))]
    try:
        external_data = has_external_data(onnx.ModelProto.FromString(content))
    except DecodeError:
        external_data = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(content)
        try:
            refuse_external_data(path)
        except DsformerError:
            return
    assert not external_data
