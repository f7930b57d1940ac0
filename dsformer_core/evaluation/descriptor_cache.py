"""Descriptors of a benchmark's pictures, kept on disk so that they are computed once.

A folder of the cache belongs to one list of files seen through one network; its name is a digest of both:

    descriptors.npy      (N, D) float32, read memory-mapped; NaN in the rows of unreadable pictures
    description.json     what they are of, and a digest of every file's size and time of change

While it is being made the file is called `descriptors.part.npy`. It only grows, in chunks that are on the disk before
the next begins, so what a killed or interrupted run leaves is whole rows to go on from. A file that changed since makes
its list's descriptors stale; they are computed anew in place. What could not be read is tried again by every run, and
named if it still cannot be: a disk that was away for a while comes back with every file as it was.
"""

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError
from dsformer_core.evaluation.benchmark import Pictures
from dsformer_core.evaluation.matching import chunks
from dsformer_core.extractor import Descriptors, Extractor
from dsformer_core.lock import working_alone

FOLDER_VARIABLE = "DSFORMER_DESCRIPTORS"

# Rows are written when there are this many, or when the oldest has waited this long: what a killed run loses at most.
_CHUNK = 512
_SECONDS = 5.0
_FORMAT = 1
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int], None]


def default_cache() -> Path:
    """Where descriptors are kept when nobody says: $DSFORMER_DESCRIPTORS, or ~/.cache/dsformer/descriptors."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "dsformer" / "descriptors")


def describe(
    pictures: Pictures,
    extractor: Extractor,
    cache: Path | None,
    *,
    batch_size: int = 8,
    workers: int = 2,
    on_progress: Progress = lambda count: None,
    on_unreadable: Callable[[DsformerError], None] = lambda error: None,
) -> npt.NDArray[np.float32]:
    """Descriptors of all pictures, from the cache as far as they are there.

    Args:
        pictures: the files.
        extractor: the network.
        cache: folder of all caches; None computes in memory and keeps nothing.
        batch_size: pictures that enter the network at a time.
        workers: threads that decode.
        on_progress: called with the number of pictures finished since its last call, those found in the cache included.
        on_unreadable: called for each picture that cannot be read, in every run anew.

    Returns:
        (N, D) float32; memory-mapped and read-only where it comes from the cache; NaN for unreadable pictures.

    Raises:
        DsformerError: the network failed, or the disk is full (what was finished by then is kept).
    """
    unreadable = np.full(extractor.descriptor_dim, np.nan, np.float32)

    def described(rows: Sequence[int]) -> Iterator[tuple[int, Descriptors]]:
        loaders = (extractor.loader(pictures.path(row)) for row in rows)
        with closing(extractor.extract_pictures(loaders, batch_size=batch_size, workers=workers)) as results:
            for index, result in results:
                if isinstance(result, DsformerError):
                    on_unreadable(result)
                    yield rows[index], unreadable
                else:
                    yield rows[index], result.descriptors[0]
                on_progress(1)

    if cache is None:
        descriptors = np.empty((len(pictures), extractor.descriptor_dim), np.float32)
        for row, descriptor in described(range(len(pictures))):
            descriptors[row] = descriptor
        return descriptors
    kept = KeptDescriptors(cache, pictures, extractor)
    try:
        with nullcontext(len(pictures)) if kept.complete else kept.unfinished() as done:
            again = kept.unreadable(done)
            on_progress(done - len(again))
            kept.write((row, result) for row, result in described(again) if result is not unreadable)
            kept.write(described(range(done, len(pictures))))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DsformerError(
            f"{kept.folder}: {os.strerror(error.errno)}; what is described so far is kept: free some space and run "
            "again, or name another --cache"
        ) from error
    return kept.open()


class KeptDescriptors:
    """One folder of the cache.

    Attributes:
        folder: where it lies.
        complete: whether every picture has its row and no file has changed since.
    """

    def __init__(self, cache: Path, pictures: Pictures, extractor: Extractor) -> None:
        """Looks what is there; writes nothing."""
        self._shape = (len(pictures), extractor.descriptor_dim)
        self._identity = _identity(pictures, extractor)
        key = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        self.folder = cache / f"{extractor.model_name}-{pictures.root.name}-{key[:16]}"
        self._whole, self._part = self.folder / "descriptors.npy", self.folder / "descriptors.part.npy"
        self._description = self.folder / "description.json"
        self._state = self._identity | {"state_of_files": _state_of_files(pictures)}
        self._same_files = self._read_description() == self._state
        self.complete = self._same_files and self._whole.is_file() and self._whole.stat().st_size == self._size

    @contextmanager
    def unfinished(self) -> Iterator[int]:
        """Takes up the work where it was left, for this process alone; yields how many rows are there already.

        When the block ends well, all rows are there and the file gets its name.

        Raises:
            DsformerError: another process is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with working_alone(self.folder, "describing these pictures"):
            if not self._same_files:
                self._whole.unlink(missing_ok=True)
                self._part.unlink(missing_ok=True)
                _write_whole(self._description, json.dumps(self._state, indent=2))
            if not self._part.is_file() or self._part.stat().st_size < len(self._header):
                self._part.write_bytes(self._header)
            done = (self._part.stat().st_size - len(self._header)) // self._row_bytes
            os.truncate(self._part, len(self._header) + done * self._row_bytes)
            yield done
            self._part.replace(self._whole)

    def unreadable(self, done: int) -> list[int]:
        """Those of the first `done` rows whose pictures could not be read."""
        if not done:
            return []
        rows = np.memmap(self._file, "<f4", "r", len(self._header), (done, self._shape[1]))
        return [start + int(row) for start, chunk in chunks(rows) for row in np.flatnonzero(np.isnan(chunk[:, 0]))]

    def write(self, numbered: Iterable[tuple[int, Descriptors]]) -> None:
        """Puts rows into their places, a few at a time, and those in hand also when it is interrupted.

        Without `unfinished` it may fill rows that are there: whoever else does writes the same.
        """
        waiting: list[tuple[int, Descriptors]] = []
        written = time.monotonic()
        try:
            for row in numbered:
                waiting.append(row)
                if len(waiting) == _CHUNK or time.monotonic() - written > _SECONDS:
                    self._put(waiting)
                    waiting, written = [], time.monotonic()
        except OSError:
            raise
        except BaseException:
            self._put(waiting)
            raise
        self._put(waiting)

    def _put(self, numbered: Sequence[tuple[int, Descriptors]]) -> None:
        """Some rows; they are on the disk when it returns.

        Interrupted by Ctrl-C it can be called again with the same rows.
        """
        if not numbered:
            return
        with self._file.open("r+b") as file:
            for row, descriptor in numbered:
                file.seek(len(self._header) + row * self._row_bytes)
                file.write(np.asarray(descriptor, "<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def open(self) -> npt.NDArray[np.float32]:
        """The descriptors, memory-mapped."""
        return np.load(self._whole, mmap_mode="r", allow_pickle=False)

    @property
    def _file(self) -> Path:
        return self._whole if self.complete else self._part

    @property
    def _header(self) -> bytes:
        """Of a .npy file that has all rows, so that nothing is left to do but to append them."""
        buffer = BytesIO()
        description = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(buffer, description)
        return buffer.getvalue()

    @property
    def _row_bytes(self) -> int:
        return 4 * self._shape[1]

    @property
    def _size(self) -> int:
        return len(self._header) + self._shape[0] * self._row_bytes

    def _read_description(self) -> Any:
        try:
            return json.loads(self._description.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _identity(pictures: Pictures, extractor: Extractor) -> dict[str, Any]:
    """What descriptors depend on, apart from what is in the files."""
    preprocessing = extractor.preprocessing
    return {
        "format": _FORMAT,
        "model": extractor.model_name,
        "weights_sha256": extractor.weights_sha256,
        "precision": extractor.precision,
        "preprocessing": [list(preprocessing.size), list(preprocessing.mean), list(preprocessing.std)],
        "pictures": str(pictures.root.resolve()),
        "count": len(pictures),
        "names_sha256": _digest(pictures.names),
    }


def _state_of_files(pictures: Pictures) -> str:
    """Digest of every file's size and time of change; a missing file is a state, too."""

    def states() -> Iterator[str]:
        root = os.fspath(pictures.root)
        for name in pictures.names:
            try:
                status = os.stat(f"{root}/{name}")  # noqa: PTH116  several times faster than Path's, for millions
                yield f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                yield "missing"

    return _digest(states())


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _write_whole(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.part")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)
