"""One loaded map with its network: a frame goes in, an answer comes out. The only place where the core is asked."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time

from dsformer_core.cores import usable_cores
from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Extractor
from dsformer_core.localization import Hypothesis, State, Verdict, judge, localize
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE
from dsformer_core.localization.prior import Look, Prior, look
from dsformer_core.picture_quality import Flaw, flaw_of
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.network import require_known_network
from dsformer_ros.frame_queue import Frame
from dsformer_ros.images import Picture, decode
from dsformer_ros.parameters import Settings
from dsformer_ros.share import SAMPLE_MAP, share_directory


class About(Enum):
    """What a verdict is about.

    PICTURE: one camera's picture by itself.
    ROBOT: all that is known of the robot, from every camera.
    FLAW: a picture that shows nothing, so that nothing was looked for.
    """

    PICTURE = "picture"
    ROBOT = "robot"
    FLAW = "flaw"


@dataclass(frozen=True)
class Answer:
    """What one frame said.

    Attributes:
        frame: as it came.
        picture: decoded, HxWx3 uint8 RGB.
        camera_yaw: yaw of the camera's viewing direction in base_frame, radians, NaN where unknown.
        matches: the retrieved references; none where the picture shows nothing.
        looked: where in the map they were looked for.
        hypotheses: most probable first, possibly none.
        verdict: whether the best one may be trusted, and why.
        seconds: how long each stage took: queue, decode, extract, search, localize.
        flaw: what is wrong with the picture; None where nothing is.
        fused: whether hypotheses and verdict are of all that is known, not of this picture alone.
        late: whether that was known when a newer picture had been fused already.
    """

    frame: Frame
    picture: Picture
    camera_yaw: float
    matches: Matches
    looked: Look
    hypotheses: Sequence[Hypothesis]
    verdict: Verdict
    seconds: dict[str, float] = field(default_factory=dict)
    flaw: Flaw | None = None
    fused: bool = False
    late: bool = False

    @property
    def about(self) -> About:
        """What the verdict is about."""
        if not self.usable:
            return About.FLAW
        return About.ROBOT if self.fused else About.PICTURE

    @property
    def usable(self) -> bool:
        """Whether the picture shows anything."""
        return self.flaw is None or not self.flaw.useless

    def explained(self, verdict: Verdict) -> Verdict:
        """A verdict that says, too, where the picture was looked for, and what is wrong with it."""
        told = self.looked.told(verdict)
        if self.flaw is None:
            return told
        return replace(told, reason=f"{told.reason}; {self.flaw.words}")

    @property
    def stamp(self) -> Time:
        """When the picture was taken, as the camera says."""
        return self.frame.message.header.stamp


@dataclass(frozen=True)
class Engine:
    """A map and the network that it was made with."""

    place_map: PlaceMap
    extractor: Extractor

    @classmethod
    def load(cls, settings: Settings) -> "Engine":
        """Opens the map, loads its network, and runs that once, so that the first picture does not wait for it.

        Raises:
            DsformerError: the map or the weights are missing, damaged, or not of each other.
        """
        place_map = PlaceMap.open(map_directory(settings))
        require_known_network(place_map)
        extractor = Extractor(
            settings.model or place_map.model_name,
            settings.weights or "auto",
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads or _cores_of_the_network(),
            optimize=settings.optimize,
            runtime=settings.runtime,
        )
        place_map.check_model(extractor.model_name, extractor.weights_sha256, extractor.arithmetic)
        place_map.search_on(str(extractor.device))
        engine = cls(place_map, extractor)
        engine._warm_up()
        return engine

    def with_map(self, directory: Path) -> "Engine":
        """The same network over another map, every byte of which is checked first.

        Raises:
            DsformerError: the map is damaged, or made with other weights than are loaded.
        """
        place_map = PlaceMap.open(directory, verify="full")
        place_map.check_model(self.extractor.model_name, self.extractor.weights_sha256, self.extractor.arithmetic)
        place_map.search_on(str(self.extractor.device))
        engine = Engine(place_map, self.extractor)
        engine._warm_up()
        return engine

    def _warm_up(self) -> None:
        """Describes and searches for a black picture: both are slower the first time."""
        black = np.zeros((*self.extractor.preprocessing.size, 3), np.uint8)
        self.place_map.search(self.extractor.describe([black]), k=1)

    def answer(self, frame: Frame, settings: Settings, camera_yaw: float, prior: Prior | None = None) -> Answer:
        """Localizes one frame.

        Args:
            frame: as it came from a camera.
            settings: for the number of references and the thresholds.
            camera_yaw: yaw of the camera's viewing direction in base_frame, radians; NaN where it is not known, which
                leaves the robot's yaw unknown.
            prior: where to look; None for the whole map.

        Raises:
            DsformerError: the message holds no picture, or the network failed.
        """
        config = settings.localization()
        clock = _StageClock(frame.arrival)
        clock.finish("queue")
        picture = decode(frame.message, at_least=self.extractor.decode_size)
        flaw = flaw_of(picture)
        clock.finish("decode")
        if flaw is not None and flaw.useless:
            for stage in ("extract", "search", "localize"):
                clock.finish(stage)
            nowhere = Look({}, "")
            verdict = Verdict(State.NO_MATCH, flaw.words)
            return Answer(frame, picture, camera_yaw, _NO_MATCHES, nowhere, [], verdict, clock.seconds, flaw)
        described = self.extractor.describe([picture])
        clock.finish("extract")
        looked = look(prior, self.place_map)
        matches = self.place_map.search(described, k=config.top_k, **looked.circle)[0]
        clock.finish("search")
        if math.isfinite(camera_yaw):
            hypotheses = localize(matches, self.place_map, config, camera_yaw=camera_yaw)
        else:
            hypotheses = [_without_yaw(hypothesis) for hypothesis in localize(matches, self.place_map, config)]
        verdict = judge(hypotheses, config)
        clock.finish("localize")
        answer = Answer(frame, picture, camera_yaw, matches, looked, hypotheses, verdict, clock.seconds, flaw)
        return replace(answer, verdict=answer.explained(verdict))


_NO_MATCHES = Matches(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))


def map_directory(settings: Settings) -> Path:
    """The map that the parameters mean.

    Raises:
        DsformerError: none is named and the sample map is not installed.
    """
    if settings.map:
        return Path(settings.map).expanduser()
    sample = share_directory() / SAMPLE_MAP
    if not sample.is_dir():
        raise DsformerError(f"no map: the parameter 'map' is empty and the sample map is not installed ({sample})")
    return sample


def _cores_of_the_network() -> int:
    """All but one: a network on every core waits for whichever of its threads the middleware and decoding hold up."""
    return max(1, usable_cores() - 1)


def _without_yaw(hypothesis: Hypothesis) -> Hypothesis:
    covariance = hypothesis.covariance.copy()
    covariance[2] = covariance[:, 2] = 0.0
    covariance[2, 2] = UNKNOWN_YAW_VARIANCE
    return replace(hypothesis, yaw=math.nan, covariance=covariance)


class _StageClock:
    """Seconds from one stage's end to the next one's."""

    def __init__(self, start: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = start

    def finish(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = now - self._last
        self._last = now
