"""What an exported file says of itself: which network it holds, what must go in, what comes out, how well it agrees.

In an ONNX file these are its `metadata_props`, which every ONNX tool shows; a TensorRT engine has them in its header.
Values are text: JSON, but for plain words.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import CODE_BYTES
from dsformer_core.errors import DsformerError
from dsformer_core.models.registry import Preprocessing

FORMAT = 1
FORMAT_KEY = "dsformer_format"
INPUT = "images"
DESCRIPTORS = "descriptors"
SIGNS = "signs"

TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "int8": 3e-2}
"""How far a number of a descriptor may be from what PyTorch computes in float32; for "int8", from what the same file or
engine gave where it was made: its distance to float32 is judged by recall."""

# No network here takes larger pictures; a file that claims otherwise would fill the memory with its probe.
_LARGEST_SIDE = 4096

INPUT_IN_WORDS = (
    "images: float32 (batch, 3, height, width), RGB: the whole picture resized (bilinear, antialiased) to `size`, then "
    "(value / 255 - mean) / std per channel"
)
OUTPUT_IN_WORDS = (
    "descriptors: float32 (batch, descriptor_dim) of unit L2 norm; where code_bytes is not 0, signs: float32 "
    "(batch, 512) of +1 and -1, whose bits are the code"
)


@dataclass(frozen=True)
class Int8Recall:
    """How an INT8 file was accepted.

    Attributes:
        map: name of the map whose references were asked.
        map_sha256: digest of that map's descriptors.
        references: how many.
        recall_float32: share of them whose best match lay at their place, described in float32.
        recall_int8: the same, described by the INT8 file, against the map's descriptors as they are.
        calibration: pictures that its ranges were taken from.
        part: what of it computes in INT8 (`export.int8.PARTS`).
        target: for whom its numbers were chosen, "cpu" or "tensorrt".
    """

    map: str
    map_sha256: str
    references: int
    recall_float32: float
    recall_int8: float
    calibration: int
    part: str
    target: str

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Int8Recall":
        """As a file has it.

        Raises:
            TypeError: something is missing, unknown, or of another kind.
        """
        recall = cls(**found)
        for field in fields(cls):
            assert isinstance(field.type, type)
            if not isinstance(value := getattr(recall, field.name), field.type):
                raise TypeError(f"int8.{field.name} is {value!r}")
        return recall


@dataclass(frozen=True, eq=False)
class Exported:
    """The description of an exported network.

    Attributes:
        model: its name, one of `list_models()`.
        weights: what its weights are, for people.
        weights_sha256: `weights_digest` of the released weights, as maps name them.
        preprocessing: what pictures go through.
        descriptor_dim: numbers per descriptor, D.
        code_bytes: bytes per code; 0 where the network has no hash branch.
        precision: in which it computes: "float32", "float16" or "int8".
        opset: of ONNX.
        difference: largest difference of any number of a descriptor to PyTorch in float32, when it was exported.
        probe: (D,) float32, what `probe_input` must give within `TOLERANCE`.
        dsformer_version: of the program that exported it.
        int8: how it was accepted, where it computes in INT8.
        graph_sha256: digest of what computes, the file before its description was added; of an INT8 engine, of the
            engine. It tells two of INT8 apart.
    """

    model: str
    weights: str
    weights_sha256: str
    preprocessing: Preprocessing
    descriptor_dim: int
    code_bytes: int
    precision: str
    opset: int
    difference: float
    probe: npt.NDArray[np.float32]
    dsformer_version: str
    graph_sha256: str = ""
    int8: Int8Recall | None = None

    def to_metadata(self) -> dict[str, str]:
        """Name and text of each property."""
        preprocessing = self.preprocessing
        values: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OWN_FORM
        }
        values |= {"size": preprocessing.size, "mean": preprocessing.mean, "std": preprocessing.std}
        if self.int8 is not None:
            values["int8"] = asdict(self.int8)
        return {
            FORMAT_KEY: str(FORMAT),
            **{key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()},
            "probe": base64.b64encode(self.probe.astype("<f4").tobytes()).decode(),
            "input": INPUT_IN_WORDS,
            "output": OUTPUT_IN_WORDS,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> "Exported":
        """Reads the properties of a file.

        Args:
            metadata: of the file.
            source: its name, for messages.

        Raises:
            DsformerError: `dsformer export` did not write it, a newer one did, or it is damaged.
        """
        if FORMAT_KEY not in metadata:
            raise DsformerError(f"{source} was not made by `dsformer export`: it does not say which network it holds")
        if metadata[FORMAT_KEY] != str(FORMAT):
            raise DsformerError(
                f"{source} is of export format {metadata[FORMAT_KEY]}, this program reads {FORMAT}: export it again"
            )
        try:
            height, width = (int(side) for side in json.loads(metadata["size"]))
            mean, std = (tuple(float(one) for one in json.loads(metadata[key])) for key in ("mean", "std"))
            if len(mean) != 3 or len(std) != 3 or not 1 <= min(height, width) <= max(height, width) <= _LARGEST_SIDE:
                raise ValueError("size, mean and std do not fit a picture")
            if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
                raise ValueError("mean or std is no such number")
            probe = np.frombuffer(base64.b64decode(metadata["probe"], validate=True), "<f4").astype(np.float32)
            int8 = Int8Recall.from_dict(json.loads(metadata["int8"])) if "int8" in metadata else None
            exported = cls(
                model=metadata["model"],
                weights=metadata["weights"],
                weights_sha256=metadata["weights_sha256"],
                preprocessing=Preprocessing((height, width), mean, std),
                descriptor_dim=int(metadata["descriptor_dim"]),
                code_bytes=int(metadata["code_bytes"]),
                precision=metadata["precision"],
                opset=int(metadata["opset"]),
                difference=float(metadata["difference"]),
                probe=probe,
                dsformer_version=metadata["dsformer_version"],
                graph_sha256=metadata["graph_sha256"],
                int8=int8,
            )
            if exported.precision not in TOLERANCE or len(probe) != exported.descriptor_dim:
                raise ValueError("its precision or probe is none of this program's")
            if exported.code_bytes not in (0, CODE_BYTES) or not 0 <= exported.difference < math.inf:
                raise ValueError("its code_bytes or difference is none of this program's")
            if (exported.precision == "int8") != (int8 is not None):
                raise ValueError("what it says of INT8 does not go together")
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise DsformerError(f"{source}: its description is damaged ({error}): export it again") from error
        return exported

    def arithmetic(self, runtime: str, agreement: float | None) -> Arithmetic:
        """What computes its descriptors, for maps.

        Args:
            runtime: "onnx" or "tensorrt".
            agreement: as measured; see `Arithmetic`.
        """
        if self.int8 is None:
            return Arithmetic(runtime, self.precision, agreement)
        return Arithmetic(runtime, self.precision, agreement, self.graph_sha256, self.int8.map, self.int8.map_sha256)

    def replaced(self, **changes: Any) -> "Exported":
        """The same, but for some values."""
        return replace(self, **changes)


_OWN_FORM = ("preprocessing", "probe", "int8")


def probe_input(preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """(1, 3, H, W) float32: a picture of curved stripes, normalised; made of integers, the same on every machine."""
    height, width = preprocessing.size
    y, x, channel = np.ogrid[:height, :width, :3]
    picture = ((x * (7 + channel) + y * (3 + 2 * channel) + x * y // 16) // 4 % 256).astype(np.float32)
    mean, std = (np.array(values, np.float32) * 255 for values in (preprocessing.mean, preprocessing.std))
    return np.ascontiguousarray(((picture - mean) / std).transpose(2, 0, 1)[None], dtype=np.float32)
