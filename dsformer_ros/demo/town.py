"""The demo's pictures and map: a town that nobody built, seen twice."""

from pathlib import Path

from dsformer_core.cli.console import progress
from dsformer_core.extractor import Extractor
from dsformer_core.place_map import PlaceMap, build_place_map
from dsformer_core.sample_world import CONDITIONS, make_town, write_drive
from dsformer_core.sources import open_source

# The map is made on a bright day without traffic. The later drives take another line along the road and meet other
# light; the last one goes through a town that the map does not know, where the only right answer is silence.
QUERY_CONDITIONS = ("traffic", "dusk", "night")
ELSEWHERE = "elsewhere"
# How much of the town's round is driven, and how far right of the street's middle on the later drives.
ROUTE_M = 800
QUERY_LANE_M = 0.5


def render_drives(folder: Path, *, town_seed: int) -> dict[str, Path]:
    """Renders the map drive and the query drives.

    Returns:
        The folder of each query drive by its name.
    """
    town, other_town = make_town(town_seed), make_town(town_seed + 1000)
    drives = {"map_drive": (town, "daylight", town.drive(seed=0, spacing=4.0, count=ROUTE_M // 4))}
    for seed, condition in enumerate(QUERY_CONDITIONS, start=1):
        later = town.drive(seed=seed, spacing=20.0, count=ROUTE_M // 20, lateral_offset=QUERY_LANE_M, start=2.0)
        drives[condition] = (town, condition, later)
    drives[ELSEWHERE] = (other_town, "daylight", other_town.drive(seed=9, spacing=40.0, count=ROUTE_M // 40))
    with progress("rendering pictures", sum(len(poses) for _, _, poses in drives.values())) as advance:
        for seed, (name, (place, condition, poses)) in enumerate(drives.items()):
            write_drive(place, poses, folder / name, CONDITIONS[condition], seed=seed, on_progress=advance)
    return {name: folder / name for name in drives if name != "map_drive"}


def build_map(folder: Path, *, model: str) -> PlaceMap:
    """Builds the place map of the map drive, next to it."""
    extractor = Extractor(model)
    return build_place_map(open_source(folder / "map_drive"), extractor, folder / "town.map")
