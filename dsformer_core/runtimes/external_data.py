"""Whether an .onnx file keeps tensors in other files: those of `dsformer export` do not, and no other file is read.

ONNX Runtime would follow the names in it wherever they lead. The file is walked as protobuf, from message to message,
its weights passed over: neither the package `onnx` nor the memory to parse it whole need be on a robot.
"""

import mmap
from pathlib import Path

from dsformer_core.errors import DsformerError

MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Of each message through which a tensor is reached, the fields that lead on, by number, and to what (onnx.proto)."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a TensorProto: where its numbers are, and whether they are elsewhere (1) or in it (0)."""

_VARINT, _EIGHT_BYTES, _BYTES, _GROUP, _END_OF_GROUP, _FOUR_BYTES = range(6)
_LONGEST_VARINT = 10


def refuse_external_data(path: Path) -> None:
    """Refuses a file whose tensors are in others.

    What is no protobuf passes: ONNX Runtime says what is wrong with it.

    Raises:
        DsformerError: a tensor is elsewhere.
    """
    if path.stat().st_size == 0:  # there is no map of nothing
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            found = _is_elsewhere(content)
        except (IndexError, ValueError):
            found = False
    if found:
        raise DsformerError(
            f"{path}: keeps tensors in files beside it, which none of `dsformer export` does: export it again"
        )


def _is_elsewhere(content: mmap.mmap) -> bool:
    """Whether any tensor has external data.

    Raises:
        IndexError: the file ends within a number.
        ValueError: it is no protobuf.
    """
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        message, position, end = waiting.pop()
        inside = MESSAGES[message]
        while position < end:
            tag, position = _varint(content, position)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, position = _varint(content, position)
                if message == "TensorProto" and number == DATA_LOCATION and value:
                    return True
            elif kind == _BYTES:
                length, position = _varint(content, position)
                if message == "TensorProto" and number == EXTERNAL_DATA:
                    return True
                if number in inside:
                    waiting.append((inside[number], position, min(position + length, end)))
                position += length
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                position += 8 if kind == _EIGHT_BYTES else 4
            elif kind not in (_GROUP, _END_OF_GROUP):
                raise ValueError(f"no kind of field is {kind}")
    return False


def _varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing begins."""
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = content[position + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, position + place + 1
    raise ValueError("a number has no end")
