"""The query beside its best references, as one JPEG for people who watch."""

import math

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from dsformer_core.pictures import PictureError, read_picture
from dsformer_core.place_map import PlaceMap
from dsformer_ros.engine import Answer
from dsformer_ros.images import Picture

_TILE_HEIGHT, _TILE_WIDTH = 240, 320
_REFERENCES = 3
_COMPASS = 18
_INK, _BACKGROUND = (255, 255, 255), 40


def match_image(answer: Answer, place_map: PlaceMap, header: Header) -> CompressedImage:
    """The message of `~/match_image/compressed`: query left, then the best references, each with its similarity.

    An arrow in a corner of each shows in which direction it looks, where that is known: up is the map's north. Of the
    query it is that of the best hypothesis.
    """
    best = answer.hypotheses[0].yaw if answer.hypotheses else math.nan
    tiles = [_tile(answer.picture, f"query: {answer.verdict.state.name}", best + answer.camera_yaw)]
    for row, similarity in zip(answer.matches.indices[0], answer.matches.similarities[0], strict=True):
        if len(tiles) > _REFERENCES:
            break
        caption = f"{similarity:.3f} {place_map.ids[row]}"
        tiles.append(_tile(_thumbnail(place_map, int(row)), caption, float(place_map.yaw[row])))
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR))
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=jpeg.tobytes())


def _thumbnail(place_map: PlaceMap, row: int) -> Picture | None:
    path = place_map.thumbnail_path(row)
    try:
        return read_picture(path) if path else None
    except PictureError:
        return None


def _tile(picture: Picture | None, caption: str, yaw: float) -> Picture:
    """A picture of any size in a tile of one size, with a caption and an arrow; a dark tile where there is none."""
    tile = np.full((_TILE_HEIGHT, _TILE_WIDTH, 3), _BACKGROUND, np.uint8)
    if picture is not None:
        scale = min(_TILE_WIDTH / picture.shape[1], _TILE_HEIGHT / picture.shape[0])
        width, height = max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale))
        left, top = (_TILE_WIDTH - width) // 2, (_TILE_HEIGHT - height) // 2
        tile[top : top + height, left : left + width] = cv2.resize(
            picture, (width, height), interpolation=cv2.INTER_AREA
        )
    if math.isfinite(yaw):
        _draw_arrow(tile, yaw)
    cv2.rectangle(tile, (0, 0), (_TILE_WIDTH, 18), (0, 0, 0), cv2.FILLED)
    cv2.putText(tile, caption[-48:], (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    return tile


def _draw_arrow(tile: Picture, yaw: float) -> None:
    """A compass in the lower right corner."""
    centre = np.array([_TILE_WIDTH - _COMPASS - 4, _TILE_HEIGHT - _COMPASS - 4])
    ahead = 0.8 * _COMPASS * np.array([math.cos(yaw), -math.sin(yaw)])  # rows count downwards
    start, tip = (centre + np.round(way).astype(int) for way in (-ahead, ahead))
    cv2.circle(tile, centre.tolist(), _COMPASS, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
    cv2.arrowedLine(tile, start.tolist(), tip.tolist(), _INK, 2, cv2.LINE_AA, tipLength=0.4)
