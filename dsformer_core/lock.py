"""A folder that one process at a time works in."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsformer_core.errors import DsformerError

LOCK_FILE = "lock"

# What a file system answers that has no locks.
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_held: set[Path] = set()


@contextmanager
def working_alone(folder: Path, work: str) -> Iterator[None]:
    """Keeps everybody else who asks for the same out of a folder while the block runs.

    It is a POSIX record lock, so it belongs to the process and ends with it, however it ends, also where processes that
    it forked to load pictures live on for a while. Such a lock keeps no process from taking it twice, and closing the
    file once would give up both: therefore `_held`. The file ``lock`` stays behind and means nothing. On file systems
    without locks other processes are not kept out.

    Args:
        folder: that is there and can be written.
        work: what whoever was first is doing, for the message: "describing these pictures".

    Raises:
        DsformerError: somebody else is at it.
        OSError: the folder cannot be written.
    """
    path = folder.resolve() / LOCK_FILE
    taken = f"{folder}: another run is {work}; wait for it"
    if path in _held:
        raise DsformerError(taken)
    with path.open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise DsformerError(taken) from error
            if error.errno not in _NONE:
                raise
        if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
            # Whoever had it before took the folder away after this file was opened: the lock keeps nobody out.
            raise DsformerError(taken)
        _held.add(path)
        try:
            yield
        finally:
            _held.remove(path)
