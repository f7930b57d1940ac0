"""What the node says about itself on `~/status`: the state in one word, and the reason in words."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from dsformer_core.localization import State, Verdict
from dsformer_ros.diagnostics import HARDWARE_ID
from dsformer_ros.engine import About
from dsformer_ros.parameters import Settings

NO_IMAGE = "NO_IMAGE"
STALE = "STALE"

_LEVELS = {
    State.LOCALIZED.name: DiagnosticStatus.OK,
    State.AMBIGUOUS.name: DiagnosticStatus.WARN,
    State.NO_MATCH.name: DiagnosticStatus.WARN,
    NO_IMAGE: DiagnosticStatus.ERROR,
    STALE: DiagnosticStatus.STALE,
}

_BEST_FIRST = (State.LOCALIZED, State.AMBIGUOUS, State.NO_MATCH)

# Seconds for which what better pictures said outlives one that shows nothing: a bump in the road blurs a few.
_PATIENCE = 1.0


@dataclass(frozen=True)
class Status:
    """A state, why, and by which camera's picture ('' where by none)."""

    state: str
    reason: str
    camera: str = ""

    def message(self, node_name: str) -> DiagnosticStatus:
        """The message of `~/status`."""
        values = [KeyValue(key="state", value=self.state), KeyValue(key="reason", value=self.reason)]
        if self.camera:
            values.append(KeyValue(key="camera", value=self.camera))
        return DiagnosticStatus(
            level=_LEVELS[self.state],
            hardware_id=HARDWARE_ID,
            name=f"{node_name}: status",
            message=f"{self.state}: {self.reason}",
            values=values,
        )


class StatusBoard:
    """Brings the verdicts of all cameras, and their absence, into one status. Safe between threads.

    A verdict about the robot replaces those before it. Of verdicts about pictures the best fresh one counts: one camera
    that knows the place is enough. A picture that shows nothing counts once its camera sent no better one for a second.
    """

    def __init__(self, topics: Sequence[str], now: float) -> None:
        """Starts without any picture.

        Args:
            topics: of the cameras, resolved.
            now: seconds of `time.monotonic`, as everywhere here.
        """
        self._topics = tuple(topics)
        self._lock = threading.Lock()
        self._arrivals: dict[int, float] = {}
        self.reset(now)

    def reset(self, now: float, why: str = "") -> None:
        """Forgets every verdict; `why` is the status until the next one, '' where there was none before."""
        with self._lock:
            self._verdicts: dict[int, tuple[float, Verdict]] = {}
            self._flaws: dict[int, tuple[float, Verdict]] = {}
            self._failure = ""
            self._forgotten = why
            self._since = now

    def arrived(self, camera: int, now: float) -> None:
        """A picture came in."""
        with self._lock:
            self._arrivals[camera] = now

    def answered(self, camera: int, verdict: Verdict, now: float, about: About = About.PICTURE) -> None:
        """A picture was localized, or the node abstained."""
        with self._lock:
            self._failure = self._forgotten = ""
            if about is About.FLAW:
                self._flaws[camera] = (now, verdict)
                return
            self._flaws.pop(camera, None)
            if about is About.ROBOT:
                self._verdicts.clear()
            self._verdicts[camera] = (now, verdict)

    def failed(self, camera: int, reason: str) -> None:
        """A picture could not be used."""
        with self._lock:
            self._failure = f"{self._topics[camera]}: {reason}"

    @property
    def failure(self) -> str:
        """Why the last picture could not be used; '' where it could."""
        return self._failure

    def alive(self, settings: Settings, now: float) -> set[int]:
        """Cameras that still send pictures."""
        with self._lock:
            return {camera for camera, arrival in self._arrivals.items() if now - arrival <= settings.image_timeout}

    def current(self, settings: Settings, now: float, silence: Callable[[], Status]) -> Status | None:
        """The status at this moment; None while the very first answer is still being computed.

        Args:
            settings: for the time-outs.
            now: seconds.
            silence: the status while no camera sends anything.
        """
        alive = self.alive(settings, now)
        if not alive:
            return silence()
        with self._lock:
            verdicts = dict(self._verdicts)
            for camera, flaw in self._flaws.items():
                if now - verdicts.get(camera, (-math.inf,))[0] > _PATIENCE:
                    verdicts[camera] = flaw
            fresh = [
                (_BEST_FIRST.index(verdict.state), -when, camera, verdict)
                for camera, (when, verdict) in verdicts.items()
                if camera in alive and now - when <= settings.stale_timeout
            ]
            if fresh:
                _, _, camera, verdict = min(fresh, key=lambda entry: entry[:3])
                return Status(verdict.state.name, verdict.reason, self._topics[camera])
            since = max((when for when, _ in verdicts.values()), default=self._since)
            if now - since <= settings.stale_timeout and not self._failure:
                return Status(STALE, self._forgotten) if self._forgotten else None
            what = f"the last answer is {now - since:.0f} s old" if verdicts else "no answer yet"
            return Status(STALE, f"pictures come, but {what}" + (f"; {self._failure}" if self._failure else ""))
