"""Files and directories that are either there whole or not at all, also after a kill or a power cut."""

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dsformer_core.errors import DsformerError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FILES = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)

# renameat2(2) of Linux.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

# From so many on, the whole file system is synchronised instead of file after file.
_MANY_FILES = 2_000


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
    target = free_target(target, overwrite=overwrite, marker=marker, kind=kind)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.building-", dir=target.parent))
    try:
        with full_disk_in_words(target):
            yield staging
            put_in_place(staging, target, overwrite=overwrite, marker=marker, kind=kind)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def free_target(target: Path, *, overwrite: bool, marker: str, kind: str) -> Path:
    """Where a directory may be made: absolute, not resolved, since a symbolic link is replaced and not what it names.

    Args:
        target: as for `staged_directory`.
        overwrite: as above.
        marker: as above.
        kind: as above.

    Raises:
        UsageError: something is there that must not be replaced, or the folder above does not exist.
    """
    target = target.absolute()
    if os.path.lexists(target):
        if not overwrite:
            raise UsageError(f"{target} exists: choose another name, or say --overwrite")
        if not (target / marker).is_file():
            raise UsageError(f"{target} is not a {kind}, so it is not overwritten: choose another name")
    require_folder_of(target)
    return target


def require_folder_of(path: Path) -> None:
    """Refuses a name in a folder that is not there, before the work whose result is to have it.

    Raises:
        UsageError: there is no such folder.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder to write {path.name} into")


@contextmanager
def full_disk_in_words(target: Path) -> Iterator[None]:
    """Turns what a full disk, or a folder that takes no files, raises in the block into one line about `target`.

    Raises:
        DsformerError: the disk is full, or nothing can be made beside `target`.
    """
    try:
        yield
    except OSError as error:
        made = Path(os.fsdecode(error.filename or ""))
        if error.errno in _NO_FILES and made.parent == target.parent and made.name.startswith(f".{target.name}."):
            raise DsformerError(
                f"{target} was not written: no folder can be made in {target.parent} ({os.strerror(error.errno)}); "
                "write it elsewhere"
            ) from error
        if error.errno not in _FULL:
            raise
        raise DsformerError(
            f"{target} was not written: {os.strerror(error.errno)}; free some space, or write it elsewhere"
        ) from error


def put_in_place(staging: Path, target: Path, *, overwrite: bool, marker: str, kind: str) -> None:
    """Gives a finished folder its name, after every byte of it is on the disk.

    What had the name before is removed; who has its files open goes on reading them. At every moment there is one of
    the two under the name, where the system can exchange names (Linux); elsewhere there is nothing for the moment
    between two renames, and what was there lies beside as ``.NAME.replaced-…/old``.

    Args:
        staging: on the same file system as `target`, readable for its owner alone as `tempfile.mkdtemp` makes it.
        target: absolute.
        overwrite: as for `staged_directory`.
        marker: as above.
        kind: as above.

    Raises:
        UsageError: since it was last looked, something came there that must not be replaced.
    """
    _sync_tree(staging)
    free_target(target, overwrite=overwrite, marker=marker, kind=kind)
    # mkdtemp makes folders for their owner alone; ours are for whoever may read their neighbours.
    umask = os.umask(0)
    os.umask(umask)
    staging.chmod(0o777 & ~umask)
    if not os.path.lexists(target):
        staging.rename(target)
    elif _exchange(staging, target):
        _sync(target.parent)
        _remove(staging)
    else:
        _set_aside(staging, target)
    _sync(target.parent)


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its name once every byte of it is on the disk. Its folder is there already.

    What a killed process leaves behind ends in ``.part``.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names at once; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _set_aside(staging: Path, target: Path) -> None:
    """Puts `staging` in `target`'s place by two renames."""
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
    _remove(old)
    with suppress(OSError):
        aside.rmdir()


def _remove(old: Path) -> None:
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    """Waits until every file below a folder is on the disk."""
    paths = [folder, *folder.rglob("*")]
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if len(paths) > _MANY_FILES and syncfs is not None:
        # A million thumbnails one by one would take a quarter of an hour.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if syncfs(descriptor):
                raise OSError(number := ctypes.get_errno(), os.strerror(number), str(folder))
        finally:
            os.close(descriptor)
    else:
        for path in paths:
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
