"""Places to train on, small enough for a test: a few blurs of colour per class, seen with noise."""

from pathlib import Path

import numpy as np
from PIL import Image

from dsformer_core.clustering.config import BlockClusteringConfig
from dsformer_core.clustering.group import FRONTAL, LATERAL, Group
from dsformer_core.clustering.partition import PICTURES, write_partition

GROUPS, CLASSES, PICTURES_PER_CLASS = 2, 6, 4
SIDE = 64


def write_blur(path: Path, place: int, seed: int) -> None:
    """A picture of a place: its few colours, smoothly, under noise of the picture's own."""
    colours = np.random.default_rng(place).integers(0, 256, (4, 4, 3), np.uint8)
    picture = np.asarray(Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
    noise = np.random.default_rng((place, seed)).integers(-25, 26, picture.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture + noise).clip(0, 255).astype(np.uint8)).save(path, quality=95)


def write_places(
    folder: Path, classes: int = CLASSES, lateral_in_last_group: bool = True, first_place: int = 0
) -> Path:
    """A partition of `GROUPS` groups with lateral and frontal classes of pictures."""
    names, groups, utm = [], [], []
    for number in range(GROUPS):
        of_group = []
        for label in range(2 * classes):
            place = first_place + 100 * number + label
            of_group.append(np.arange(len(names), len(names) + PICTURES_PER_CLASS))
            for seed in range(PICTURES_PER_CLASS):
                names.append(f"{place:03d}/{seed}.jpg")
                utm.append((380_000.0 + 50 * place, 6_170_000.0 + seed))
                write_blur(folder / "pictures" / names[-1], place, seed)
        peaks = np.array([utm[rows[0]] for rows in of_group])
        lateral = LATERAL if lateral_in_last_group or number < GROUPS - 1 else FRONTAL
        angles = np.array([lateral, FRONTAL] * classes, np.int32)
        groups.append(Group(of_group, peaks, peaks + np.array([0.0, 15.0]), peaks + np.array([15.0, 0.0]), angles))
    write_partition(
        folder / "partition",
        groups,
        utm=np.array(utm),
        config=BlockClusteringConfig(),
        kind=PICTURES,
        images=names,
        images_root=folder / "pictures",
        headings_deg=np.zeros(len(names)),
    )
    return folder / "partition"


def write_gsv_cities(root: Path, places: int = 4) -> Path:
    """GSV-Cities' layout: two cities, each with so many places of `PICTURES_PER_CLASS` pictures."""
    (root / "Dataframes").mkdir(parents=True)
    for city_number, city in enumerate(("Lisbon", "OSL")):
        rows = ["place_id,year,month,northdeg,city_id,lat,lon,panoid"]
        for place in range(places):
            for seed in range(PICTURES_PER_CLASS):
                rows.append(f"{place},{2010 + seed},5,90,{city},48.5,2.25,pano{seed}")
                name = f"{city}_{place:07d}_{2010 + seed}_05_090_48.5_2.25_pano{seed}.JPG"
                write_blur(root / "Images" / city / name, 100 * city_number + place, seed)
        (root / "Dataframes" / f"{city}.csv").write_text("\n".join(rows) + "\n")
    return root
