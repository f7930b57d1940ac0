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
from dsformer_core.stamps import JUMP_BACK, StampGuard

if TYPE_CHECKING:
    from dsformer_core.sources.bags.recording import Recording

log = logging.getLogger(__name__)

NEAR = 1.0
"""Seconds between a picture and a message of odometry up to which that tells of it: after as many, odometry is missing
to the filter, too (`FusionConfig.odometry_gap`)."""

SILENCE = 3600.0
"""Seconds without a message after which another drive is told of."""

_FRAMES_OF_POSITIONS = ("map", "utm", "world", "earth")
"""Frames that are laid by positions (REP-105 and others): odometry in one may be made of fixes, and jump with them."""

_WORDS_OF_POSITIONS = ("gps", "global")
_COLUMNS = ("stamp", "x", "y", "yaw")
_MADE_WORDS = "made of the drive's positions"


@dataclass(frozen=True, eq=False)
class DriveOdometry:
    """What moves a drive's hypotheses.

    Attributes:
        words: where it comes from.
        moves: (M, 4) stamp in seconds, x, y in metres, yaw in radians; (0, 4) for none, None where it is to be made. A
            row that is NaN but for its stamp says that another frame, or another time, begins.
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
        stamps = np.sort(self.moves[~np.isnan(self.moves[:, 1]), 0])
        later = np.searchsorted(stamps, drive.stamps)
        after, before = stamps[np.minimum(later, len(stamps) - 1)], stamps[np.maximum(later - 1, 0)]
        known = np.minimum(abs(after - drive.stamps), abs(drive.stamps - before)) <= NEAR
        if not known.any():
            # Some messages of a clock that was not set at first tell nothing of when the others were sent.
            longest = max(np.split(stamps, np.flatnonzero(np.diff(stamps) > SILENCE) + 1), key=len)
            raise DsformerError(
                f"odometry of {self.words} ({span(longest)}) and the drive's pictures ({span(drive.stamps)}) do not "
                "overlap in time: their stamps come from clocks that disagree; --odometry made makes some"
            )
        if not known.all():
            log.warning(
                "%s: it tells nothing of %d of %d pictures: no message is within %.0f s of them",
                *(self.words, np.count_nonzero(~known), len(drive), NEAR),
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
    """The nav_msgs/Odometry of a recording by the stamps of its headers, as a node that heard it would have taken it.

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
    """The only odometry of the only recording, if the drive's positions are not made of it, nor it of them."""
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
        topic, frame = topics[0], _first_frame(recording, topics[0])
    if _is_of_positions(topic, frame):
        log.warning(
            "%s: the odometry on %s (frame '%s') may be made of positions, and is not taken: --odometry %s:%s takes it",
            *(path, topic, frame, path, topic),
        )
        return None
    return topic


def _is_of_positions(topic: str, frame: str) -> bool:
    """Whether odometry may know where it is, as a filter's does that takes fixes; wheels tell nothing of that.

    Args:
        topic: its name, which counts where the frame has none.
        frame: that its poses are in.
    """
    name = frame.strip("/").rpartition("/")[2].lower()
    return name in _FRAMES_OF_POSITIONS or (not name and any(word in topic.lower() for word in _WORDS_OF_POSITIONS))


def _first_frame(recording: "Recording", topic: str) -> str:
    """That of the first message that can be read; empty where none can."""
    for _, _, data in recording.messages([topic]):
        with suppress(DsformerError):
            return str(recording.deserialize(topic, data).header.frame_id)
    return ""


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
    guard, frame = StampGuard(), None
    read, left_out, why = 0, 0, ""
    other_frames: list[tuple[str, str]] = []
    jumps: list[float] = []
    unknown = np.full((3, 3), math.nan)
    for _, received, data in recording.messages([topic]):
        read += 1
        try:
            message = recording.deserialize(topic, data)
            position, turn = message.pose.pose.position, message.pose.pose.orientation
            pose: PlanarPose = planar_pose((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
            # The recorder's clock stands for the node's.
            moment, clock = stamp(message, received), received * 1e-9
            jump = guard.jumped(moment, clock, clock)
            if jump is None:
                raise DsformerError(f"a stamp lies {abs(moment - (guard.newest or 0.0)):.1f} s from those before it")
        except DsformerError as error:
            left_out, why = left_out + 1, why or str(error)
            continue
        # A pose without a covariance that makes sense is still a pose.
        covariance = None
        with suppress(DsformerError):
            covariance = planar_covariance(message.pose.covariance)
        if jump:
            jumps.append(jump)
        if jump < -JUMP_BACK:
            # What a clock that was ahead told of this time would lie between what it tells now.
            while rows and rows[-1][0] >= moment:
                rows.pop(), covariances.pop()
        if frame is not None and message.header.frame_id != frame:
            other_frames.append((frame, message.header.frame_id))
        if rows and (jump or message.header.frame_id != frame):
            rows.append((moment, math.nan, math.nan, math.nan))
            covariances.append(unknown)
        frame = message.header.frame_id
        rows.append((moment, pose.x, pose.y, pose.yaw))
        covariances.append(unknown if covariance is None else covariance)
    name = f"{recording.path}:{topic}"
    if not rows:
        raise DsformerError(f"{name}: no odometry can be used: {why or 'it has no messages'}")
    if left_out:
        log.warning("%s: %d of %d messages are left out; of the first, %s", name, left_out, read, why)
    if jumps:
        log.warning("%s: its stamps jump by %+.3g s: another time begins there", name, jumps[0])
    if other_frames:
        log.warning("%s: its frame was '%s' and is '%s': another odometry begins there", name, *other_frames[0])
    return DriveOdometry(name, np.array(rows), np.array(covariances))


def _number(text: str | None) -> float:
    """NaN of what is none."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan
