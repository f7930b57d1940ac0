"""How frames are mounted on a vehicle, from /tf_static."""

from typing import Any

from scipy.spatial.transform import Rotation

# Of REP-105, and what many robots without one have instead.
BASE_FRAMES = ("base_link", "base_footprint")


class StaticTransforms:
    """Rotations between frames, of however many messages. Of two for one frame the last counts, as in tf."""

    def __init__(self) -> None:
        """Knows none yet."""
        self._above: dict[str, tuple[str, Rotation]] = {}

    def take(self, message: Any) -> None:
        """Reads a TFMessage."""
        for transform in message.transforms:
            turn = transform.transform.rotation
            quaternion = [turn.x, turn.y, turn.z, turn.w]
            if any(quaternion):
                above = transform.header.frame_id.strip("/"), Rotation.from_quat(quaternion)
                self._above[transform.child_frame_id.strip("/")] = above

    def frames(self) -> set[str]:
        """Every frame there is."""
        return {*self._above, *(parent for parent, _ in self._above.values())}

    def rotation(self, base: str, frame: str) -> Rotation | None:
        """What takes vectors of a frame to the base; None where nothing connects them."""
        from_frame, from_base = self._upwards(frame.strip("/")), self._upwards(base.strip("/"))
        common = next((name for name in from_frame if name in from_base), None)
        return None if common is None else from_base[common].inv() * from_frame[common]

    def _upwards(self, frame: str) -> dict[str, Rotation]:
        """The frame and those above it, with what takes vectors of the frame there."""
        turns = {frame: Rotation.identity()}
        turn = turns[frame]
        while frame in self._above:
            frame, step = self._above[frame]
            if frame in turns:
                break
            turn = step * turn
            turns[frame] = turn
        return turns
