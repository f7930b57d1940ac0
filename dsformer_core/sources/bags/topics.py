"""Which topics of a recording are read: named by somebody, or chosen by their types."""

import logging
from dataclasses import dataclass

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.sources.bags.frames import COMPRESSED_IMAGE, IMAGE
from dsformer_core.sources.bags.positions import IMU, NAV_SAT_FIX, ODOMETRY, POSES
from dsformer_core.sources.bags.recording import TRANSFORMS, Recording
from dsformer_core.sources.options import SourceOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Topics:
    """What is read of a recording, as it spells it.

    Attributes:
        images: one per camera.
        positions: of NavSatFix or poses.
        heading: of poses or IMU; None where the heading comes from motion.
        transforms: of static transforms.
    """

    images: tuple[str, ...]
    positions: str
    heading: str | None
    transforms: tuple[str, ...]

    def all(self) -> list[str]:
        """Every topic once."""
        named = [*self.images, self.positions, *self.transforms, *([self.heading] if self.heading else [])]
        return list(dict.fromkeys(named))


def choose_topics(recording: Recording, options: SourceOptions) -> Topics:
    """What the options name, and of the rest what a recording offers.

    Raises:
        UsageError: a topic is not there or of another type, or local positions have no datum.
        DsformerError: there are no images, no positions or no headings.
    """
    images = _images(recording, options.topics)
    positions = _positions(recording, options)
    statics = tuple(t for t, kind in recording.types.items() if kind == TRANSFORMS and t.endswith("tf_static"))
    return Topics(images, positions, _heading(recording, options, positions), statics)


def choose_odometry(recording: Recording, wanted: str = "") -> str:
    """The topic of odometry that is wanted, or the only one.

    Raises:
        UsageError: a topic is not there or of another type, or there are several to choose from.
        DsformerError: there is none.
    """
    if wanted:
        return _named(recording, wanted, (ODOMETRY,), "--odometry", "odometry")
    found = odometry_topics(recording)
    if not found:
        raise DsformerError(f"{recording.path}: holds no odometry ({ODOMETRY}); its topics: {recording.listed()}")
    if len(found) > 1:
        raise UsageError(
            f"{recording.path}: holds odometry on {', '.join(found)}: say which, --odometry {recording.path}:{found[0]}"
        )
    return found[0]


def odometry_topics(recording: Recording) -> list[str]:
    """Every topic with odometry, by name."""
    return sorted(_of_type(recording, ODOMETRY))


def has_other_positions(recording: Recording, odometry: str, options: SourceOptions) -> bool:
    """Whether `choose_topics` takes positions from elsewhere than a recording's only topic of odometry."""
    if options.positions is not None:
        return recording.named(options.positions) != odometry
    return bool(_of_type(recording, NAV_SAT_FIX))


def _images(recording: Recording, wanted: tuple[str, ...]) -> tuple[str, ...]:
    if wanted:
        named = [_named(recording, topic, (IMAGE, COMPRESSED_IMAGE), "--topic", "images") for topic in wanted]
        return tuple(dict.fromkeys(named))
    found = [topic for kind in (IMAGE, COMPRESSED_IMAGE) for topic in _of_type(recording, kind)]
    # A driver sends a picture raw and compressed; compressed depth is no picture.
    found = [t for t in found if f"{t}/compressed" not in found and not t.endswith("/compressedDepth")]
    if not found:
        raise DsformerError(f"{recording.path}: holds no images; its topics: {recording.listed()}")
    return tuple(sorted(found))


def _positions(recording: Recording, options: SourceOptions) -> str:
    if options.positions is not None:
        topic = _named(recording, options.positions, (NAV_SAT_FIX, *POSES), "--positions", "positions")
    else:
        topic = _first(recording, (NAV_SAT_FIX, *POSES), "positions") or ""
        if not topic:
            raise DsformerError(
                f"{recording.path}: holds no positions (NavSatFix, or Odometry or poses with --datum); "
                f"its topics: {recording.listed()}"
            )
    if recording.types[topic] != NAV_SAT_FIX and options.datum is None:
        raise UsageError(
            f"{recording.path}: {topic} ({recording.types[topic]}) gives positions in a frame of the robot's own: "
            "say with --datum LAT,LON[,ALT[,HEADING]] where on Earth that frame has its origin"
        )
    return topic


def _heading(recording: Recording, options: SourceOptions, positions: str) -> str | None:
    way = options.heading or "auto"
    if recording.types[positions] in POSES and way in ("auto", "odometry"):
        return positions
    if way in ("auto", "motion"):
        return None
    kinds = POSES if way == "odometry" else (IMU,)
    topic = _first(recording, kinds, "headings")
    if topic is None:
        raise DsformerError(
            f"{recording.path}: --heading {way} needs a topic of {' or '.join(kinds)}; its topics: {recording.listed()}"
        )
    return topic


def _named(recording: Recording, name: str, kinds: tuple[str, ...], option: str, what: str) -> str:
    topic = recording.named(name)
    if topic is None:
        raise UsageError(f"{recording.path}: has no topic {name} ({option}); its topics: {recording.listed()}")
    if recording.types[topic] not in kinds:
        raise UsageError(
            f"{recording.path}: {option} {name} is of type {recording.types[topic]}, which holds no {what}; "
            f"its topics: {recording.listed()}"
        )
    return topic


def _first(recording: Recording, kinds: tuple[str, ...], what: str) -> str | None:
    """The topic of the first kind there is; of several the one with most messages, and not a raw one."""
    found = [topic for kind in kinds for topic in _of_type(recording, kind)]
    if not found:
        return None
    kind = recording.types[found[0]]
    same = [topic for topic in found if recording.types[topic] == kind]
    chosen = min(same, key=lambda topic: ("raw" in topic, -recording.counts[topic], topic))
    if len(found) > 1:
        others = ", ".join(topic for topic in found if topic != chosen)
        log.warning("%s: %s come from %s (%s), not from %s", recording.path, what, chosen, kind, others)
    return chosen


def _of_type(recording: Recording, kind: str) -> list[str]:
    return [t for t, its_kind in recording.types.items() if its_kind == kind and recording.counts[t]]
