"""What may be said of a source beyond its path. Which of it a kind of source takes, `kinds.py` says."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from dsformer_core.errors import UsageError
from dsformer_core.geodesy import UtmZone
from dsformer_core.sources.local_frame import LocalFrame

Heading = Literal["auto", "motion", "odometry", "imu"]
HEADINGS: tuple[Heading, ...] = get_args(Heading)

Panoramas = Literal["all", "detect"]
PANORAMAS: tuple[Panoramas, ...] = get_args(Panoramas)

# Seconds: a receiver that gives a position a second may miss four.
MAX_GAP = 5.0
# Metres: a receiver without corrections is surer than that, one between houses is not.
MAX_POSITION_STD = 10.0

_POSITIVE = ("max_gap", "max_position_std", "fov")


@dataclass(frozen=True)
class CameraYaw:
    """Where a camera looks on its vehicle.

    Attributes:
        topic: of its pictures; empty for every camera.
        degrees: counter-clockwise from straight ahead: 90 is left, 180 back.
    """

    topic: str
    degrees: float

    @classmethod
    def parse(cls, text: str) -> "CameraYaw":
        """What a person wrote: "TOPIC=DEG", or "DEG" for every camera.

        Raises:
            UsageError: that is no angle.
        """
        topic, _, degrees = text.rpartition("=")
        try:
            return cls(topic, float(degrees))
        except ValueError:
            raise UsageError(f"camera yaw '{text}' is not TOPIC=DEGREES or DEGREES, e.g. /left/image=90") from None

    def __post_init__(self) -> None:
        if not abs(self.degrees) <= 360:
            raise UsageError(f"camera yaw {self.degrees} is not in degrees: give -360 to 360")


@dataclass(frozen=True)
class SourceOptions:
    """What a kind of source is told; None or nothing means its own default.

    Attributes:
        zone: UTM zone of coordinates that come without one.
        topics: image topics of a bag, or cameras of a KITTI drive.
        positions: topic of positions.
        heading: where headings come from.
        camera_yaws: where cameras look on the vehicle.
        base_frame: the frame of the vehicle's body, whose x axis points ahead.
        datum: where the frame of local positions lies.
        max_gap: seconds between two positions that may at most be bridged.
        max_position_std: metres; positions that say that they are less sure are refused.
        every_metres: see `Thinning`.
        every_degrees: see `Thinning`.
        track: GPX file with the positions of a video.
        start: seconds since 1970 at which a video starts.
        time_offset: seconds to add to the time that a video says it starts at.
        views: number of views that each panorama becomes.
        fov: degrees from side to side of such a view.
        panoramas: whether all pictures are panoramas, or those twice as wide as high.
    """

    zone: UtmZone | None = None
    topics: tuple[str, ...] = ()
    positions: str | None = None
    heading: Heading | None = None
    camera_yaws: tuple[CameraYaw, ...] = ()
    base_frame: str | None = None
    datum: LocalFrame | None = None
    max_gap: float | None = None
    max_position_std: float | None = None
    every_metres: float | None = None
    every_degrees: float | None = None
    track: Path | None = None
    start: float | None = None
    time_offset: float | None = None
    views: int | None = None
    fov: float | None = None
    panoramas: Panoramas | None = None

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{option(name)} is {value:g}: it must be more than 0")
        if self.heading is not None and self.heading not in HEADINGS:
            raise UsageError(f"--heading '{self.heading}' is not one of {', '.join(HEADINGS)}")
        if self.panoramas is not None and self.panoramas not in PANORAMAS:
            raise UsageError(f"--panoramas '{self.panoramas}' is not one of {', '.join(PANORAMAS)}")
        if self.views is not None and not 1 <= self.views <= 360:
            raise UsageError(f"--views is {self.views}: it must be 1 to 360")
        if self.fov is not None and self.fov > 180:
            raise UsageError(f"--fov is {self.fov:g}: it must be at most 180")
        if self.start is not None and self.time_offset is not None:
            raise UsageError("--start and --time-offset exclude each other: one says when, the other how wrong")

    def given(self) -> list[str]:
        """Names of the fields that somebody set."""
        return [field.name for field in fields(self) if getattr(self, field.name) not in (None, ())]

    def only(self, wanted: Callable[[str], bool]) -> "SourceOptions":
        """The same with those fields only whose names are wanted."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in self.given() if wanted(name)}
        return SourceOptions(**kept)


def option(name: str) -> str:
    """What a field is called on the command line."""
    spelled = {"topics": "topic", "camera_yaws": "camera_yaw"}.get(name, name)
    return f"--{spelled.replace('_', '-')}"
