"""Finding a data set below a folder, and saying what was looked for where it is not there."""

import os
from collections.abc import Iterable
from pathlib import Path

from dsformer_core.errors import DsformerError
from dsformer_core.sources.folder import PICTURE_SUFFIXES

# Places named in a message; a data set can be looked for in dozens.
_SHOWN = 5


class LayoutError(DsformerError):
    """A data set is not there, or not in its place. Says what was looked for and where to get it."""


def first_existing(root: Path, candidates: Iterable[str], what: str, source: str) -> Path:
    """The first of several places below `root` that exists.

    Args:
        root: where the user says data sets lie.
        candidates: paths relative to `root`, the usual ones first.
        what: what is being looked for, in words.
        source: where to get it, a sentence.

    Raises:
        LayoutError: none exists.
    """
    candidates = list(candidates)
    for candidate in candidates:
        if (path := root / candidate).exists():
            return path
    tried = ", ".join(candidates[:_SHOWN])
    others = f" and {len(candidates) - _SHOWN} places like these" if len(candidates) > _SHOWN else ""
    raise LayoutError(f"{what} not found below {root}: looked for {tried}{others}. {source}")


def list_pictures(folder: Path) -> list[str]:
    """Picture files below a folder, relative POSIX paths, sorted.

    A list beside the folder (`database_images_paths.txt` for `database/`), which the field's tools use to avoid
    listing millions of files, is believed.

    Raises:
        LayoutError: there is no picture.
    """
    listed = folder.with_name(f"{folder.name}_images_paths.txt")
    if listed.is_file():
        with listed.open(encoding="utf-8") as file:
            lines = (line.strip() for line in file)
            names = [os.path.relpath(line, folder) if line.startswith("/") else line for line in lines if line]
    else:
        names = [
            f"{os.path.relpath(parent, folder)}/{file}".removeprefix("./")
            for parent, folders, files in os.walk(folder, followlinks=True)
            if _without_hidden(folders)
            for file in files
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122
        ]
    if not names:
        raise LayoutError(f"{folder}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return sorted(names)


def _without_hidden(folders: list[str]) -> bool:
    folders[:] = [folder for folder in folders if not folder.startswith(".")]
    return True
