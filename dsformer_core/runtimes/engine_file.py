"""TensorRT engines on disk: a header that says what is in them and for which GPU and TensorRT, then the engine itself.

An engine is code for one GPU by one version of TensorRT; which those were, TensorRT itself tells only by failing. The
header is the line `MAGIC`, the length of what follows as 8 bytes, little endian, and JSON: `key`, the properties of
`Exported`, the largest batch, and the SHA-256 of the engine.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from dsformer_core.errors import DsformerError
from dsformer_core.runtimes.exported import Exported

MAGIC = b"dsformer TensorRT engine\n"
_LENGTH_BYTES = 8
_LONGEST_HEADER = 2**20
_AGAIN = "make it again with `dsformer export --tensorrt`"


@dataclass(frozen=True)
class EngineKey:
    """For what an engine was built; it runs where all of this is the same.

    Attributes:
        gpu: name of the GPU; that of all Orins is one and the same.
        multiprocessors: how many the GPU has, which tells those apart.
        compute_capability: of the GPU, such as "8.7".
        tensorrt: version of TensorRT.
        weights_sha256: of the released weights.
        precision: "float32", "float16" or "int8".
    """

    gpu: str
    multiprocessors: int
    compute_capability: str
    tensorrt: str
    weights_sha256: str
    precision: str

    def require(self, here: "EngineKey", path: Path) -> None:
        """Refuses an engine that was built for another machine.

        Raises:
            DsformerError: names what is different, and what to do.
        """
        differing = [
            f"{name.replace('_', ' ')} {value}, here it is {getattr(here, name)}"
            for name, value in asdict(self).items()
            if value != getattr(here, name)
        ]
        if differing:
            raise DsformerError(f"{path} was built for {'; '.join(differing)}: {_AGAIN} on this machine")


@dataclass(frozen=True, eq=False)
class EngineFile:
    """What stands in the header of an engine.

    Attributes:
        key: for what it was built.
        about: the network that it holds.
        max_batch: most pictures that it takes at once.
        engine: what TensorRT made.
    """

    key: EngineKey
    about: Exported
    max_batch: int
    engine: bytes

    def write(self, file: BinaryIO) -> None:
        """Writes header and engine."""
        header = {
            "key": asdict(self.key),
            "about": self.about.to_metadata(),
            "max_batch": self.max_batch,
            "engine_sha256": hashlib.sha256(self.engine).hexdigest(),
        }
        text = json.dumps(header).encode()
        file.write(MAGIC + len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        file.write(self.engine)

    @classmethod
    def read(cls, path: Path) -> "EngineFile":
        """Reads a whole file and checks that no byte of it was lost.

        Raises:
            DsformerError: it is none of ours, or damaged.
        """
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DsformerError(f"{path} was not made by `dsformer export`: it does not say for which GPU it is")
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            text = file.read(min(length, _LONGEST_HEADER))
            engine = file.read()
        try:
            header = json.loads(text)
            found = cls(
                EngineKey(**header["key"]),
                Exported.from_metadata(header["about"], str(path)),
                int(header["max_batch"]),
                engine,
            )
            intact = hashlib.sha256(engine).hexdigest() == header["engine_sha256"] and found.max_batch > 0
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            intact = False
        if not intact:
            raise DsformerError(f"{path} is damaged, or not all of it was copied: copy it again, or {_AGAIN}")
        return found
