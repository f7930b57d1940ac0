"""Maps made of maps that exist: whole or not at all, beside them or in their place."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map.building.assemble import About, assemble
from dsformer_core.place_map.building.parts import MapPart, Part
from dsformer_core.place_map.building.work_folder import WorkFolder, now, unfinished_build
from dsformer_core.place_map.format import MAP_FILE
from dsformer_core.place_map.indexes.index import check_request
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.staging import free_target, full_disk_in_words


def keep_rows(
    place_map: PlaceMap,
    rows: npt.NDArray[np.int64],
    output: str | Path | None = None,
    *,
    name: str | None = None,
    index: IndexRequest | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> PlaceMap:
    """Writes a map of some of a map's references, in its frame.

    What its references say of themselves, their descriptors and their thumbnails stay as they are, to the bit; what
    follows from all of them together (spacing, calibration, index) is made anew.

    Args:
        place_map: the map.
        rows: which references, ascending.
        output: the directory to make; None for the map's own, which is replaced. Who has it open goes on searching it.
        name: of the new map; the same when None.
        index: how it is searched; as was asked for the map when None.
        overwrite: whether a map that is already at `output` is replaced.
        on_progress: called with the number of references written since its last call.

    Returns:
        The new map, opened.

    Raises:
        DsformerError: no references are left, or the disk is full; the old map is as it was.
        UsageError: `output` exists, or the index cannot be had.
    """
    if not len(rows):
        raise DsformerError(f"{place_map.directory}: none of its {place_map.count} references would be left")
    # In its place means what a symbolic link names; one at `output` is replaced itself.
    target = place_map.directory.resolve() if output is None else Path(output)
    write_map(
        [MapPart(place_map, rows)],
        [place_map],
        About.of(place_map, name=name, created=now()),
        target,
        index=index or place_map.index_request,
        overwrite=overwrite or output is None,
        on_progress=on_progress,
    )
    return PlaceMap.open(place_map.directory if output is None else target)


def write_map(
    parts: Sequence[Part],
    place_maps: Sequence[PlaceMap],
    about: About,
    output: Path,
    *,
    index: IndexRequest,
    overwrite: bool,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes a map of parts of maps.

    Args:
        parts: in the order of the references.
        place_maps: that the parts are of. Their thumbnails are kept where any has some.
        about: what the map says of itself.
        output: the directory to make.
        index: how it is searched.
        overwrite: whether a map that is already there is replaced, be it one of `place_maps`.
        on_progress: called with the number of references written since its last call.

    Raises:
        DsformerError: the disk is full, another process works on `output`, or one of `place_maps` was replaced.
        UsageError: `output` exists, work on it was interrupted, or the index cannot be had.
    """
    target = free_target(output, overwrite=overwrite, marker=MAP_FILE, kind="place map")
    check_request(index)
    work = WorkFolder(target)
    work.finish_clearing()
    with full_disk_in_words(target), work.entered():
        if begun := unfinished_build(target):
            raise UsageError(
                f"{target}: work on it was interrupted, with {begun.described} of {begun.pictures} pictures described: "
                f"--resume of what was begun goes on with it; removing {work.folder} forgets it"
            )
        with work.finished_map(overwrite=overwrite) as folder:
            assemble(
                folder,
                parts,
                about,
                index=index,
                thumbnails=any(place_map.has_thumbnails for place_map in place_maps),
                on_progress=on_progress,
            )
            for place_map in place_maps:
                if place_map.replaced:
                    raise DsformerError(f"{place_map.directory} was replaced while it was read: do it again")
