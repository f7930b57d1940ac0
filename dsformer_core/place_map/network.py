"""The network that a map was made with, loaded again."""

from pathlib import Path

from dsformer_core.extractor import UNTRAINED, Extractor
from dsformer_core.models import list_models
from dsformer_core.models.registry import model_entry
from dsformer_core.place_map.format import MapError
from dsformer_core.place_map.place_map import PlaceMap


def network_of(
    place_map: PlaceMap,
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    optimize: str = "safe",
    runtime: str = "auto",
) -> Extractor:
    """Loads the network that described a map's references.

    Args:
        place_map: the map.
        weights: a file, or the name of released weights; None for those that the map names, if they were released.
        device: as for `Extractor`.
        precision: as for `Extractor`.
        optimize: as for `Extractor`.
        runtime: as for `Extractor`.

    Raises:
        MapError: it is a network of another program, or these are other weights.
        DsformerError: the weights are not on this machine.
    """
    require_known_network(place_map)
    extractor = Extractor(
        place_map.model_name,
        weights or label_of(place_map),
        device=device,
        precision=precision,
        optimize=optimize,
        runtime=runtime,
    )
    place_map.check_model(extractor.model_name, extractor.weights_sha256, extractor.arithmetic)
    return extractor


def require_known_network(place_map: PlaceMap) -> None:
    """Refuses a map whose references a network of another program described (`dsformer map import`).

    Raises:
        MapError: says what can be done with it.
    """
    if place_map.model_name not in list_models():
        raise MapError(
            f"{place_map.directory} was described by {place_map.model_name!r}, which is no network of this program: "
            "it cannot describe pictures for this map; search it from Python, with descriptors of that network"
        )


def label_of(place_map: PlaceMap) -> str:
    """What `Extractor` calls the weights that a map was made with.

    Raises:
        MapError: they were not released.
    """
    if place_map.weights == UNTRAINED:
        return UNTRAINED
    for released in model_entry(place_map.model_name).weights:
        if place_map.weights in (released.name, released.file_name):
            return released.name
    raise MapError(
        f"{place_map.directory} was made with the weights {place_map.weights!r} of {place_map.model_name}, "
        "which were not released: give the file (--weights FILE)"
    )
