"""What a drive taught about a map, written into it."""

import os

from dsformer_core.errors import DsformerError
from dsformer_core.place_map.building.work_folder import WorkFolder
from dsformer_core.place_map.format import MAP_FILE, description_text, read_description
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.place_map.recalibration import Recalibration
from dsformer_core.staging import durable_file, full_disk_in_words


def keep_recalibration(place_map: PlaceMap, learnt: Recalibration | None) -> PlaceMap:
    """Writes it into `map.yaml`, the only file that changes: whole or not at all.

    Who has the map open goes on with what it knew. A map that is made of this one (`dsformer map add`, `merge`, …)
    begins anew.

    Args:
        place_map: the map.
        learnt: what is kept; None to forget what was.

    Returns:
        The map, opened again.

    Raises:
        DsformerError: another process works on the map, it was replaced since it was opened, or cannot be written.
    """
    directory = place_map.directory.resolve()
    work = WorkFolder(directory)
    if not os.access(directory, os.W_OK):
        raise DsformerError(f"{directory} cannot be written: copy the map to where it can")
    with full_disk_in_words(directory), work.entered():
        if place_map.replaced:
            raise DsformerError(f"{place_map.directory} was replaced while it was asked: do it again")
        description = read_description(directory)
        description.pop("recalibration", None)
        files = description.pop("files")
        if learnt is not None:
            description["recalibration"] = learnt.to_dict()
        description["files"] = files
        with durable_file(directory / MAP_FILE) as file:
            file.write(description_text(description).encode())
    return PlaceMap.open(place_map.directory)
