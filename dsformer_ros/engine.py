"""One loaded map with its network: a frame goes in, an answer comes out. The only place where the core is asked."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time

from dsformer_core.errors import DsformerError
from dsformer_core.extractor import Extractor
from dsformer_core.localization import Hypothesis, Verdict, judge, localize
from dsformer_core.localization.hypotheses import UNKNOWN_YAW_VARIANCE
from dsformer_core.localization.prior import Prior, look
from dsformer_core.place_map import Matches, PlaceMap
from dsformer_core.place_map.network import require_known_network
from dsformer_ros.frame_queue import Frame
from dsformer_ros.images import Picture, decode
from dsformer_ros.parameters import Settings
from dsformer_ros.share import SAMPLE_MAP, share_directory


@dataclass(frozen=True)
class Answer:
    """What one frame said.

    Attributes:
        frame: as it came.
        picture: decoded, HxWx3 uint8 RGB.
        matches: the retrieved references.
        hypotheses: most probable first, possibly none.
        verdict: whether the best one may be trusted, and why.
        seconds: how long each stage took: queue, decode, extract, search, localize.
    """

    frame: Frame
    picture: Picture
    matches: Matches
    hypotheses: Sequence[Hypothesis]
    verdict: Verdict
    seconds: dict[str, float] = field(default_factory=dict)

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
            threads=settings.threads or None,
        )
        place_map.check_model(extractor.model_name, extractor.weights_sha256)
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
        place_map.check_model(self.extractor.model_name, self.extractor.weights_sha256)
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
        picture = decode(frame.message)
        clock.finish("decode")
        described = self.extractor.describe([picture])
        clock.finish("extract")
        looked = look(prior, self.place_map)
        matches = self.place_map.search(described, k=config.top_k, **looked.circle)[0]
        clock.finish("search")
        if math.isfinite(camera_yaw):
            hypotheses = localize(matches, self.place_map, config, camera_yaw=camera_yaw)
        else:
            hypotheses = [_without_yaw(hypothesis) for hypothesis in localize(matches, self.place_map, config)]
        verdict = looked.told(judge(hypotheses, config))
        clock.finish("localize")
        return Answer(frame, picture, matches, hypotheses, verdict, clock.seconds)


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
