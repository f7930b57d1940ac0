"""One page that shows what the sample world looks like: a row per condition, a column per place."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dsformer_core.sample_world.camera import Camera
from dsformer_core.sample_world.conditions import CONDITIONS, parse_condition
from dsformer_core.sample_world.rendering import render
from dsformer_core.sample_world.town import Town

ROWS = (*CONDITIONS, "night+rain", "winter+dusk")
COLUMNS = 4
CELL = Camera(320, 240)
CAPTION_PX = 18
QUALITY = 82


def write_contact_sheet(town: Town, path: Path) -> None:
    """Renders the same places under every condition, each under another drive's sky and traffic.

    Args:
        town: the town.
        path: of the JPEG or PNG; overwritten.
    """
    loop = town.drive(heading_jitter_deg=0, tilt_jitter_deg=0)
    places = [loop[round((column + 0.35) * len(loop) / COLUMNS)] for column in range(COLUMNS)]
    rows = []
    for number, name in enumerate(ROWS):
        pictures = [render(town, place, parse_condition(name), CELL, seed=number) for place in places]
        caption = np.full((CAPTION_PX, CELL.width * COLUMNS, 3), 250, np.uint8)
        cv2.putText(caption, name, (6, CAPTION_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
        rows += [caption, np.hstack(pictures)]
    Image.fromarray(np.vstack(rows)).save(path, quality=QUALITY)
