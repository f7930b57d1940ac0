"""Many pictures and odometry fused: a robot that knows whether it is localized, and notices when it was carried away.

>>> tracker = Tracker(place_map)
>>> tracker.add_odometry(stamp, x, y, yaw)
>>> tracker.add_picture(stamp, place_map.search(descriptor)[0]).verdict
Verdict(state=<State.LOCALIZED: 'LOCALIZED'>, reason='probability 0.98 (0.97 is enough)')
"""

from dsformer_core.localization.fusion.config import FusionConfig
from dsformer_core.localization.fusion.tracker import Estimate, Tracker

__all__ = ["Estimate", "FusionConfig", "Tracker"]
