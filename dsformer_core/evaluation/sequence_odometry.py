"""Where the odometry of a drive comes from: a table, a recording's own topic, or nowhere."""

import csv
import logging
import math
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.localization.fusion.replay import Drive
from dsformer_core.localization.planar import PlanarPose, planar_covariance, planar_pose
from dsformer_core.sources import SourceOptions
from dsformer_core.sources.bags import is_recording
from dsformer_core.sources.kinds import missing
from dsformer_core.sources.track import span

if TYPE_CHECKING:
    from dsformer_core.sources.bags.recording import Recording

log = logging.getLogger(__name__)

FAR = 10.0
"""Seconds. A stamp further than that from those before and after it is a broken one, as it is to the node."""

_COLUMNS = ("stamp", "x", "y", "yaw")
_MADE_WORDS = "made of the drive's positions"


@dataclass(frozen=True, eq=False)
class DriveOdometry:
    """What moves a drive's hypotheses.

    Attributes:
        words: where it comes from.
        moves: (M, 4) stamp in seconds, x, y in metres, yaw in radians; (0, 4) for none, None where it is to be made. A
            row that is NaN but for its stamp says that another frame begins.
        covariances: (M, 3, 3) over x, y, yaw, NaN where unknown; None where all are.
    """

    words: str
    moves: NDArray[np.float64] | None
    covariances: NDArray[np.float64] | None = None

    def check(self, drive: Drive) -> None:
        """Says how many pictures it tells nothing of.

        Raises:
            DsformerError: it tells nothing of any.
        """
        if self.moves is None or not len(self.moves):
            return
        first, last = float(self.moves[:, 0].min()), float(self.moves[:, 0].max())
        known = (drive.stamps >= first - 1) & (drive.stamps <= last + 1)
        if not known.any():
            raise DsformerError(
                f"odometry of {self.words} ({span(self.moves[:, 0])}) and the drive's pictures ({span(drive.stamps)}) "
                "do not overlap in time: their stamps come from clocks that disagree; --odometry made makes some"
            )
        if not known.all():
            log.warning(
                "%s: %d of %d pictures were taken before or after it", self.words, np.count_nonzero(~known), len(drive)
            )


def choose_odometry(
    asked: str | None, drives: Sequence[Path], options: SourceOptions, *, kidnap: bool = False
) -> DriveOdometry:
    """The odometry that a person asks for; of a recording its own where nobody asks.

    Args:
        asked: a CSV file, RECORDING or RECORDING:TOPIC, "made" or "none".
        drives: where the pictures come from.
        options: of these.
        kidnap: whether the drive will be driven in another order, in which no recorded odometry has it.

    Raises:
        UsageError: there is no such file, no such topic, or more than one topic.
        DsformerError: it cannot be read, or holds no odometry.
    """
    if asked == "none":
        return DriveOdometry("none", np.empty((0, 4)))
    if asked == "made" or (asked is None and kidnap):
        return DriveOdometry(_MADE_WORDS, None)
    if asked is None:
        topic = _own_topic(drives, options)
        return DriveOdometry(_MADE_WORDS, None) if topic is None else recorded_odometry(drives[0], topic)
    if kidnap:
        raise UsageError("--kidnap drives pieces in another order, of which a file of odometry tells nothing")
    path, topic = _split(asked)
    if not path.exists():
        raise UsageError(
            f"{path}: there is no such file; --odometry takes a CSV file, RECORDING[:TOPIC], 'made' or 'none'"
        )
    if is_recording(path):
        return recorded_odometry(path, topic)
    if topic or path.is_dir():
        raise UsageError(f"{path} is no recording: --odometry takes a CSV file, RECORDING[:TOPIC], 'made' or 'none'")
    return DriveOdometry(asked, read_odometry(path))


def recorded_odometry(path: Path, topic: str = "") -> DriveOdometry:
    """The nav_msgs/Odometry of a recording, by the stamps of its headers, of which the node's rules leave out the same.

    Args:
        path: a .bag, .db3 or .mcap file, or a folder of them.
        topic: which; may be empty where there is one.

    Raises:
        UsageError: the topic is not there or of another type, or there are several.
        DsformerError: it cannot be read, or holds no odometry that can be used.
    """
    with closing(_opened(path)) as recording:
        from dsformer_core.sources.bags.topics import choose_odometry as choose_topic

        return _read(recording, choose_topic(recording, topic))


def read_odometry(path: Path) -> NDArray[np.float64]:
    """A CSV file with the columns stamp, x, y and yaw: seconds as the pictures have them, metres, radians.

    Returns:
        (M, 4) of them.

    Raises:
        DsformerError: it cannot be read, lacks a column, or holds something that is no number.
    """
    table = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            lacking = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if lacking:
                raise DsformerError(f"{path} has no column {', '.join(lacking)}: it needs stamp, x, y and yaw")
            for row in rows:
                values = [_number(row[name]) for name in _COLUMNS]
                if not all(map(math.isfinite, values)):
                    raise DsformerError(f"{path}, line {rows.line_num}: stamp, x, y and yaw must be finite numbers")
                table.append(values)
    except OSError as error:
        raise DsformerError(f"{path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DsformerError(f"{path} is no CSV file ({error})") from error
    if not table:
        raise DsformerError(f"{path} has no lines but its head")
    return np.array(table)


def _own_topic(drives: Sequence[Path], options: SourceOptions) -> str | None:
    """The only odometry of the only recording, if the drive's positions are not that odometry."""
    if len(drives) != 1 or not drives[0].exists() or not is_recording(drives[0]):
        return None
    path = drives[0]
    with closing(_opened(path)) as recording:
        from dsformer_core.sources.bags.topics import has_other_positions, odometry_topics

        topics = odometry_topics(recording)
        if len(topics) > 1:
            log.warning(
                "%s: holds odometry on %s, and none is taken: --odometry %s:%s takes one",
                *(path, ", ".join(topics), path, topics[0]),
            )
        if len(topics) != 1 or not has_other_positions(recording, topics[0], options):
            return None
    return topics[0]


def _split(asked: str) -> tuple[Path, str]:
    """Path and topic; a file whose name has a colon is a file."""
    head, _, topic = asked.rpartition(":")
    if head and not Path(asked).exists() and Path(head).exists():
        return Path(head), topic
    return Path(asked), ""


def _opened(path: Path) -> "Recording":
    try:
        from dsformer_core.sources.bags.recording import Recording
    except ImportError as error:
        raise missing(path, "bags", error) from error
    return Recording(path)


def _read(recording: "Recording", topic: str) -> DriveOdometry:
    from dsformer_core.sources.bags.positions import stamp

    rows: list[tuple[float, float, float, float]] = []
    covariances: list[NDArray[np.float64]] = []
    frames: list[str] = []
    read, left_out, why = 0, 0, ""
    unknown = np.full((3, 3), math.nan)
    for _, received, data in recording.messages([topic]):
        read += 1
        try:
            message = recording.deserialize(topic, data)
            position, turn = message.pose.pose.position, message.pose.pose.orientation
            pose: PlanarPose = planar_pose((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
        except DsformerError as error:
            left_out, why = left_out + 1, why or str(error)
            continue
        # A pose without a covariance that makes sense is still a pose.
        covariance = None
        with suppress(DsformerError):
            covariance = planar_covariance(message.pose.covariance)
        rows.append((stamp(message, received), pose.x, pose.y, pose.yaw))
        covariances.append(unknown if covariance is None else covariance)
        frames.append(message.header.frame_id)
    moves: NDArray[np.float64] = np.array(rows).reshape(-1, 4)
    spread: NDArray[np.float64] = np.array(covariances).reshape(-1, 3, 3)
    lone = _lone(moves[:, 0])
    if lone.any():
        left_out, why = left_out + int(lone.sum()), why or "its stamp is far from those before and after it"
        moves, spread = moves[~lone], spread[~lone]
        frames = [frame for frame, is_lone in zip(frames, lone, strict=True) if not is_lone]
    name = f"{recording.path}:{topic}"
    if not len(moves):
        raise DsformerError(f"{name}: no odometry can be used: {why or 'it has no messages'}")
    if left_out:
        log.warning("%s: %d of %d messages are left out; of the first, %s", name, left_out, read, why)
    changes = [row for row in range(1, len(frames)) if frames[row] != frames[row - 1]]
    if changes:
        before, after = frames[changes[0] - 1 : changes[0] + 1]
        log.warning("%s: its frame was '%s' and is '%s': another odometry begins there", name, before, after)
        begins = np.column_stack([moves[changes, 0], np.full((len(changes), 3), math.nan)])
        moves, spread = np.insert(moves, changes, begins, axis=0), np.insert(spread, changes, math.nan, axis=0)
    return DriveOdometry(name, moves, spread)


def _lone(stamps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(M,) whether a stamp is far from both of its neighbours, which are near each other."""
    lone = np.zeros(len(stamps), dtype=bool)
    if len(stamps) > 2:
        before, here, after = stamps[:-2], stamps[1:-1], stamps[2:]
        lone[1:-1] = (abs(here - before) > FAR) & (abs(here - after) > FAR) & (abs(after - before) <= FAR)
    return lone


def _number(text: str | None) -> float:
    """NaN of what is none."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan
