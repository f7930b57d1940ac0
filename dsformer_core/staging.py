"""A directory that is either there whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsformer_core.errors import DsformerError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def staged_directory(target: Path, *, overwrite: bool, marker: str, kind: str) -> Iterator[Path]:
    """A folder beside `target` to build in, which takes its name when the block ends well.

    Whatever else happens in the block, Ctrl-C and a full disk included, the folder is removed and `target` stays as it
    was. What a killed process leaves behind is hidden, named ``.NAME.building-…``, and never mistaken for the target.

    Args:
        target: the directory to make.
        overwrite: whether a directory of the same kind that is already there is replaced.
        marker: the file by which such a directory is known, e.g. ``map.yaml``.
        kind: what it is, for messages, e.g. ``place map``.

    Raises:
        UsageError: something is there that must not be replaced, or the folder above does not exist.
        DsformerError: the disk is full.
    """
    # Not `resolve`: a symbolic link is replaced, not what it points to.
    target = target.absolute()
    if os.path.lexists(target):
        if not overwrite:
            raise UsageError(f"{target} exists: choose another name, or say --overwrite")
        if not (target / marker).is_file():
            raise UsageError(f"{target} is not a {kind}, so it is not overwritten: choose another name")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder to write {target.name} into")
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.building-", dir=target.parent))
    try:
        yield staging
        _sync_tree(staging)
        # mkdtemp makes folders for their owner alone; ours are for whoever may read their neighbours.
        umask = os.umask(0)
        os.umask(umask)
        staging.chmod(0o777 & ~umask)
        if os.path.lexists(target):
            _exchange(staging, target)
        else:
            staging.rename(target)
        _sync(target.parent)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DsformerError(
            f"{target} was not written: {os.strerror(error.errno)}; free some space, or write it elsewhere"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _exchange(staging: Path, target: Path) -> None:
    """Puts `staging` in `target`'s place; what was there is removed. Who has it open keeps reading the old files."""
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.replaced-", dir=target.parent))
    old = aside / "old"
    try:
        target.rename(old)
        staging.rename(target)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        # Empty now, unless the old one could not be put back: then it stays where it is.
        with suppress(OSError):
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for directory, _, names in os.walk(folder):
        for name in names:
            _sync(Path(directory) / name)
        _sync(Path(directory))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
