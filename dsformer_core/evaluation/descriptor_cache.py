"""What a network says of a benchmark's pictures, kept on disk so that it is computed once.

A folder of the cache belongs to one list of files seen through one network; its name is a digest of both:

    descriptors.npy      (N, D) float32, read memory-mapped; NaN in the rows of unreadable pictures
    codes.npy            (N, 64) uint8, only where the network has a hash branch; zero in those rows
    description.json     what they are of, and a digest of every file's size and time of change

While they are being made the files are called `descriptors.part.npy` and `codes.part.npy`. They only grow, in chunks
that are on the disk before the next begins, so what a killed or interrupted run leaves is whole rows to go on from; of
two files, as many as the shorter has. A picture that changed since makes its list's descriptors stale; they are
computed anew in place. What could not be read is tried again by every run, and named if it still cannot be: a disk that
was away for a while comes back with every file as it was.
"""

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dsformer_core.described import Described
from dsformer_core.errors import DsformerError
from dsformer_core.evaluation.benchmark import Pictures
from dsformer_core.evaluation.matching import chunks
from dsformer_core.evaluation.row_file import RowFile
from dsformer_core.extractor import Extractor
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
) -> Described:
    """Descriptors, and codes where the network gives any, of all pictures; from the cache as far as they are there.

    Args:
        pictures: the files.
        extractor: the network.
        cache: folder of all caches; None computes in memory and keeps nothing.
        batch_size: pictures that enter the network at a time.
        workers: threads that decode.
        on_progress: called with the number of pictures finished since its last call, those found in the cache included.
        on_unreadable: called for each picture that cannot be read, in every run anew.

    Returns:
        N rows; memory-mapped and read-only where they come from the cache. Unreadable pictures have a descriptor of
        NaN, and a code of zeros that says nothing.

    Raises:
        DsformerError: the network failed, or the disk is full (what was finished by then is kept).
    """
    unreadable = _nothing(1, extractor)
    unreadable.descriptors[:] = np.nan

    def described(rows: Sequence[int]) -> Iterator[tuple[int, Described]]:
        loaders = (extractor.loader(pictures.path(row)) for row in rows)
        with closing(extractor.extract_pictures(loaders, batch_size=batch_size, workers=workers)) as results:
            for index, result in results:
                if isinstance(result, DsformerError):
                    on_unreadable(result)
                    yield rows[index], unreadable
                else:
                    yield rows[index], result
                on_progress(1)

    if cache is None:
        found = _nothing(len(pictures), extractor)
        for row, one in described(range(len(pictures))):
            found.descriptors[row] = one.descriptors[0]
            if found.codes is not None and one.codes is not None:
                found.codes[row] = one.codes[0]
        return found
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


def _nothing(count: int, extractor: Extractor) -> Described:
    """Rows of zeros in the shape of what a network says of so many pictures."""
    codes = np.zeros((count, extractor.code_bytes), np.uint8) if extractor.code_bytes else None
    return Described(np.zeros((count, extractor.descriptor_dim), np.float32), codes)


class KeptDescriptors:
    """One folder of the cache.

    Attributes:
        folder: where it lies.
        complete: whether every picture has its row and no file has changed since.
    """

    def __init__(self, cache: Path, pictures: Pictures, extractor: Extractor) -> None:
        """Looks what is there; writes nothing."""
        self._identity = _identity(pictures, extractor)
        key = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        self.folder = cache / f"{extractor.model_name}-{pictures.root.name}-{key[:16]}"
        self._descriptors = RowFile(self.folder, "descriptors", "<f4", (len(pictures), extractor.descriptor_dim))
        self._codes = RowFile(self.folder, "codes", "|u1", (len(pictures), extractor.code_bytes))
        self._has_codes = extractor.code_bytes > 0
        # A row counts once it has its descriptor, so the codes are written before.
        self._files = [self._codes, self._descriptors] if self._has_codes else [self._descriptors]
        self._description = self.folder / "description.json"
        self._state = self._identity | {"state_of_files": _state_of_files(pictures)}
        self._same_files = self._read_description() == self._state
        self.complete = self._same_files and all(file.complete for file in self._files)

    @contextmanager
    def unfinished(self) -> Iterator[int]:
        """Takes up the work where it was left, for this process alone; yields how many rows are there already.

        When the block ends well, all rows are there and the files get their names.

        Raises:
            DsformerError: another process is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with working_alone(self.folder, "describing these pictures"):
            if not self._same_files:
                for file in self._files:
                    file.discard()
                _write_whole(self._description, json.dumps(self._state, indent=2))
            done = min([file.begin() for file in self._files])
            for file in self._files:
                file.cut(done)
            yield done
            for file in self._files:
                file.finish()

    def unreadable(self, done: int) -> list[int]:
        """Those of the first `done` rows whose pictures could not be read."""
        if not done:
            return []
        rows = self._descriptors.first(done)
        return [start + int(row) for start, chunk in chunks(rows) for row in np.flatnonzero(np.isnan(chunk[:, 0]))]

    def write(self, numbered: Iterable[tuple[int, Described]]) -> None:
        """Puts rows into their places, a few at a time, and those in hand also when it is interrupted.

        Without `unfinished` it may fill rows that are there: whoever else does writes the same.
        """
        waiting: list[tuple[int, Described]] = []
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

    def _put(self, numbered: Sequence[tuple[int, Described]]) -> None:
        """Some rows; they are on the disk when it returns."""
        if not numbered:
            return
        if self._has_codes:
            self._codes.put([(row, one.codes[0]) for row, one in numbered if one.codes is not None])
        self._descriptors.put([(row, one.descriptors[0]) for row, one in numbered])

    def open(self) -> Described:
        """What was described, memory-mapped."""
        return Described(self._descriptors.open(), self._codes.open() if self._has_codes else None)

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
        "precision": extractor.arithmetic.identity,
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
