"""What the node says about itself on `~/status`: the state in one word, and the reason in words."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from dsformer_core.localization import State, Verdict
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
            name=f"{node_name}: status",
            message=f"{self.state}: {self.reason}",
            values=values,
        )


class StatusBoard:
    """Brings the verdicts of all cameras, and their absence, into one status. Safe between threads.

    With several cameras the best fresh verdict counts: one camera that knows the place is enough.
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
            self._failure = ""
            self._forgotten = why
            self._since = now

    def arrived(self, camera: int, now: float) -> None:
        """A picture came in."""
        with self._lock:
            self._arrivals[camera] = now

    def answered(self, camera: int, verdict: Verdict, now: float) -> None:
        """A picture was localized, or the node abstained."""
        with self._lock:
            self._verdicts[camera] = (now, verdict)
            self._failure = self._forgotten = ""

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

    def current(self, settings: Settings, now: float, why_silent: Callable[[], str]) -> Status | None:
        """The status at this moment; None while the very first answer is still being computed.

        Args:
            settings: for the time-outs.
            now: seconds.
            why_silent: says what is known about cameras that send nothing.
        """
        alive = self.alive(settings, now)
        if not alive:
            return Status(NO_IMAGE, why_silent())
        with self._lock:
            fresh = [
                (_BEST_FIRST.index(verdict.state), -when, camera, verdict)
                for camera, (when, verdict) in self._verdicts.items()
                if camera in alive and now - when <= settings.stale_timeout
            ]
            if fresh:
                _, _, camera, verdict = min(fresh, key=lambda entry: entry[:3])
                return Status(verdict.state.name, verdict.reason, self._topics[camera])
            since = max((when for when, _ in self._verdicts.values()), default=self._since)
            if now - since <= settings.stale_timeout and not self._failure:
                return Status(STALE, self._forgotten) if self._forgotten else None
            what = f"the last answer is {now - since:.0f} s old" if self._verdicts else "no answer yet"
            return Status(STALE, f"pictures come, but {what}" + (f"; {self._failure}" if self._failure else ""))
