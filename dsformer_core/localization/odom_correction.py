"""Where the odometry's frame lies in the map: what a localizer says as `map -> odom` (REP-105).

A localizer knows the pose of base_frame in the map, odometry knows it in a frame of its own, which drifts but never
jumps. Both at one moment give the transform between the two frames.
"""

from dsformer_core.localization.planar import PlanarPose


def map_to_odom(base_in_map: PlanarPose, base_in_odom: PlanarPose) -> PlanarPose:
    """Pose of the odometry's frame in the map, from base_frame in both at one moment.

    map_to_base = map_to_odom @ odom_to_base, hence map_to_odom = map_to_base @ inverse(odom_to_base).
    """
    return base_in_map @ base_in_odom.inverse
