"""Whether an .onnx file keeps tensors in other files: those of `dsformer export` do not, and no other file is read.

ONNX Runtime would follow the names in it wherever they lead. The file is walked as protobuf, from message to message,
its weights passed over: neither the package `onnx` nor the memory to parse it whole need be on a robot. What the walk
cannot read to its end is refused: another reader might see in it what the walk does not.
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

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
# Readers of protobuf differ in what they make of more.
_TAGS = range(1 << 3, 1 << 32)


def refuse_external_data(path: Path) -> None:
    """Refuses a file whose tensors are in others, or that cannot be read to its end.

    Raises:
        DsformerError: a tensor is elsewhere, or it is no protobuf as `onnx` writes it.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _is_elsewhere(content)
    except ValueError as error:  # also of an empty file: there is no map of nothing
        raise DsformerError(
            f"{path}: is no ONNX file of `dsformer export`, or not all of it was copied: copy it again, or export it "
            "again"
        ) from error
    if found:
        raise DsformerError(
            f"{path}: keeps tensors in files beside it, which none of `dsformer export` does: export it again"
        )


def _is_elsewhere(content: mmap.mmap) -> bool:
    """Whether any tensor has external data.

    Raises:
        ValueError: it is no protobuf, or has groups of fields, which `onnx` never writes.
    """
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        message, position, end = waiting.pop()
        inside = MESSAGES[message]
        while position < end:
            tag, position = _varint(content, position, end)
            number, kind = tag >> 3, tag & 7
            if tag not in _TAGS:
                raise ValueError(f"no field is {number}")
            if kind == _VARINT:
                value, position = _varint(content, position, end)
                if message == "TensorProto" and number == DATA_LOCATION and value:
                    return True
            elif kind == _BYTES:
                length, position = _varint(content, position, end)
                if message == "TensorProto" and number == EXTERNAL_DATA:
                    return True
                if number in inside:
                    waiting.append((inside[number], position, position + length))
                position += length
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                position += 8 if kind == _EIGHT_BYTES else 4
            else:
                raise ValueError(f"no kind of field is {kind}")
            if position > end:
                raise ValueError(f"field {number} ends after the {message} around it")
    return False


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing begins.

    Raises:
        ValueError: it does not end before `end`.
    """
    value = 0
    for place, byte in enumerate(content[position : min(end, position + _LONGEST_VARINT)]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, position + place + 1
    raise ValueError("a number has no end")
